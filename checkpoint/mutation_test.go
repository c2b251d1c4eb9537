package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memoryLimit is what opening a file of size bytes may allocate in all, garbage included.
func memoryLimit(size int) uint64 { return 2*uint64(size) + 256<<20 }

// load opens a file and reads every tensor, and fails the test for a panic, for too much memory or time, and for an
// error that does not name the file.
func load(t *testing.T, path string, opts *Options) (tensors *StateDict, err error) {
	t.Helper()
	info, statErr := os.Stat(path)
	require.NoError(t, statErr)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	c, err := Open(path, opts)
	if err == nil {
		tensors = NewStateDict()
		for name, tensor := range c.Tensors.All() {
			data := tensor.Bytes()
			require.Len(t, data, int(tensor.NumBytes()), name)
			tensors.Set(name, tensor)
		}
	}
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, memoryLimit(int(info.Size())))
	require.Less(t, elapsed, 20*time.Second)
	if err != nil {
		require.ErrorContains(t, err, path)
		require.Less(t, len(err.Error()), 2000)
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return tensors, nil
}

// mutate changes a copy of file in one of the ways in which files get damaged.
func mutate(r *rand.Rand, file []byte) (mutated []byte, what string) {
	out := append([]byte(nil), file...)
	at := r.IntN(len(out))
	switch r.IntN(7) {
	case 0:
		bit := r.IntN(8)
		out[at] ^= 1 << bit
		return out, fmt.Sprintf("bit %d of byte %d flipped", bit, at)
	case 1:
		for range 8 {
			out[r.IntN(len(out))] ^= 1 << r.IntN(8)
		}
		return out, "eight bits flipped"
	case 2:
		return out[:at], fmt.Sprintf("cut at byte %d", at)
	case 3:
		n := min(1+r.IntN(64), len(out)-at)
		clear(out[at : at+n])
		return out, fmt.Sprintf("%d zeros at byte %d", n, at)
	case 4:
		n := min(1+r.IntN(16), len(out)-at)
		for i := range n {
			out[at+i] = 0xff
		}
		return out, fmt.Sprintf("%d bytes 0xff at byte %d", n, at)
	case 5:
		n := 1 + r.IntN(32)
		junk := make([]byte, n)
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		return append(out[:at:at], append(junk, out[at:]...)...), fmt.Sprintf("%d bytes inserted at %d", n, at)
	}
	n := min(1+r.IntN(64), len(out)-at)
	to := r.IntN(len(out) - n + 1)
	copy(out[to:to+n], file[at:at+n])
	return out, fmt.Sprintf("%d bytes copied from %d to %d", n, at, to)
}

// structured aims at a place where lengths, offsets and opcodes lie: one of the last bytes of a zip file, one of the
// first of the others.
func structured(r *rand.Rand, file []byte) (mutated []byte, what string) {
	out := append([]byte(nil), file...)
	span := min(len(out)-8, 1500)
	at := r.IntN(span)
	if out[0] == 'P' {
		at = len(out) - 8 - at
	}
	values := []uint64{0, 1, 0x7f, 0xff, 0xffff, 1 << 31, 0xffffffff, 1 << 62, ^uint64(0)}
	v := values[r.IntN(len(values))]
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], v)
	width := []int{1, 2, 4, 8}[r.IntN(4)]
	copy(out[at:at+width], word[:width])
	return out, fmt.Sprintf("%d bytes at %d set to %#x", width, at, v)
}

// TestMutatedFiles damages files of every format in random ways: an error, or the very tensors of the undamaged file
// where a checksum guards them.
func TestMutatedFiles(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "own.safetensors")
	require.NoError(t, SaveSafetensors(own, open(t, "testdata/pth/variety.pth", nil).Tensors, map[string]string{"a": "b"}))
	sources := []struct {
		path    string
		guarded bool // checksums cover everything that matters
	}{
		{own, true},
		{"testdata/pth/variety.pth", true},
		{"testdata/pth/nested.pth", true},
		{"testdata/gotch/varstore.gt", true},
		{"testdata/models/nat_ls_k7/checkpoint_timm.pth.tar", true},
		{"testdata/hf/hf_nat/pytorch_model.bin", true},
		{"testdata/pth/legacy_format.pth", false},
		{"testdata/pth/variety.safetensors", false},
	}
	const seed = 20240607
	r := rand.New(rand.NewPCG(seed, 0))
	failed := 0
	const rounds = 60
	for _, source := range sources {
		want, err := load(t, source.path, nil)
		require.NoError(t, err)
		file, err := os.ReadFile(source.path)
		require.NoError(t, err)
		for i := range rounds {
			change := mutate
			if i%2 == 1 {
				change = structured
			}
			bad, what := change(r, file)
			path := filepath.Join(dir, "mutated")
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			got, err := load(t, path, nil)
			if err != nil {
				failed++
				continue
			}
			if source.guarded {
				require.True(t, want.Equal(got), "%s: %s (seed %d)", source.path, what, seed)
			}
		}
	}
	t.Logf("%d of %d mutated files refused, the others loaded right (seed %d)", failed, rounds*len(sources), seed)
	require.Greater(t, failed, rounds*len(sources)/3)
}

// TestEveryTruncation cuts small files at every byte.
func TestEveryTruncation(t *testing.T) {
	for _, source := range []string{
		"testdata/pth/variety.safetensors", "testdata/pth/nested.pth", "testdata/pth/legacy_format.pth",
		"testdata/gotch/tensor.gt",
	} {
		file, err := os.ReadFile(source)
		require.NoError(t, err)
		for n := range file {
			err := (&Checkpoint{}).readWeights(file[:n], &Options{})
			require.Error(t, err, "%s cut to %d bytes", source, n)
		}
	}
}
