package autograd_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/autograd"
	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/byrank"
	"github.com/gonatten/gonatten/internal/torch"
)

// function is an operator under test, of float64 leaves.
type function func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor

// value is the scalar sum(f(in) * w).
func value(s *torch.Scope, f function, in []*ts.Tensor, w *ts.Tensor) *ts.Tensor {
	return s.Sum(s.Mul(f(s, in), w))
}

// slope is the scalar sum over inputs of <d value/d input, u>: a function whose
// own gradient needs the second derivative.
func slope(s *torch.Scope, f function, in []*ts.Tensor, w *ts.Tensor, u []*ts.Tensor) *ts.Tensor {
	gradients, err := autograd.Grad([]*ts.Tensor{value(s, f, in, w)}, in, autograd.GradOptions{CreateGraph: true})
	s.Fail(err)
	sum := s.Zeros([]int64{}, gotch.Double, device)
	for i, g := range gradients {
		if g != nil {
			sum = s.Add(sum, s.Sum(s.Mul(s.Own(g, nil), u[i])))
		}
	}
	return sum
}

// direction is the numerical derivative of scalar along u by central differences.
func direction(t *testing.T, in, u []*ts.Tensor, scalar func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor) float64 {
	const h = 1e-5
	at := func(step float64) float64 {
		s := torch.NewScope()
		defer s.Close()
		moved := make([]*ts.Tensor, len(in))
		for i := range in {
			moved[i] = s.Detach(s.Add(s.Detach(in[i]), s.MulScalar(u[i], step)))
			s.RequiresGrad(moved[i], true)
		}
		out := scalar(s, moved)
		require.NoError(t, s.Err())
		v, err := torch.Scalar(out)
		require.NoError(t, err)
		return v
	}
	return (at(h) - at(-h)) / (2 * h)
}

func number(t *testing.T, x *ts.Tensor) float64 {
	v, err := torch.Scalar(x)
	require.NoError(t, err)
	return v
}

// checkEveryMode compares reverse, double-backward and forward-mode derivatives
// and both nestings of the modes with central differences and each other.
func checkEveryMode(t *testing.T, f function, in []*ts.Tensor) {
	s := torch.NewScope()
	defer s.Close()
	u := make([]*ts.Tensor, len(in))
	for i, x := range in {
		s.RequiresGrad(x, true)
		u[i] = s.Randn(x.MustSize(), gotch.Double, device)
	}
	out := f(s, in)
	require.NoError(t, s.Err())
	w := s.Randn(out.MustSize(), gotch.Double, device)
	near := func(want, got float64, what string) {
		require.InDelta(t, want, got, 2e-6*math.Max(1, math.Abs(want)), what)
	}

	first := number(t, slope(s, f, in, w, u))
	near(direction(t, in, u, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor { return value(s, f, in, w) }), first, "reverse mode, differentiable path")
	fast, err := autograd.Grad([]*ts.Tensor{value(s, f, in, w)}, in, autograd.GradOptions{})
	require.NoError(t, err)
	sum := 0.0
	for i, g := range fast {
		require.NotNil(t, g)
		sum += number(t, s.Sum(s.Mul(s.Own(g, nil), u[i])))
	}
	near(first, sum, "reverse mode, fused path")

	second, err := autograd.Grad([]*ts.Tensor{slope(s, f, in, w, u)}, in, autograd.GradOptions{})
	require.NoError(t, err)
	curvature := 0.0
	hvp := make([][]float64, len(in))
	for i, g := range second {
		if g == nil {
			continue // linear in this input alone
		}
		hvp[i], err = torch.Slice[float64](s.Own(g, nil))
		require.NoError(t, err)
		curvature += number(t, s.Sum(s.Mul(g, u[i])))
	}
	near(direction(t, in, u, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor { return slope(s, f, in, w, u) }), curvature, "double backward")

	require.NoError(t, autograd.ForwardMode(func() error {
		duals := make([]*ts.Tensor, len(in))
		for i := range in {
			duals[i] = s.Own(autograd.MakeDual(in[i], u[i]))
		}
		tangent := s.Own(autograd.Tangent(f(s, duals)))
		require.NoError(t, s.Err())
		product := s.Sum(s.Mul(tangent, w))
		near(first, number(t, product), "forward mode")
		over, err := autograd.Grad([]*ts.Tensor{product}, in, autograd.GradOptions{})
		require.NoError(t, err)
		for i, g := range over {
			if g == nil {
				require.Nil(t, hvp[i])
				continue
			}
			got, err := torch.Slice[float64](s.Own(g, nil))
			require.NoError(t, err)
			require.InDeltaSlice(t, hvp[i], got, 1e-9*(1+scaleOf(hvp[i])), "reverse over forward, input %d", i)
		}
		slopes, err := autograd.Grad([]*ts.Tensor{value(s, f, duals, w)}, duals, autograd.GradOptions{})
		require.NoError(t, err)
		for i, g := range slopes {
			along := s.Own(autograd.Tangent(s.Own(g, nil)))
			require.NoError(t, s.Err())
			if along == nil {
				require.Zero(t, scaleOf(hvp[i]), "forward over reverse has no tangent for input %d", i)
				continue
			}
			got, err := torch.Slice[float64](along)
			require.NoError(t, err)
			if hvp[i] == nil {
				require.Zero(t, scaleOf(got), "forward over reverse, input %d", i)
				continue
			}
			require.InDeltaSlice(t, hvp[i], got, 1e-9*(1+scaleOf(hvp[i])), "forward over reverse, input %d", i)
		}
		return nil
	}))
}

