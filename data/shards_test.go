package data

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// putShard writes a shard of n samples numbered from first.
func putShard(t testing.TB, path string, first, n int) {
	t.Helper()
	var files []tarFile
	for i := first; i < first+n; i++ {
		key := fmt.Sprintf("sub/%04d", i)
		img := tarFile{key + ".png", pngBytes(t, picture(8, 8, i))}
		cls := tarFile{key + ".cls", []byte(fmt.Sprintf("%d\n", i%3))}
		if i%2 == 0 {
			cls = tarFile{key + ".json", []byte(fmt.Sprintf(`{"label": %d, "text": "x"}`, i%3))}
			files = append(files, cls, img) // the order inside a sample is free
			continue
		}
		files = append(files, img, cls)
	}
	put(t, tarBytes(t, files...), path)
}

func TestShards(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	for i := 0; i < 3; i++ {
		putShard(t, filepath.Join(dir, fmt.Sprintf("train-%03d.tar", i)), 4*i, 4)
	}
	putShard(t, filepath.Join(dir, "val-000.tar"), 50, 2)
	o := Options{Cache: cache}
	for _, spec := range []string{dir, filepath.Join(dir, "train-*.tar"), filepath.Join(dir, "train-{000..002}.tar"), filepath.Join(dir, "{split}-*.tar")} {
		ds, err := Open(t.Context(), spec, "train", o)
		require.NoError(t, err, spec)
		require.Equal(t, 12, ds.Len(), spec)
		assert.Equal(t, []string{"0", "1", "2"}, ds.Classes())
		for i := 0; i < ds.Len(); i++ {
			s, err := ds.Sample(i)
			require.NoError(t, err)
			assert.Equal(t, i%3, s.Label)
			m := &Image{}
			require.NoError(t, s.Decode(m))
			assert.Equal(t, picture(8, 8, i), m)
		}
		require.NoError(t, ds.(*Shards).Close())
	}
	val, err := Open(t.Context(), dir, "val", o)
	require.NoError(t, err)
	assert.Equal(t, 2, val.Len())
	_, err = Open(t.Context(), filepath.Join(dir, "train-*.tar"), "val", o)
	assert.ErrorContains(t, err, "has no split val")
	o.HoldOut = 0.25
	held, err := Open(t.Context(), filepath.Join(dir, "train-*.tar"), "val", o)
	require.NoError(t, err)
	assert.Equal(t, 3, held.Len())
	train, err := Open(t.Context(), dir, "train", o)
	require.NoError(t, err)
	assert.Equal(t, 12, train.Len(), "with a val split nothing is held out")

	whole, err := os.ReadFile(filepath.Join(dir, "val-000.tar"))
	require.NoError(t, err)
	put(t, whole[:700], dir, "val-000.tar")
	none, err := Open(t.Context(), dir, "val", o)
	require.Error(t, err)
	require.Nil(t, none, "no dataset at all, which nobody would close")
	require.NoError(t, Close(none))
	put(t, whole, dir, "val-000.tar")

	numbered := filepath.Join(dir, "{split}-{000..002}.tar")
	_, err = Open(t.Context(), numbered, "val", o)
	assert.ErrorContains(t, err, "val-001.tar of "+numbered+" is missing", "some are not all")
	require.NoError(t, os.Rename(filepath.Join(dir, "val-000.tar"), filepath.Join(dir, "kept")))
	held, err = Open(t.Context(), numbered, "val", o)
	require.NoError(t, err, "none are none")
	assert.Equal(t, 3, held.Len())
	require.NoError(t, Close(held))
	_, err = held.Sample(0)
	assert.ErrorContains(t, err, "closed", "with the shards that it is of")
	require.NoError(t, os.Rename(filepath.Join(dir, "kept"), filepath.Join(dir, "val-000.tar")))

	put(t, []byte("ant\nbee\ncat\n"), dir, "classes.txt")
	ds, err := Open(t.Context(), dir, "train", o)
	require.NoError(t, err)
	assert.Equal(t, []string{"ant", "bee", "cat"}, ds.Classes())
	put(t, []byte("ant\n"), dir, "classes.txt")
	_, err = Open(t.Context(), dir, "train", o)
	assert.ErrorContains(t, err, "names 1 classes")
}

