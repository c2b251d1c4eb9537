package chart_test

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/flops/chart"
	"github.com/gonatten/gonatten/models"
)

func report(t *testing.T) *flops.Report {
	t.Helper()
	vs := gotchnn.NewVarStore(gotch.CPU)
	m, err := models.FromConfig(models.Config{EmbedDim: 16, Depths: []int64{1, 1}, NumHeads: []int64{1, 2}, KernelSize: 3}, vs.Root())
	require.NoError(t, err)
	x, err := flops.Input(1, 3, 32, 32)
	require.NoError(t, err)
	defer x.MustDrop()
	r, err := flops.Count(m, x, flops.WithVariables(vs))
	require.NoError(t, err)
	return r
}

// drawn decodes a picture and counts the pixels of the first two colours of the palette.
func drawn(t *testing.T, file string) (blue, orange int) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			switch [3]uint32{r >> 8, g >> 8, b >> 8} {
			case [3]uint32{0x00, 0x72, 0xb2}:
				blue++
			case [3]uint32{0xd5, 0x5e, 0x00}:
				orange++
			}
		}
	}
	return blue, orange
}

func TestBars(t *testing.T) {
	r := report(t)
	modules := chart.ByModule(r, 1)
	var sum int64
	for _, bar := range modules {
		sum += bar.MACs
	}
	require.Equal(t, r.MACs, sum, "the model's modules make up the model")
	for name, bars := range map[string][]chart.Bar{"operators": chart.ByOperator(r), "modules": modules} {
		file := filepath.Join(t.TempDir(), name+".png")
		require.NoError(t, chart.Bars(file, name, bars))
		blue, orange := drawn(t, file)
		require.Greater(t, blue, 500, name)
		require.GreaterOrEqual(t, orange, blue*9/10, "FLOPs are at least twice the MACs: %s", name)
	}
	require.ErrorContains(t, chart.Bars("x.png", "", nil), "nothing to draw")
	require.Error(t, chart.Bars(filepath.Join(t.TempDir(), "missing", "x.png"), "", modules))
}

func TestLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lines.png")
	x := []float64{1, 2, 3}
	require.NoError(t, chart.Lines(file, "title", "x", "y", []chart.Line{
		{Name: "linear", X: x, Y: []float64{1, 2, 3}}, {Name: "square", X: x, Y: []float64{0, 4, 9}},
	}))
	blue, orange := drawn(t, file)
	require.Greater(t, blue, 100)
	require.Greater(t, orange, 50)
}

func TestTreemap(t *testing.T) {
	r := report(t)
	file := filepath.Join(t.TempDir(), "treemap.png")
	require.NoError(t, chart.Treemap(file, "model", r))
	blue, orange := drawn(t, file)
	require.Greater(t, blue, 500, "the largest module's frame")
	require.Greater(t, orange, 500)

	// A model of one layer is one rectangle; of none there is nothing to draw.
	leaf := &flops.Report{Root: &flops.Module{Totals: flops.Totals{FLOPs: 5}}}
	require.NoError(t, chart.Treemap(file, "leaf", leaf))
	blue, orange = drawn(t, file)
	require.Greater(t, blue, 100000)
	require.Zero(t, orange)
	require.ErrorContains(t, chart.Treemap(file, "", &flops.Report{Root: &flops.Module{}}), "nothing to draw")
	require.Error(t, chart.Treemap(filepath.Join(t.TempDir(), "missing", "x.png"), "", r))
}
