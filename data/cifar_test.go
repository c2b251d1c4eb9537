package data

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cifarFile makes a file of n records whose label and pixels follow from the
// record's number.
func cifarFile(n, labels, classes int) []byte {
	buf := make([]byte, 0, n*(labels+cifarPixels))
	for i := 0; i < n; i++ {
		for l := 0; l < labels-1; l++ {
			buf = append(buf, 99) // the coarse label, to be ignored
		}
		buf = append(buf, byte(i%classes))
		for plane := 0; plane < 3; plane++ {
			buf = append(buf, bytes.Repeat([]byte{byte(i + plane*40)}, cifarPlane)...)
		}
	}
	return buf
}

func TestCifar10(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "cifar-10-batches-bin")
	put(t, []byte("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"), folder, "batches.meta.txt")
	file := put(t, cifarFile(10000, 1, 10), folder, "test_batch.bin")
	ds, err := Open(t.Context(), "cifar10:"+dir, "test", Options{})
	require.NoError(t, err)
	require.Equal(t, 10000, ds.Len())
	s, err := ds.Sample(13)
	require.NoError(t, err)
	assert.Equal(t, 3, s.Label)
	assert.Equal(t, []uint8{13, 53, 93}, s.Pixels.At(31, 31))
	_, err = Open(t.Context(), "cifar10:"+dir, "train", Options{})
	assert.ErrorContains(t, err, "data_batch_1.bin")

	require.NoError(t, os.Truncate(file, 12345))
	_, err = Open(t.Context(), "cifar10:"+dir, "test", Options{})
	assert.ErrorContains(t, err, "has 12345 bytes, want 30730000")
	bad := cifarFile(10000, 1, 10)
	bad[0] = 10
	put(t, bad, folder, "test_batch.bin")
	_, err = Open(t.Context(), "cifar10:"+dir, "test", Options{})
	assert.ErrorContains(t, err, "record 0 has label 10")
	_, err = Open(t.Context(), "cifar10", "test", Options{Cache: t.TempDir(), Offline: true})
	assert.ErrorContains(t, err, "fetching is switched off")
}

func TestCifar100UsesFineLabels(t *testing.T) {
	dir := t.TempDir()
	put(t, []byte(strings.Repeat("name\n", 100)), dir, "fine_label_names.txt")
	put(t, cifarFile(10000, 2, 100), dir, "test.bin")
	ds, err := Open(t.Context(), "cifar100", "val", Options{Root: dir})
	require.NoError(t, err)
	s, err := ds.Sample(142)
	require.NoError(t, err)
	assert.Equal(t, 42, s.Label)
	put(t, []byte("name\n"), dir, "fine_label_names.txt")
	_, err = Open(t.Context(), "cifar100", "val", Options{Root: dir})
	assert.ErrorContains(t, err, "names 1 classes, want 100")
}

func TestCifarUnpack(t *testing.T) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	_, err := z.Write(tarBytes(t, tarFile{"cifar-10-batches-bin/batches.meta.txt", []byte("x\n")}, tarFile{"cifar-10-batches-bin/test_batch.bin", []byte("y")}))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	archive := put(t, buf.Bytes(), t.TempDir(), "a.tar.gz")
	set := cifar10
	dir := t.TempDir()
	assert.ErrorContains(t, set.unpack(archive, dir, Options{}), "has SHA-256")
	assert.False(t, set.has(dir))
	sum := sha256.Sum256(buf.Bytes())
	set.sha256 = hex.EncodeToString(sum[:])
	require.NoError(t, set.unpack(archive, dir, Options{}))
	assert.True(t, set.has(dir))
	got, err := os.ReadFile(filepath.Join(dir, "test_batch.bin"))
	require.NoError(t, err)
	assert.Equal(t, "y", string(got))
}
