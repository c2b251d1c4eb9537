package photos

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWriteFolder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, WriteFolder(dir, 4))
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.jpg"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		st, err := os.Stat(f)
		require.NoError(t, err)
		assert.InDelta(t, 110e3, st.Size(), 40e3, "as many bytes as ImageNet's files")
	}

	own := filepath.Join(t.TempDir(), "cats", "a.jpg")
	require.NoError(t, os.MkdirAll(filepath.Dir(own), 0o755))
	require.NoError(t, os.WriteFile(own, nil, 0o644))
	pictures := filepath.Dir(filepath.Dir(own))
	require.NoError(t, WriteFolder(pictures, 4))
	entries, err := os.ReadDir(pictures)
	require.NoError(t, err)
	require.Len(t, entries, 1, "somebody's pictures stay as they are")
}
