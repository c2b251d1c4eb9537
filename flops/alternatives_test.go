package flops_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/nn"
)

// A layer on a map of 12 x 10 tokens, batch 2: arXiv 2204.07143's complexities,
// 3hwc² + 2hwk²c, 3hwc² + 2(hw)²c and hwk²c², and the output projection hwc².
func TestAlternatives(t *testing.T) {
	const b, h, w, c, k = 2, 12, 10, 32, 5
	vs := gotchnn.NewVarStore(gotch.CPU)
	layer, err := nn.NewNeighborhoodAttention2D(vs.Root().Sub("attn"), c, 4, nn.AttentionConfig{KernelSize: k})
	require.NoError(t, err)
	const hw = b * h * w
	r := count(t, layer, vs, flops.Exact, b, h, w, c)
	require.EqualValues(t, hw*(4*c*c+2*k*k*c), r.MACs)
	require.EqualValues(t, hw*4*c*c+b*2*(h*w)*(h*w)*c, r.IfDense())
	require.EqualValues(t, hw*(k*k+1)*c*c, r.IfConvolution())
	require.Equal(t, []flops.Attention{{Module: "attn", Batch: b, Tokens: h * w, Heads: 4, Dim: c / 4, ValueDim: c / 4, Slots: k * k,
		MACs: hw * 2 * k * k * c}}, r.Attention)

	older := count(t, layer, vs, flops.NATTEN0151, b, h, w, c)
	require.Greater(t, older.MACs, r.MACs)
	require.Equal(t, r.IfDense(), older.IfDense(), "what is replaced goes with what the convention adds to it")
}

// The unfused pair is one call.
func TestAlternativesOfTheUnfusedPair(t *testing.T) {
	q := shape{1, 20, 2, 8}
	fused := call(t, flops.Exact, "natten::na", q, q, q, nil, ints(3), ints(1), []bool{false})
	qk := call(t, flops.Exact, "natten::na_qk", q, q, nil, ints(3), ints(1), []bool{false})
	require.Len(t, qk.Attention, 1)
	require.Equal(t, fused.IfDense(), int64(2*20*20*2*8))
	require.Empty(t, call(t, flops.Exact, "natten::na_av", shape{1, 20, 2, 3}, q, ints(3), ints(1), []bool{false}).Attention)
}
