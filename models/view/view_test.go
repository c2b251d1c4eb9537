package view_test

import (
	"image"
	"image/color"
	"image/draw"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/view"
)

func build(t *testing.T, c models.Config) *models.Model {
	t.Helper()
	require.NoError(t, torch.ManualSeed(3))
	m, err := models.FromConfig(c, gotchnn.NewVarStore(gotch.CPU).Root())
	require.NoError(t, err)
	return m
}

var small = models.Config{Family: models.DiNAT, EmbedDim: 16, Depths: []int64{2, 1}, NumHeads: []int64{1, 2}, KernelSize: 3,
	Dilations: [][]int64{{1, 4}, {2}}, NumClasses: 4, StemStride: 2}

// The weights of a map must be those that the block mixes its values with: the
// attention layer is applied by hand from them and compared with the layer.
func TestWeightsReproduceTheLayer(t *testing.T) {
	for name, size := range map[string]int64{"as it is": 12, "extended by zeros": 5} {
		t.Run(name, func(t *testing.T) {
			m := build(t, small)
			s := torch.NewScope()
			defer s.Close()
			block := m.Levels[0].Blocks[1] // dilation 4, span 12
			layer := block.Attn.Local()
			x := s.Randn([]int64{1, size, size, 16}, gotch.Float, torch.CPU)
			weights, err := torch.Slice[float64](s.Own(layer.Weights(x)))
			require.NoError(t, err)
			require.Len(t, weights, 12*12*1*9)

			padded := s.Pad(x, 0, 0, 0, 12-size, 0, 12-size)
			value := s.Narrow(s.Own(layer.QKV.Apply(padded, false)), -1, 32, 16)
			values, err := torch.Slice[float64](value)
			require.NoError(t, err)
			mixed := make([]float64, size*size*16)
			for row := range size {
				for column := range size {
					// Three keys per axis, of the query's residue modulo 4: all there are in 12.
					slot := (row*12 + column) * 9
					for _, r := range []int64{row % 4, row%4 + 4, row%4 + 8} {
						for _, c := range []int64{column % 4, column%4 + 4, column%4 + 8} {
							for d := range int64(16) {
								mixed[(row*size+column)*16+d] += weights[slot] * values[(r*12+c)*16+d]
							}
							slot++
						}
					}
				}
			}
			by := s.To(s.Own(torch.FromSlice(mixed, 1, size, size, 16)), gotch.Float)
			want, err := torch.Slice[float64](s.Own(layer.Apply(x, false)))
			require.NoError(t, err)
			got, err := torch.Slice[float64](s.Own(layer.Proj.Apply(by, false)))
			require.NoError(t, err)
			require.InDeltaSlice(t, want, got, 1e-5)
		})
	}
}

func TestMapsLieInTheNeighborhood(t *testing.T) {
	m := build(t, small)
	s := torch.NewScope()
	defer s.Close()
	image := s.Randn([]int64{1, 3, 48, 40}, gotch.Float, torch.CPU)
	maps, err := view.Attention(m, image, view.Point{Row: 0, Column: 0.5})
	require.NoError(t, err)
	require.Len(t, maps, 3)
	require.Equal(t, []int{24, 20, 0, 10}, []int{maps[0].Height, maps[0].Width, maps[0].Row, maps[0].Column})
	require.Equal(t, []int{12, 10, 0, 5}, []int{maps[2].Height, maps[2].Width, maps[2].Row, maps[2].Column})
	for _, one := range maps {
		sum, count := 0.0, 0
		for i, w := range one.Weights {
			if w == 0 {
				continue
			}
			row, column := i/one.Width, i%one.Width
			require.Zero(t, (row-one.Row)%one.Dilation)
			require.Zero(t, (column-one.Column)%one.Dilation)
			require.LessOrEqual(t, row, (one.KernelSize-1)*one.Dilation, "the window of a query at the edge is shifted inwards")
			sum, count = sum+w, count+1
		}
		require.InDelta(t, 1, sum, 1e-6)
		require.Equal(t, one.KernelSize*one.KernelSize, count)
	}
	_, err = view.Attention(m, image, view.Point{Row: 2})
	require.ErrorContains(t, err, "view: Attention: point is 2, 0, want both in [0, 1]")
}

func TestGlobalAttentionSeesEverything(t *testing.T) {
	m := build(t, models.Config{Family: models.Isotropic, ImageSize: 48, EmbedDim: 32, Depths: []int64{1}, GlobalAttention: true, NumClasses: 4})
	s := torch.NewScope()
	defer s.Close()
	maps, err := view.Attention(m, s.Randn([]int64{1, 3, 48, 48}, gotch.Float, torch.CPU), view.Point{})
	require.NoError(t, err)
	for _, w := range maps[0].Weights {
		require.Positive(t, w)
	}
}

func TestDrawShowsTheQueryAndItsNeighborhood(t *testing.T) {
	picture := image.NewRGBA(image.Rect(0, 0, 40, 20))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.Gray{200}), image.Point{}, draw.Src)
	weights := make([]float64, 4*8)
	weights[0], weights[9] = 0.75, 0.25
	one := view.Map{KernelSize: 3, Dilation: 1, Height: 4, Width: 8, Row: 3, Column: 7, Weights: weights}
	other := one
	other.Level = 1
	out := view.Draw(picture, []view.Map{one, one, other})
	// Rows: picture, level 0, level 1; two panels in the widest one.
	require.Equal(t, image.Pt(2*(224+8)+8, 3*(112+18+8)+8), out.Bounds().Size())
	at := func(x, y int) color.RGBA { return out.RGBAAt(8+x, 8+138+18+y) } // in the first panel of level 0
	brightest, second, dark := at(14, 14), at(28+14, 28+14), at(14, 98)
	require.Greater(t, brightest.R, second.R)
	require.Greater(t, second.R, dark.R)
	require.Equal(t, dark.R, dark.G, "no attention leaves grey")
	require.Equal(t, color.RGBA{0, 200, 255, 255}, at(223, 111), "the query's corner is framed")
}

func TestSelectKeepsTheLastOfEachKind(t *testing.T) {
	var maps []view.Map
	for i, d := range []int{1, 8, 1, 8} {
		maps = append(maps, view.Map{Block: i, Dilation: d})
	}
	maps = append(maps, view.Map{Level: 1, Block: 0, Dilation: 1})
	kept := view.Select(maps)
	require.Equal(t, []int{2, 3, 0}, []int{kept[0].Block, kept[1].Block, kept[2].Block})
}