func scaleOf(values []float64) float64 {
	largest := 0.0
	for _, v := range values {
		largest = math.Max(largest, math.Abs(v))
	}
	return largest
}

// options draws a small problem of that rank.
func options(r *rand.Rand, rank int) (o functional.Options, spatial []int64) {
	causal := r.IntN(3) == 0
	for range rank {
		kernel := int64(1 + r.IntN(4))
		dilation := int64(1 + r.IntN(2))
		spatial = append(spatial, kernel*dilation+int64(r.IntN(3)))
		o.KernelSize = append(o.KernelSize, kernel)
		o.Dilation = append(o.Dilation, dilation)
		o.Stride = append(o.Stride, 1+r.Int64N(kernel))
		o.IsCausal = append(o.IsCausal, causal && r.IntN(2) == 0)
	}
	return o, spatial
}

func TestEveryModeOfEveryOperator(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	require.NoError(t, torch.ManualSeed(seed))
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 36 {
		rank := 1 + i%3
		o, spatial := options(r, rank)
		heads, group, dim, valueDim := int64(1+r.IntN(2)), int64(1+r.IntN(2)), int64(1+r.IntN(4)), int64(1+r.IntN(4))
		causal, slots := false, int64(1)
		table := []int64{heads * group}
		for axis, k := range o.KernelSize {
			causal = causal || o.IsCausal[axis]
			slots *= k
			table = append(table, 2*k-1)
		}
		t.Run(fmt.Sprintf("%dd k%v d%v s%v c%v heads %d/%d dim %d/%d", rank, o.KernelSize, o.Dilation, o.Stride, o.IsCausal, heads*group, heads, dim, valueDim), func(t *testing.T) {
			s := torch.NewScope()
			defer s.Close()
			tokens := func(heads, last int64) *ts.Tensor {
				return s.Randn(append(append([]int64{1}, spatial...), heads, last), gotch.Double, device)
			}
			q, k, v := tokens(heads*group, dim), tokens(heads, dim), tokens(heads, valueDim)
			in := []*ts.Tensor{q, k, v}
			if !causal {
				in = append(in, s.Randn(table, gotch.Double, device))
			}
			with := func(in []*ts.Tensor, at int) functional.Options {
				withBias := o
				if len(in) > at {
					withBias.RPB = in[at]
				}
				return withBias
			}
			checkEveryMode(t, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
				return s.Own(byrank.NA[rank-1](in[0], in[1], in[2], with(in, 3)))
			}, in)
			in[2] = in[len(in)-1] // q, k and the bias
			if causal {
				in = in[:2]
			} else {
				in = in[:3]
			}
			checkEveryMode(t, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
				// Through exp, which makes the empty slots of causal axes finite.
				// (libtorch's softmax has no reverse mode over its tangent.)
				narrow := with(in, 2)
				narrow.Scale = 0.3
				return s.Op(torch.NewOp("aten::exp"), s.Own(byrank.QK[rank-1](in[0], in[1], narrow)))
			}, in)
			checkEveryMode(t, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
				return s.Own(byrank.AV[rank-1](in[0], in[1], o))
			}, []*ts.Tensor{tokens(heads*group, slots), v})
		})
	}
}

func TestDualsOfOnlySomeInputs(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 7, 1, 4}, gotch.Double, device)
	require.NoError(t, autograd.ForwardMode(func() error {
		plain := s.Own(functional.NA1D(x, x, x, functional.K(3)))
		tangent, err := autograd.Tangent(plain)
		require.NoError(t, err)
		require.Nil(t, tangent)
		value := s.Own(autograd.MakeDual(x, x))
		// The output is linear in v: its tangent along v itself is the output.
		got, err := torch.Slice[float64](s.Own(autograd.Tangent(s.Own(functional.NA1D(x, x, value, functional.K(3))))))
		require.NoError(t, err)
		want, err := torch.Slice[float64](plain)
		require.NoError(t, err)
		require.InDeltaSlice(t, want, got, 1e-12)
		return s.Err()
	}))
}

func TestForwardModesDoNotNest(t *testing.T) {
	require.NoError(t, autograd.ForwardMode(func() error {
		err := autograd.ForwardMode(func() error { return nil })
		require.EqualError(t, err, "autograd: ForwardMode: torch: forward-mode levels do not nest: libtorch has one")
		return nil
	}))
	require.NoError(t, autograd.ForwardMode(func() error { return nil }))
}

