package definition_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/definition"
)

// Cases small enough to be worked out by hand.
func TestKeysByHand(t *testing.T) {
	for _, c := range []struct {
		axis definition.Axis
		keys [][]int
	}{
		{definition.Axis{Length: 4, Kernel: 3, Dilation: 1}, [][]int{{0, 1, 2}, {0, 1, 2}, {1, 2, 3}, {1, 2, 3}}},
		{definition.Axis{Length: 4, Kernel: 1, Dilation: 1}, [][]int{{0}, {1}, {2}, {3}}},
		// Even: one more behind than ahead.
		{definition.Axis{Length: 4, Kernel: 2, Dilation: 1}, [][]int{{0, 1}, {0, 1}, {1, 2}, {2, 3}}},
		// Groups 0,2,4 and 1,3.
		{definition.Axis{Length: 5, Kernel: 2, Dilation: 2}, [][]int{{0, 2}, {1, 3}, {0, 2}, {1, 3}, {2, 4}}},
		{definition.Axis{Length: 4, Kernel: 3, Dilation: 1, Causal: true}, [][]int{{0}, {0, 1}, {0, 1, 2}, {1, 2, 3}}},
		// Blocks 0,1,2 (leader 1), 3,4,5 (leader 4), 6 (leader 6, the block being cut off).
		{definition.Axis{Length: 7, Kernel: 3, Dilation: 1, Stride: 3},
			[][]int{{0, 1, 2}, {0, 1, 2}, {0, 1, 2}, {3, 4, 5}, {3, 4, 5}, {3, 4, 5}, {4, 5, 6}}},
		// Leaders 1, 3: queries 0 and 2 see less.
		{definition.Axis{Length: 4, Kernel: 2, Dilation: 1, Stride: 2, Causal: true}, [][]int{{0}, {0, 1}, {2}, {2, 3}}},
	} {
		for query, keys := range c.keys {
			require.Equal(t, keys, c.axis.Keys(query), "%+v query %d", c.axis, query)
		}
	}
}

// The gradients against central differences of the forward functions.
func TestGradientsByDifferences(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = random.NormFloat64()
		}
		return x
	}
	p := &definition.Problem{Batch: 2, Heads: 2, KVHeads: 1, Dim: 2, ValueDim: 3, Scale: 0.7,
		Axes: []definition.Axis{{Length: 3, Kernel: 2, Dilation: 1}, {Length: 4, Kernel: 2, Dilation: 2}}}
	n := p.Batch * p.Tokens()
	q, k, v := draw(n*2*2), draw(n*2), draw(n*3)
	rpb, dout := draw(2*p.BiasEntries()), draw(n*2*3)
	r := p.Attention(q, k, v, rpb, dout)

	loss := func() float64 {
		sum := 0.0
		for i, y := range p.Attention(q, k, v, rpb, nil).Out {
			sum += y * dout[i]
		}
		return sum
	}
	for name, pair := range map[string][2][]float64{"q": {q, r.DQ}, "k": {k, r.DK}, "v": {v, r.DV}, "rpb": {rpb, r.DRPB}} {
		x, gradient := pair[0], pair[1]
		for i := range x {
			const h = 1e-5
			at := x[i]
			x[i] = at + h
			up := loss()
			x[i] = at - h
			down := loss()
			x[i] = at
			require.InDelta(t, (up-down)/(2*h), gradient[i], 1e-8, "%s[%d]", name, i)
		}
	}
}

func TestCausalSlotsAreEmpty(t *testing.T) {
	p := &definition.Problem{Batch: 1, Heads: 1, KVHeads: 1, Dim: 1, ValueDim: 1, Scale: 1,
		Axes: []definition.Axis{{Length: 3, Kernel: 2, Dilation: 1, Causal: true}}}
	r := p.Attention([]float64{1, 1, 1}, []float64{1, 2, 3}, []float64{4, 6, 8}, nil, nil)
	require.Equal(t, []float64{1, math.Inf(-1), 1, 2, 2, 3}, r.Logits)
	require.Equal(t, 4.0, r.Out[0])
}
