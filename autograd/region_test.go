package autograd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/autograd"
	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// With deterministic algorithms neither a second run nor another number of
// threads changes a bit; without, a second run does not.
func TestSameBits(t *testing.T) {
	threads := torch.Threads()
	defer func() {
		require.NoError(t, torch.SetThreads(threads))
		require.NoError(t, autograd.UseDeterministicAlgorithms(false))
	}()
	for _, dtype := range []gotch.DType{gotch.Float, gotch.Double, gotch.BFloat16} {
		s := torch.NewScope()
		in := make([]*ts.Tensor, 3)
		for i := range in {
			in[i] = s.Randn([]int64{2, 13, 17, 3, 8}, dtype, torch.CPU)
			s.RequiresGrad(in[i], true)
		}
		rpb := s.To(s.Randn([]int64{3, 9, 9}, gotch.Float, torch.CPU), dtype)
		s.RequiresGrad(rpb, true)
		run := func() []float64 {
			o := functional.Options{KernelSize: []int64{5}, Dilation: []int64{2, 1}, RPB: rpb}
			out := s.Own(functional.NA2D(in[0], in[1], in[2], o))
			leaves := append(append([]*ts.Tensor{}, in...), rpb)
			gradients, err := autograd.Grad([]*ts.Tensor{s.Sum(s.Mul(out, out))}, leaves, autograd.GradOptions{})
			s.Fail(err)
			var bits []float64
			for _, x := range append(gradients, out) {
				values, err := torch.Slice[float64](x)
				require.NoError(t, err)
				bits = append(bits, values...)
			}
			for _, g := range gradients {
				s.Own(g, nil)
			}
			return bits
		}
		first := run()
		for range 3 {
			require.Equal(t, first, run(), "a second run")
		}
		require.NoError(t, autograd.UseDeterministicAlgorithms(true))
		require.True(t, autograd.DeterministicAlgorithms())
		first = run()
		for _, n := range []int{1, 2, 3, 5} {
			require.NoError(t, torch.SetThreads(n))
			require.Equal(t, first, run(), "%d threads", n)
		}
		require.NoError(t, torch.SetThreads(threads))
		require.NoError(t, autograd.UseDeterministicAlgorithms(false))
		require.NoError(t, s.Err())
		s.Close()
	}
}

// After an inner region the outer one goes on, in its own dtype.
func TestAutocastRegionsNest(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 5, 1, 4}, gotch.Float, torch.CPU)
	s.RequiresGrad(x, true) // regions keep what they cast of leaves
	dtype := func() gotch.DType {
		out := s.Own(functional.NA1D(x, x, x, functional.K(3)))
		require.NoError(t, s.Err())
		return out.DType()
	}
	nothing := func() error { return nil }
	if err := autograd.Autocast(gotch.CPU, gotch.Half, nothing); err != nil {
		t.Skipf("libtorch %s: %v", torch.LibtorchVersion(), err) // float16 since 2.4
	}
	require.NoError(t, autograd.Autocast(gotch.CPU, gotch.BFloat16, func() error {
		require.Equal(t, gotch.BFloat16, dtype())
		require.NoError(t, autograd.Autocast(gotch.CPU, gotch.Half, func() error {
			require.Equal(t, gotch.Half, dtype())
			return nil
		}))
		require.Equal(t, gotch.BFloat16, dtype())
		return nil
	}))
	require.Equal(t, gotch.Float, dtype())
}

// In an autocast region every form of attention runs in the region's dtype, close
// to float32, and the leaves get their gradients in their own.
func TestAutocastOfEveryForm(t *testing.T) {
	for _, dtype := range []gotch.DType{gotch.BFloat16, gotch.Half} {
		if err := autograd.Autocast(gotch.CPU, dtype, func() error { return nil }); err != nil {
			t.Logf("%v: libtorch %s: %v", dtype, torch.LibtorchVersion(), err) // float16 since 2.4
			continue
		}
		s := torch.NewScope()
		leaf := func(shape ...int64) *ts.Tensor {
			x := s.Randn(shape, gotch.Float, torch.CPU)
			s.RequiresGrad(x, true)
			return x
		}
		q, k, v, rpb := leaf(2, 7, 2, 8), leaf(2, 7, 1, 8), leaf(2, 7, 1, 4), leaf(2, 5)
		ek, ev := leaf(2, 3, 1, 8), leaf(2, 3, 1, 4)
		o := functional.Options{KernelSize: []int64{3}, RPB: rpb}
		seed := int64(5)
		flat := func(x *ts.Tensor) *ts.Tensor { return s.Flatten(x, 0, 1) }
		nest := func(x *ts.Tensor) *ts.Tensor { return s.Own(functional.Nest(s.Unbind(x, 0))) }
		for name, form := range map[string]func() *ts.Tensor{
			"fused": func() *ts.Tensor { return s.Own(functional.NA1D(q, k, v, o)) },
			"log-sum-exp": func() *ts.Tensor {
				out, lse, err := functional.NA1DLSE(q, k, v, o)
				s.Own(lse, err)
				return s.Own(out, err)
			},
			"unfused": func() *ts.Tensor {
				return s.Own(functional.NA1DAV(s.Softmax(s.Own(functional.NA1DQK(q, k, o)), -1), v, o))
			},
			"additional keys": func() *ts.Tensor {
				with := o
				with.ExtraK, with.ExtraV = ek, ev
				return s.Own(functional.NA1D(q, k, v, with))
			},
			"dropout": func() *ts.Tensor {
				with := o
				with.DropoutP, with.Seed = 0.3, &seed
				return s.Own(functional.NA1D(q, k, v, with))
			},
			"packed": func() *ts.Tensor {
				return s.Own(functional.NAVarlen(flat(q), flat(k), flat(v), [][]int64{{7}, {7}}, o))
			},
			"nested": func() *ts.Tensor {
				samples, err := functional.Unnest(s.Own(functional.NA1D(nest(q), nest(k), nest(v), o)))
				s.Fail(err)
				for _, x := range samples {
					s.Own(x, nil)
				}
				return s.Cat(samples, 0)
			},
		} {
			t.Run(fmt.Sprint(name, " ", dtype), func(t *testing.T) {
				want, err := torch.Slice[float64](form())
				require.NoError(t, err)
				var out *ts.Tensor
				require.NoError(t, autograd.Autocast(gotch.CPU, dtype, func() error {
					out = form()
					return s.Err()
				}))
				require.Equal(t, dtype, out.DType())
				got, err := torch.Slice[float64](out)
				require.NoError(t, err)
				require.InDeltaSlice(t, want, got, 0.1)
				leaves := []*ts.Tensor{q, k, v, rpb}
				gradients, err := autograd.Grad([]*ts.Tensor{s.Sum(s.Mul(out, out))}, leaves, autograd.GradOptions{})
				require.NoError(t, err)
				for i, g := range gradients {
					require.Equal(t, gotch.Float, s.Own(g, nil).DType(), "gradient %d", i)
				}
			})
		}
		s.Close()
	}
}
