package data

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFolderOrderAndContent(t *testing.T) {
	dir := t.TempDir()
	putFolder(t, dir, []string{"dog", "cat"}, 2)
	put(t, jpegBytes(t, picture(16, 16, 9)), dir, "cat", "deep", "er", "x.JPEG")
	put(t, []byte("no image"), dir, "cat", "notes.txt")
	put(t, []byte("no image"), dir, "cat", ".hidden.png")
	require.NoError(t, os.Symlink(filepath.Join(dir, "dog"), filepath.Join(dir, "eel")))

	ds, err := Open(t.Context(), dir, "train", Options{})
	require.NoError(t, err)
	assert.Equal(t, []string{"cat", "dog", "eel"}, ds.Classes())
	require.Equal(t, 7, ds.Len())
	var names []string
	for i := 0; i < ds.Len(); i++ {
		s, err := ds.Sample(i)
		require.NoError(t, err)
		assert.Equal(t, i, s.Index)
		assert.Equal(t, ds.(Labeled).Label(i), s.Label)
		rel, err := filepath.Rel(dir, s.Name)
		require.NoError(t, err)
		names = append(names, rel)
	}
	assert.Equal(t, []string{"cat/deep/er/x.JPEG", "cat/img00.png", "cat/img01.png", "dog/img00.png", "dog/img01.png", "eel/img00.png", "eel/img01.png"}, names)

	s, err := ds.Sample(2)
	require.NoError(t, err)
	w, h, err := s.Size()
	require.NoError(t, err)
	assert.Equal(t, [2]int{8, 6}, [2]int{w, h})
	m := &Image{}
	require.NoError(t, s.Decode(m))
	assert.Equal(t, picture(8, 6, 3), m)
}

func TestFolderSplits(t *testing.T) {
	dir := t.TempDir()
	putFolder(t, filepath.Join(dir, "train"), []string{"a", "b", "c"}, 3)
	putFolder(t, filepath.Join(dir, "validation"), []string{"b", "c"}, 2)
	val, err := Open(t.Context(), dir, "val", Options{})
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c"}, val.Classes(), "labels are those of training")
	assert.Equal(t, 4, val.Len())
	assert.Equal(t, 1, val.(Labeled).Label(0))
	train, err := Open(t.Context(), dir, "train", Options{})
	require.NoError(t, err)
	assert.Equal(t, 9, train.Len())

	putFolder(t, filepath.Join(dir, "validation"), []string{"z"}, 1)
	_, err = Open(t.Context(), dir, "val", Options{})
	assert.ErrorContains(t, err, "folder z is not one of the 3 training classes")
}

func TestFolderHoldOut(t *testing.T) {
	dir := t.TempDir()
	putFolder(t, dir, []string{"a", "b"}, 10)
	_, err := Open(t.Context(), dir, "val", Options{})
	assert.ErrorContains(t, err, "has no split val")
	o := Options{HoldOut: 0.2, Seed: 7}
	train, err := Open(t.Context(), dir, "train", o)
	require.NoError(t, err)
	val, err := Open(t.Context(), dir, "val", o)
	require.NoError(t, err)
	require.Equal(t, [2]int{16, 4}, [2]int{train.Len(), val.Len()})
	seen := map[string]int{}
	perClass := map[int]int{}
	for _, ds := range []Dataset{train, val} {
		for i := 0; i < ds.Len(); i++ {
			s, err := ds.Sample(i)
			require.NoError(t, err)
			seen[s.Name]++
			assert.Equal(t, i, s.Index)
			if ds == val {
				perClass[s.Label]++
			}
		}
	}
	assert.Len(t, seen, 20, "every image is in exactly one part")
	assert.Equal(t, map[int]int{0: 2, 1: 2}, perClass)
	whole, err := Open(t.Context(), dir, "", o)
	require.NoError(t, err)
	assert.Equal(t, 20, whole.Len())
}

func TestFolderErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), dir, "train", Options{})
	assert.ErrorContains(t, err, "has no class folders (it holds 0 images itself)")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
	_, err = Open(t.Context(), dir, "train", Options{})
	assert.ErrorContains(t, err, "holds no image")
	_, err = Open(t.Context(), filepath.Join(dir, "nowhere"), "train", Options{})
	assert.ErrorContains(t, err, "neither a folder")
	_, err = Open(t.Context(), dir, "tset", Options{})
	assert.ErrorContains(t, err, `unknown split "tset"`)
	_, err = Open(t.Context(), "imagenet:"+dir, "train", Options{})
	assert.ErrorContains(t, err, "image-net.org")
	putFolder(t, filepath.Join(dir, "train"), []string{"n01440764"}, 1)
	_, err = Open(t.Context(), "imagenet:"+dir, "train", Options{})
	assert.ErrorContains(t, err, "has 1 class folders, want 1000")

	loop := filepath.Join(dir, "train", "n01440764")
	require.NoError(t, os.Symlink(loop, filepath.Join(loop, "again")))
	_, err = NewFolder(filepath.Join(dir, "train"), nil)
	assert.ErrorContains(t, err, "a loop of links?")
}

func TestHoldsPictures(t *testing.T) {
	dir := t.TempDir()
	require.False(t, HoldsPictures(dir))
	require.False(t, HoldsPictures(filepath.Join(dir, "absent")))
	put(t, nil, dir, "idx", "raw", "train-images-idx3-ubyte.gz")
	put(t, nil, dir, "idx", "cover.png")
	require.False(t, HoldsPictures(filepath.Join(dir, "idx")), "a picture of no class")
	putFolder(t, filepath.Join(dir, "flat"), []string{"a"}, 1)
	require.True(t, HoldsPictures(filepath.Join(dir, "flat")))
	putFolder(t, filepath.Join(dir, "split", "train"), []string{"a"}, 1)
	require.NoError(t, os.Symlink(filepath.Join(dir, "split"), filepath.Join(dir, "link")))
	require.True(t, HoldsPictures(filepath.Join(dir, "link")))
	put(t, nil, dir, "shards", "train-0.tar")
	require.True(t, HoldsPictures(filepath.Join(dir, "shards")))
}

// TestNamedSetInAFolderOfPictures: the error says that the name is in the way.
func TestNamedSetInAFolderOfPictures(t *testing.T) {
	dir := t.TempDir()
	putFolder(t, filepath.Join(dir, "train"), []string{"a"}, 1)
	for _, name := range []string{"fashion-mnist", "cifar10"} {
		_, err := Open(t.Context(), name, "train", Options{Root: dir})
		require.ErrorContains(t, err, dir+" holds pictures of its own: to use them, name no dataset")
	}
	_, err := Open(t.Context(), "fashon-mnist", "train", Options{})
	require.ErrorContains(t, err, "did you mean fashion-mnist?")
	_, err = Open(t.Context(), dir, "val", Options{})
	require.ErrorIs(t, err, ErrNoSplit)
	require.ErrorContains(t, err, "has no split val: make a val folder")
}

func TestFolderFileErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	putFolder(t, dir, []string{"a"}, 2)
	path := put(t, pngBytes(t, picture(8, 8, 1))[:40], dir, "a", "img01.png")
	ds, err := Open(t.Context(), dir, "", Options{})
	require.NoError(t, err)
	s, err := ds.Sample(1)
	require.NoError(t, err)
	var se *SampleError
	require.ErrorAs(t, s.Decode(&Image{}), &se)
	assert.Equal(t, path, se.Name)
	assert.Equal(t, 1, se.Index)
	require.NoError(t, os.Remove(path))
	_, err = ds.Sample(1)
	require.ErrorAs(t, err, &se)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestSubset(t *testing.T) {
	mem, err := NewMemory("m", []uint8{1, 2, 3}, 1, 1, 1, []uint8{0, 1, 1}, []string{"x", "y"})
	require.NoError(t, err)
	sub, err := NewSubset(mem, []int{2, 0})
	require.NoError(t, err)
	s, err := sub.Sample(0)
	require.NoError(t, err)
	assert.Equal(t, []uint8{3}, s.Pixels.Pix)
	assert.Equal(t, [2]int{1, 0}, [2]int{sub.Label(0), sub.Label(1)})
	_, err = NewSubset(mem, []int{3})
	assert.Error(t, err)
	assert.Equal(t, 2, Head(mem, 2).Len())
	assert.Equal(t, 3, Head(mem, 9).Len())
	_, err = NewMemory("m", []uint8{1, 2}, 1, 1, 1, []uint8{0, 1, 1}, []string{"x", "y"})
	assert.ErrorContains(t, err, "2 bytes of pixels for 3 labels")
	_, err = NewMemory("m", []uint8{1}, 1, 1, 1, []uint8{2}, []string{"x", "y"})
	assert.ErrorContains(t, err, "label 2, there are 2 classes")
}
