package checkpoint

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// sparse writes a safetensors file of count tensors of n bytes each whose data is a hole: it takes no disk space.
func sparse(t *testing.T, path string, count int, n int64) {
	t.Helper()
	var entries []headerEntry
	for i := range count {
		entries = append(entries, headerEntry{
			name: fmt.Sprint("w", i), dtype: F32, shape: []int64{n / 4}, begin: int64(i) * n, end: int64(i+1) * n,
		})
	}
	header, err := formatHeader(entries, map[string]string{})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, header, 0o600))
	require.NoError(t, os.Truncate(path, int64(len(header))+int64(count)*n))
}

// TestManyGigabytes opens a file larger than most memories: only what is asked for is read.
func TestManyGigabytes(t *testing.T) {
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		t.Skip("64 GiB do not fit a 32-bit address space")
	}
	path := filepath.Join(t.TempDir(), "large.safetensors")
	sparse(t, path, 64, 1<<30)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := open(t, path, nil)
	last, ok := c.Tensors.Get("w63")
	require.True(t, ok)
	data := last.Bytes()
	require.Equal(t, uint32(0), binary.LittleEndian.Uint32(data[len(data)-4:]))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// TestTorchBeyond4GiB writes and reads an archive that needs zip64. It moves 5 GiB, so it only runs when asked to.
func TestTorchBeyond4GiB(t *testing.T) {
	dir := os.Getenv("GONATTEN_LARGE_DIR")
	if dir == "" {
		t.Skip("set GONATTEN_LARGE_DIR to a folder with 5 GiB of space to run this")
	}
	in, out := filepath.Join(dir, "large.safetensors"), filepath.Join(dir, "large.pth")
	t.Cleanup(func() { os.Remove(in) })
	sparse(t, in, 1, 1<<32+4096)
	c := open(t, in, nil)
	s := c.Tensors.Clone()
	s.Set("after", must(FromFloat32s([]float32{1, 2, 3}, 3)))
	require.NoError(t, SaveTorch(out, s))
	back := open(t, out, nil)
	require.Equal(t, []float64{1, 2, 3}, floats(t, back.Tensors, "after"))
	w, _ := back.Tensors.Get("w0")
	require.Equal(t, int64(1<<32+4096), w.NumBytes())
	require.True(t, w.Aliased())
}