// Second derivatives in half precision: what all queries give to the values is
// what their outputs' gradients add up to, since their weights add up to one.
func TestDifferentiableGradientsInHalfPrecision(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	q := s.To(s.MulScalar(s.Randn([]int64{1, 64, 1, 16}, gotch.Float, torch.CPU), 4), gotch.BFloat16)
	v := s.To(s.Randn([]int64{1, 64, 1, 16}, gotch.Float, torch.CPU), gotch.BFloat16)
	s.RequiresGrad(v, true)
	out := s.Own(functional.NA1D(q, q, v, functional.K(9)))
	seed := s.Full([]int64{1, 64, 1, 16}, 1, gotch.BFloat16, torch.CPU)
	require.NoError(t, s.Err())
	gradients, err := autograd.Grad([]*ts.Tensor{out}, []*ts.Tensor{v}, autograd.GradOptions{Seeds: []*ts.Tensor{seed}, CreateGraph: true})
	require.NoError(t, err)
	sum := s.Sum(s.To(s.Own(gradients[0], nil), gotch.Double))
	require.NoError(t, s.Err())
	require.InEpsilon(t, 64*16, number(t, sum), 0.002)
}

func TestInPlaceChangeOfASavedInputIsNoticed(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 5, 1, 2}, gotch.Double, device)
	s.RequiresGrad(x, true)
	q := s.MulScalar(x, 2)
	out := s.Sum(s.Own(functional.NA1D(q, q, q, functional.K(3))))
	s.Call(torch.NewOp("aten::mul_.Scalar"), q, 0.5)
	require.NoError(t, s.Err())
	require.ErrorContains(t, torch.Backward(out), "modified by an inplace operation")
}

func TestEveryModeOfTheFeatures(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	require.NoError(t, torch.ManualSeed(seed))
	random := func(s *torch.Scope, shape ...int64) *ts.Tensor { return s.Randn(shape, gotch.Double, device) }
	o := functional.Options{KernelSize: []int64{3, 2}, Dilation: []int64{1, 2}}

	t.Run("additional keys", func(t *testing.T) {
		s := torch.NewScope()
		defer s.Close()
		in := []*ts.Tensor{random(s, 2, 4, 5, 2, 3), random(s, 2, 4, 5, 1, 3), random(s, 2, 4, 5, 1, 2), random(s, 2, 5, 3), random(s, 2, 3, 1, 3), random(s, 2, 3, 1, 2)}
		checkEveryMode(t, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
			with := o
			with.RPB, with.ExtraK, with.ExtraV = in[3], in[4], in[5]
			return s.Own(functional.NA2D(in[0], in[1], in[2], with))
		}, in)
	})
	t.Run("log-sum-exp and merging", func(t *testing.T) {
		s := torch.NewScope()
		defer s.Close()
		in := []*ts.Tensor{random(s, 1, 4, 5, 2, 3), random(s, 1, 4, 5, 2, 3), random(s, 1, 4, 5, 2, 2)}
		checkEveryMode(t, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
			a, la, err := functional.NA2DLSE(in[0], in[1], in[2], o)
			s.Own(a, err)
			s.Own(la, err)
			b, lb, err := functional.NA2DLSE(in[0], in[1], in[2], functional.K(2))
			s.Own(b, err)
			s.Own(lb, err)
			out, lse, err := functional.MergeAttentions([]*ts.Tensor{a, b}, []*ts.Tensor{la, lb})
			s.Own(out, err)
			s.Own(lse, err)
			return s.Mul(out, s.Op(torch.NewOp("aten::unsqueeze"), lse, -1))
		}, in)
	})
	t.Run("packed batch", func(t *testing.T) {
		s := torch.NewScope()
		defer s.Close()
		in := []*ts.Tensor{random(s, 4*4+3*6, 2, 3), random(s, 4*4+3*6, 2, 3), random(s, 4*4+3*6, 2, 2), random(s, 2, 5, 3)}
		checkEveryMode(t, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
			with := o
			with.RPB = in[3]
			return s.Own(functional.NAVarlen(in[0], in[1], in[2], [][]int64{{4, 4}, {3, 6}}, with))
		}, in)
	})
	t.Run("dropout", func(t *testing.T) {
		s := torch.NewScope()
		defer s.Close()
		in := []*ts.Tensor{random(s, 1, 6, 2, 3), random(s, 1, 6, 2, 3), random(s, 1, 6, 2, 2), random(s, 1, 2, 2, 3), random(s, 1, 2, 2, 2)}
		mask := int64(7)
		u := make([]*ts.Tensor, len(in))
		for i, x := range in {
			s.RequiresGrad(x, true)
			u[i] = random(s, x.MustSize()...)
		}
		f := func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor {
			return s.Own(functional.NA1D(in[0], in[1], in[2], functional.Options{KernelSize: []int64{3}, ExtraK: in[3], ExtraV: in[4], DropoutP: 0.4, Seed: &mask}))
		}
		w := random(s, f(s, in).MustSize()...)
		want := direction(t, in, u, func(s *torch.Scope, in []*ts.Tensor) *ts.Tensor { return value(s, f, in, w) })
		require.InDelta(t, want, number(t, slope(s, f, in, w, u)), 1e-6*(1+math.Abs(want)))
	})
}