func TestShardIndexIsReusedAndRebuilt(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "a.tar")
	putShard(t, path, 0, 4)
	o := Options{Cache: cache}
	first, err := indexShard(path, o)
	require.NoError(t, err)
	index, err := filepath.Glob(filepath.Join(cache, "shards", "*.idx"))
	require.NoError(t, err)
	require.Len(t, index, 1)

	// The same size and time: the index is believed, though the content changed.
	st, err := os.Stat(path)
	require.NoError(t, err)
	put(t, make([]byte, st.Size()), path)
	require.NoError(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	again, err := indexShard(path, o)
	require.NoError(t, err)
	assert.Equal(t, first, again)

	// Another time: it is made anew.
	putShard(t, path, 2, 4)
	require.NoError(t, os.Chtimes(path, time.Now(), st.ModTime().Add(time.Hour)))
	fresh, err := indexShard(path, o)
	require.NoError(t, err)
	assert.Equal(t, "sub/0002", fresh[0].Key)

	// Damaged index, or no place for one: the shard is read.
	require.NoError(t, os.WriteFile(index[0], []byte("rubbish"), 0o644))
	got, err := indexShard(path, o)
	require.NoError(t, err)
	assert.Equal(t, fresh, got)
	blocked := put(t, nil, t.TempDir(), "file")
	got, err = indexShard(path, Options{Cache: blocked})
	require.NoError(t, err)
	assert.Equal(t, fresh, got)
}

func TestShardErrors(t *testing.T) {
	img := pngBytes(t, picture(8, 8, 0))
	cases := []struct {
		name, want string
		files      []tarFile
	}{
		{"no label", "sample k has an image and no label", []tarFile{{"k.png", img}, {"l.png", img}, {"l.cls", []byte("1")}}},
		{"bad cls", "k.cls: label \"one\" is not a whole number", []tarFile{{"k.png", img}, {"k.cls", []byte("one")}}},
		{"negative", "is not a whole number", []tarFile{{"k.png", img}, {"k.cls", []byte("-1")}}},
		{"json text", "label x is not a whole number", []tarFile{{"k.png", img}, {"k.json", []byte(`{"label":"x"}`)}}},
		{"json broken", "k.json: ", []tarFile{{"k.png", img}, {"k.json", []byte(`{"label`)}}},
		{"json without", "no label", []tarFile{{"k.png", img}, {"k.json", []byte(`{"a":1}`)}}},
		{"no images", "hold no sample", []tarFile{{"k.txt", []byte("x")}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := put(t, tarBytes(t, c.files...), t.TempDir(), "s.tar")
			_, err := NewShards([]string{path}, 0, Options{Cache: t.TempDir()})
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	o := Options{Cache: t.TempDir()}
	whole := tarBytes(t, tarFile{"k.png", img}, tarFile{"k.cls", []byte("1")})
	for _, n := range []int{100, 600, len(whole) - 1024 - 600} {
		path := put(t, whole[:n], t.TempDir(), "s.tar")
		_, err := NewShards([]string{path}, 0, o)
		assert.ErrorContains(t, err, path, "cut at %d", n)
	}
	_, err := Open(t.Context(), "/nowhere/*.tar", "train", o)
	assert.ErrorContains(t, err, "no shard matches")
	_, err = Open(t.Context(), "/nowhere/{0..1}.tar", "train", o)
	assert.ErrorContains(t, err, "/nowhere/0.tar")
	for _, bad := range []string{"/x/{0..}.tar", "/x/{3..1}.tar", "/x/{0..1.tar"} {
		_, err = Open(t.Context(), bad, "train", o)
		assert.Error(t, err, bad)
	}
	got, err := expandBraces("a{08..10}b{0..1}.tar")
	require.NoError(t, err)
	assert.Equal(t, []string{"a08b0.tar", "a08b1.tar", "a09b0.tar", "a09b1.tar", "a10b0.tar", "a10b1.tar"}, got)

	// A shard that shrank after it was indexed.
	path := filepath.Join(t.TempDir(), "s.tar")
	putShard(t, path, 0, 3)
	ds, err := NewShards([]string{path}, 5, o)
	require.NoError(t, err)
	assert.Len(t, ds.Classes(), 5)
	require.NoError(t, os.Truncate(path, 700))
	_, err = ds.Sample(2)
	assert.ErrorContains(t, err, "the shard ends after")
	assert.ErrorContains(t, err, path+":sub/0002")
}
