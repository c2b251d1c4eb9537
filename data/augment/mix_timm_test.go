package augment

import (
	"encoding/json"
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMixAgainstTimm mixes as timm's Mixup does (data/testdata/make_mix_goldens.py).
func TestMixAgainstTimm(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "mix.json"))
	require.NoError(t, err)
	var file struct {
		Shape   [4]int  `json:"shape"`
		Classes int     `json:"classes"`
		Labels  []int64 `json:"labels"`
		Cases   []struct {
			Lambda    float64   `json:"lambda"`
			Box       []int     `json:"box"` // rows from, to, columns from, to
			Smoothing float64   `json:"smoothing"`
			Images    []float32 `json:"images"`
			Targets   []float32 `json:"targets"`
		} `json:"cases"`
	}
	require.NoError(t, json.Unmarshal(text, &file))
	require.Len(t, file.Cases, 5)
	n, channels, height, width := file.Shape[0], file.Shape[1], file.Shape[2], file.Shape[3]
	for i, c := range file.Cases {
		p := MixParams{Lambda: c.Lambda}
		if c.Box != nil {
			p.CutMix, p.Box = true, image.Rect(c.Box[2], c.Box[0], c.Box[3], c.Box[1])
			p.Lambda = 1 - float64(p.Box.Dx()*p.Box.Dy())/float64(height*width)
		}
		images := make([]float32, n*channels*height*width)
		for k := range images {
			images[k] = float32(math.Sin(0.3 * float64(k)))
		}
		p.Apply(images, n, channels, height, width)
		require.InDeltaSlice(t, c.Images, images, 1e-6, "case %d", i)
		targets := make([]float32, n*file.Classes)
		require.NoError(t, Mix{LabelSmoothing: c.Smoothing, Classes: file.Classes}.Targets(targets, file.Labels, p))
		require.InDeltaSlice(t, c.Targets, targets, 1e-6, "case %d", i)
	}
}
