package chart

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/vg"
)

// The example of the paper (Bruls et al., figure 3): 6 x 4 divided into 6, 6, 4, 3, 2, 2, 1.
func TestSquarifyAsInThePaper(t *testing.T) {
	parent := &cell{}
	for _, v := range []float64{6, 6, 4, 3, 2, 2, 1} {
		parent.children = append(parent.children, &cell{value: v})
	}
	got := squarify(parent, vg.Rectangle{Max: vg.Point{X: 6, Y: 4}})
	sizes := [][2]float64{}
	for _, r := range got {
		sizes = append(sizes, [2]float64{float64(r.Size().X), float64(r.Size().Y)})
	}
	want := [][2]float64{{3, 2}, {3, 2}, {12. / 7, 7. / 3}, {9. / 7, 7. / 3}, {1.2, 5. / 3}, {1.2, 5. / 3}, {0.6, 5. / 3}}
	for i := range want {
		require.InDeltaSlice(t, want[i][:], sizes[i][:], 1e-9, "cell %d", i)
	}
}

// Areas are in proportion, nothing overlaps, nothing sticks out.
func TestSquarifyFills(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		parent, total := &cell{}, 0.0
		for range 1 + rng.IntN(12) {
			v := math.Exp(3 * rng.NormFloat64())
			parent.children, total = append(parent.children, &cell{value: v}), total+v
		}
		parent.sort()
		whole := vg.Rectangle{Min: vg.Point{X: 5, Y: 7}, Max: vg.Point{X: 105, Y: 57}}
		placed := squarify(parent, whole)
		require.Len(t, placed, len(parent.children))
		require.True(t, slices.IsSortedFunc(parent.children, func(x, y *cell) int { return int(math.Copysign(1, y.value-x.value)) }))
		for i, r := range placed {
			require.InEpsilon(t, parent.children[i].value/total*5000, float64(r.Size().X*r.Size().Y), 1e-6)
			require.True(t, r.Min.X > 5-1e-6 && r.Min.Y > 7-1e-6 && r.Max.X < 105+1e-6 && r.Max.Y < 57+1e-6)
			for _, other := range placed[:i] {
				x := min(r.Max.X, other.Max.X) - max(r.Min.X, other.Min.X)
				y := min(r.Max.Y, other.Max.Y) - max(r.Min.Y, other.Min.Y)
				require.False(t, x > 1e-6 && y > 1e-6, "overlap")
			}
		}
	}
}
