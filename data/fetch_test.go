package data

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFetchURL(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			w.Write(make([]byte, 3<<20))
		case "/short":
			w.Header().Set("Content-Length", "100")
			w.Write(make([]byte, 10))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	var last [2]int64
	o := Options{Progress: func(_ string, done, total int64) { last = [2]int64{done, total} }}

	require.NoError(t, fetchURL(t.Context(), srv.URL+"/good", filepath.Join(dir, "good"), o))
	assert.Equal(t, [2]int64{3 << 20, 3 << 20}, last)
	st, err := os.Stat(filepath.Join(dir, "good"))
	require.NoError(t, err)
	assert.Equal(t, int64(3<<20), st.Size())

	assert.Error(t, fetchURL(t.Context(), srv.URL+"/short", filepath.Join(dir, "short"), o))
	assert.ErrorContains(t, fetchURL(t.Context(), srv.URL+"/none", filepath.Join(dir, "none"), o), "404")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, left, 1, "nothing half-written stays behind")
}

func TestUnpackDebian(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb on this system")
	}
	root, out := t.TempDir(), t.TempDir()
	put(t, []byte("Package: x\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n"), root, "DEBIAN", "control")
	put(t, []byte("wanted"), root, "usr/share/datasets/x/a.gz")
	put(t, []byte("other"), root, "usr/share/doc/x/b")
	deb := filepath.Join(t.TempDir(), "x_1_all.deb")
	text, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", root, deb).CombinedOutput()
	require.NoError(t, err, string(text))
	require.NoError(t, unpackDebian(context.Background(), deb, "/usr/share/datasets/x", out, Options{}))
	got, err := os.ReadFile(filepath.Join(out, "a.gz"))
	require.NoError(t, err)
	assert.Equal(t, "wanted", string(got))
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	assert.Len(t, left, 1)

	require.NoError(t, os.Truncate(deb, 200))
	assert.Error(t, unpackDebian(context.Background(), deb, "/usr/share/datasets/x", t.TempDir(), Options{}))
}

func TestCacheDir(t *testing.T) {
	t.Setenv("HOME", "/h")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("GONATTEN_CACHE", "")
	for _, c := range [][3]string{{"", "", "/h/.cache/gonatten/data"}, {"", "/x", "/x/gonatten/data"}, {"/g", "/x", "/g/data"}} {
		t.Setenv("GONATTEN_CACHE", c[0])
		t.Setenv("XDG_CACHE_HOME", c[1])
		got, err := CacheDir()
		require.NoError(t, err)
		assert.Equal(t, c[2], got)
	}
}
