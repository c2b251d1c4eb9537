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

// tinySet is an idx set of 3 training and 2 test images of 2x2 pixels, written to
// a folder, the test split compressed.
func tinySet(t *testing.T) (*idxSet, string) {
	t.Helper()
	dir := t.TempDir()
	hash := func(b []byte) string {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	images := func(n int) []byte {
		b := []byte{0, 0, 8, 3, 0, 0, 0, byte(n), 0, 0, 0, 2, 0, 0, 0, 2}
		for i := 0; i < 4*n; i++ {
			b = append(b, byte(i))
		}
		return b
	}
	labels := func(l ...byte) []byte { return append([]byte{0, 0, 8, 1, 0, 0, 0, byte(len(l))}, l...) }
	zip := func(b []byte) []byte {
		var buf bytes.Buffer
		z := gzip.NewWriter(&buf)
		_, err := z.Write(b)
		require.NoError(t, err)
		require.NoError(t, z.Close())
		return buf.Bytes()
	}
	put(t, images(3), dir, "tr-i")
	put(t, labels(0, 1, 0), dir, "tr-l")
	put(t, zip(images(2)), dir, "te-i.gz")
	put(t, zip(labels(1, 1)), dir, "te-l.gz")
	set := &idxSet{
		name: "tiny", urls: []string{"https://invalid.invalid/"}, classes: []string{"a", "b"},
		files: map[string][2]idxFile{
			"train": {{"tr-i", []int{3, 2, 2}, hash(images(3))}, {"tr-l", []int{3}, hash(labels(0, 1, 0))}},
			"test":  {{"te-i", []int{2, 2, 2}, hash(images(2))}, {"te-l", []int{2}, hash(labels(1, 1))}},
		},
	}
	return set, dir
}

func TestIdxPlainAndGzip(t *testing.T) {
	set, dir := tinySet(t)
	train, err := set.open(t.Context(), "train", Options{Root: dir})
	require.NoError(t, err)
	require.Equal(t, 3, train.Len())
	s, err := train.Sample(1)
	require.NoError(t, err)
	assert.Equal(t, 1, s.Label)
	assert.Equal(t, []uint8{4, 5, 6, 7}, s.Pixels.Pix)
	assert.Equal(t, "tiny train #1", s.Name)
	test, err := set.open(t.Context(), "test", Options{Root: dir})
	require.NoError(t, err)
	assert.Equal(t, 2, test.Len())
	_, err = test.Sample(2)
	assert.ErrorContains(t, err, "index outside [0, 2)")
}

func TestIdxDamage(t *testing.T) {
	cases := []struct {
		name, file, want string
		change           func([]byte) []byte
	}{
		{"truncated", "tr-i", "ends after 18 of 28 bytes", func(b []byte) []byte { return b[:18] }},
		{"longer", "tr-i", "is longer than 28 bytes", func(b []byte) []byte { return append(b, 0) }},
		{"one bit", "tr-i", "has SHA-256", func(b []byte) []byte { b[20] ^= 1; return b }},
		{"gzip truncated", "te-i.gz", "cannot be unpacked (unexpected EOF)", func(b []byte) []byte { return b[:len(b)-9] }},
		{"not gzip", "te-i.gz", "is not a gzip file", func([]byte) []byte { return []byte("<html>Not found</html>") }},
		{"empty", "te-i.gz", "is not a gzip file", func([]byte) []byte { return nil }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			set, dir := tinySet(t)
			path := filepath.Join(dir, c.file)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, c.change(b), 0o644))
			split := "train"
			if strings.HasPrefix(c.file, "te") {
				split = "test"
			}
			_, err = set.open(t.Context(), split, Options{Root: dir})
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, path)
			assert.ErrorContains(t, err, "delete it and run again")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestIdxMissing(t *testing.T) {
	set, dir := tinySet(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "tr-l")))
	_, err := set.open(t.Context(), "train", Options{Root: dir})
	assert.ErrorContains(t, err, "tr-l(.gz) is missing in "+dir)
	_, err = set.open(t.Context(), "train", Options{Root: t.TempDir()})
	assert.ErrorContains(t, err, "no file of the set")
	_, err = set.open(t.Context(), "train", Options{Cache: t.TempDir(), Offline: true})
	assert.ErrorContains(t, err, "fetching is switched off")
	_, err = set.open(t.Context(), "valid", Options{Root: dir})
	assert.ErrorContains(t, err, `not "valid"`)
}

func TestIdxUnwritableCache(t *testing.T) {
	set, _ := tinySet(t)
	blocked := put(t, nil, t.TempDir(), "file") // a file where a folder should be
	_, err := set.open(t.Context(), "train", Options{Cache: blocked})
	assert.ErrorContains(t, err, "set GONATTEN_CACHE to a writable folder")
}

// TestFashionMNIST reads the real set where the machine has it or can fetch it.
func TestFashionMNIST(t *testing.T) {
	var steps []string
	o := Options{Progress: func(what string, done, total int64) {
		if done == total {
			steps = append(steps, what)
		}
	}}
	train, err := Open(t.Context(), "fashion-mnist", "train", o)
	if err != nil && os.Getenv("GONATTEN_NEED_DATA") == "" {
		t.Skipf("the set is not here and cannot be fetched: %v", err)
	}
	require.NoError(t, err)
	test, err := Open(t.Context(), "fashion-mnist", "val", Options{})
	require.NoError(t, err)
	require.Equal(t, 60000, train.Len())
	require.Equal(t, 10000, test.Len())
	assert.Contains(t, steps, "reading train-images-idx3-ubyte.gz")

	perClass := make([]int, 10)
	var sum, squares float64
	for i := 0; i < train.Len(); i++ {
		s, err := train.Sample(i)
		require.NoError(t, err)
		perClass[s.Label]++
		for _, v := range s.Pixels.Pix {
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
	}
	for class, n := range perClass {
		assert.Equal(t, 6000, n, "class %d", class)
	}
	n := float64(train.Len() * 28 * 28)
	mean := sum / n / 255
	std := squares/n/255/255 - mean*mean
	stats := StatsOf("fashion-mnist")
	assert.InDelta(t, mean, stats.Mean[0], 1e-4)
	assert.InDelta(t, std, float64(stats.Std[0])*float64(stats.Std[0]), 1e-4)
}
