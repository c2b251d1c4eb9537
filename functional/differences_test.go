package functional_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
	"gonum.org/v1/gonum/diff/fd"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// variants of the window, each small enough for differences in every input.
func variants(rank int) map[string]functional.Options {
	per := func(list ...int64) []int64 { return list[:rank] }
	return map[string]functional.Options{
		"plain":    {KernelSize: per(3, 2, 2)},
		"dilation": {KernelSize: per(2, 2, 1), Dilation: per(2, 1, 3)},
		"causal":   {KernelSize: per(3, 2, 2), IsCausal: []bool{true, false, true}[:rank]},
		"stride":   {KernelSize: per(3, 2, 2), Stride: per(2, 2, 1)},
	}
}

// Every operator's gradients, for every input and rank, against central
// differences of its forward pass in float64.
func TestGradientsByDifferences(t *testing.T) {
	r := seeded(t)
	lengths := [][]int64{{7}, {5, 3}, {4, 2, 3}}
	for rank := 1; rank <= 3; rank++ {
		spatial := lengths[rank-1]
		shape := func(tail ...int64) []int64 { return append(append([]int64{1}, spatial...), tail...) }
		for name, o := range variants(rank) {
			slots, bias := int64(1), []int64{2}
			for _, k := range o.KernelSize {
				slots *= k
				bias = append(bias, 2*k-1)
			}
			// Two query heads share one key head.
			q, k, v, attn := shape(2, 2), shape(1, 2), shape(1, 3), shape(2, slots)
			withBias := func(shapes ...[]int64) [][]int64 {
				if o.IsCausal != nil {
					return shapes
				}
				return append(shapes, bias)
			}
			options := func(x []*ts.Tensor, n int) functional.Options {
				o := o
				if len(x) > n {
					o.RPB = x[n]
				}
				return o
			}
			for op, c := range map[string]struct {
				inputs [][]int64
				call   func(x []*ts.Tensor) (*ts.Tensor, error)
			}{
				"NA": {withBias(q, k, v), func(x []*ts.Tensor) (*ts.Tensor, error) { return fused[rank-1](x[0], x[1], x[2], options(x, 3)) }},
				"QK": {withBias(q, k), func(x []*ts.Tensor) (*ts.Tensor, error) { return qk[rank-1](x[0], x[1], options(x, 2)) }},
				"AV": {[][]int64{attn, v}, func(x []*ts.Tensor) (*ts.Tensor, error) { return av[rank-1](x[0], x[1], o) }},
			} {
				t.Run(fmt.Sprintf("%dD/%s/%s", rank, op, name), func(t *testing.T) {
					total := 0
					for _, shape := range c.inputs {
						total += count(shape)
					}
					compare(t, c.inputs, normal(r, total), normal(r, 1024), c.call)
				})
			}
		}
	}
}

// compare checks the gradient of sum(call(inputs) * weights) at point, which
// holds all inputs one after another. Logits of empty slots count nothing.
func compare(t *testing.T, shapes [][]int64, point, weights []float64, call func([]*ts.Tensor) (*ts.Tensor, error)) {
	forward := func(s *torch.Scope, x []float64, gradients bool) ([]*ts.Tensor, *ts.Tensor) {
		inputs, at := make([]*ts.Tensor, len(shapes)), 0
		for i, shape := range shapes {
			inputs[i] = s.ToDevice(s.Own(torch.FromSlice(x[at:at+count(shape)], shape...)), device, gotch.Double)
			s.RequiresGrad(inputs[i], gradients)
			at += count(shape)
		}
		return inputs, s.Own(call(inputs))
	}
	loss := func(x []float64) float64 {
		s := torch.NewScope()
		defer s.Close()
		_, y := forward(s, x, false)
		require.NoError(t, s.Err())
		sum := 0.0
		for i, v := range values(t, y) {
			if !math.IsInf(v, -1) {
				sum += v * weights[i]
			}
		}
		return sum
	}

	s := torch.NewScope()
	defer s.Close()
	inputs, y := forward(s, point, true)
	require.NoError(t, s.Err())
	info, err := torch.InfoOf(y)
	require.NoError(t, err)
	require.LessOrEqual(t, info.Numel(), int64(len(weights)))
	dy := s.ToDevice(s.Own(torch.FromSlice(weights[:info.Numel()], info.Shape...)), device, gotch.Double)
	require.NoError(t, torch.BackwardWith(y, dy))
	var got []float64
	for _, x := range inputs {
		got = append(got, values(t, gradient(t, s, x))...)
	}

	want := fd.Gradient(nil, loss, point, &fd.Settings{Formula: fd.Central, Step: 1e-5})
	require.LessOrEqual(t, farthest(got, want), 1e-7*max(largest(want), 1), "got %v\nwant %v", head(got), head(want))
}
