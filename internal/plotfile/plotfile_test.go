package plotfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"

	"github.com/gonatten/gonatten/internal/plotfile"
)

func TestSave(t *testing.T) {
	dir := t.TempDir()
	save := func(name string) error {
		return plotfile.Save(plot.New(), 5*vg.Centimeter, 5*vg.Centimeter, filepath.Join(dir, name))
	}
	for _, end := range plotfile.Endings {
		require.NoError(t, save("a"+end), end)
	}
	require.NoError(t, save("B.PNG"))
	require.ErrorContains(t, save("a.txt"), "a.txt: want a name that ends in .png, .svg or .pdf")
	require.ErrorContains(t, save("none"), "none: want a name")
	require.ErrorContains(t, save("no/a.png"), "folder "+filepath.Join(dir, "no")+": no such file or directory")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "c.png"), 0o755))
	require.ErrorContains(t, save("c.png"), "is a directory")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, len(plotfile.Endings)+2, "nothing half-written is left")
}
