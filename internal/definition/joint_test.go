package definition_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/definition"
)

func jointProblem(extra int) (*definition.Joint, definition.JointInputs) {
	random := rand.New(rand.NewPCG(3, uint64(extra)))
	draw := func(n int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = random.NormFloat64()
		}
		return x
	}
	p := &definition.Joint{Extra: extra, Problem: definition.Problem{Batch: 2, Heads: 4, KVHeads: 2, Dim: 2, ValueDim: 3, Scale: 0.7,
		Axes: []definition.Axis{{Length: 3, Kernel: 2, Dilation: 1}, {Length: 4, Kernel: 2, Dilation: 2}}}}
	n := p.Batch * p.Tokens()
	return p, definition.JointInputs{Q: draw(n * 4 * 2), K: draw(n * 2 * 2), V: draw(n * 2 * 3), RPB: draw(4 * p.BiasEntries()),
		ExtraK: draw(2 * extra * 2 * 2), ExtraV: draw(2 * extra * 2 * 3), DOut: draw(n * 4 * 3), DLSE: draw(n * 4)}
}

// Without additional keys and a gradient of the log-sum-exp it is Attention, sizes included.
func TestJointIsAttentionAlone(t *testing.T) {
	p, in := jointProblem(0)
	clear(in.DLSE)
	near := func(want *definition.Result, got *definition.JointResult) {
		for _, pair := range [][2][]float64{{want.Out, got.Out}, {want.DQ, got.DQ}, {want.DK, got.DK}, {want.DV, got.DV}, {want.DRPB, got.DRPB}} {
			require.InDeltaSlice(t, pair[0], pair[1], 1e-12)
		}
	}
	near(p.Attention(in.Q, in.K, in.V, in.RPB, in.DOut), p.Run(in, false))
	near(p.Magnitudes(in.Q, in.K, in.V, in.RPB, in.DOut), p.Run(in, true))
}

// The gradients against central differences of the results.
func TestJointGradientsByDifferences(t *testing.T) {
	p, in := jointProblem(3)
	r := p.Run(in, false)
	loss := func() float64 {
		sum, now := 0.0, p.Run(in, false)
		for i, y := range now.Out {
			sum += y * in.DOut[i]
		}
		for i, y := range now.LSE {
			sum += y * in.DLSE[i]
		}
		return sum
	}
	for name, pair := range map[string][2][]float64{"q": {in.Q, r.DQ}, "k": {in.K, r.DK}, "v": {in.V, r.DV}, "rpb": {in.RPB, r.DRPB},
		"extra k": {in.ExtraK, r.DExtraK}, "extra v": {in.ExtraV, r.DExtraV}} {
		for i := range pair[0] {
			const h = 1e-5
			x := pair[0][i]
			pair[0][i] = x + h
			up := loss()
			pair[0][i] = x - h
			down := loss()
			pair[0][i] = x
			require.InDelta(t, (up-down)/(2*h), pair[1][i], 1e-8, "%s[%d]", name, i)
		}
	}
}
