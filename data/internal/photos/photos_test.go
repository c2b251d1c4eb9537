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
}
