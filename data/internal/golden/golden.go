// Package golden reads the reference pictures that data/testdata/make_goldens.py
// makes, and compares pictures with them.
package golden

import (
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/gonatten/gonatten/data/raster"
	"github.com/stretchr/testify/require"
)

// Case is one operation on one source picture.
type Case struct {
	Name   string
	Source string
	Op     string
	Args   Args
}

// Args are the arguments of all operations; each uses some.
type Args struct {
	Size, Box      []int
	Filter         string
	Factor         float64
	Bits           int
	Threshold, Add int
	Value, Shift   float64
	Scale          int
}

// Cases reads testdata/cases.json of the package under test.
func Cases(t *testing.T) []Case {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "cases.json"))
	require.NoError(t, err)
	var cases []Case
	require.NoError(t, json.Unmarshal(text, &cases))
	require.NotEmpty(t, cases)
	return cases
}

// Read reads testdata/NAME.png.
func Read(t testing.TB, name string) *raster.Image {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".png"))
	require.NoError(t, err)
	defer f.Close()
	m, err := png.Decode(f)
	require.NoError(t, err)
	out := &raster.Image{}
	raster.FromStd(out, m)
	return out
}

// Difference is how two pictures of one shape differ: the largest distance of two
// values, and the share of values that differ at all.
func Difference(t testing.TB, want, got *raster.Image) (largest int, share float64) {
	t.Helper()
	require.Equal(t, [3]int{want.Width, want.Height, want.Channels}, [3]int{got.Width, got.Height, got.Channels}, "shape")
	n := 0
	for i, v := range want.Pix {
		d := int(v) - int(got.Pix[i])
		if d != 0 {
			n++
		}
		largest = max(largest, d, -d)
	}
	return largest, float64(n) / float64(len(want.Pix))
}
