package functional_test

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/definition"
	"github.com/gonatten/gonatten/internal/torch"
)

// How a tensor lies in memory.
type memory int

const (
	contiguous  memory = iota // row-major in its layout
	otherLayout               // row-major in the other layout: a transposed view
	padded                    // rows of a wider tensor, the rest NaN
	gaps                      // every second element: the last dimension is not contiguous
	packed                    // q, k and v are views of one qkv projection
)

// configuration is one random call of the operators.
type configuration struct {
	definition.Problem
	dtype, rpbDType gotch.DType
	layout          functional.Layout
	memory          memory
	mode            mode
	rpb             bool
	defaultScale    bool
	wanted          [4]bool // gradients of q, k, v, rpb
}

func (c *configuration) String() string {
	return fmt.Sprintf("%+v %s rpb=%v(%s) %s memory=%d %s default scale=%v gradients=%v",
		c.Problem, dtypeName(c.dtype), c.rpb, dtypeName(c.rpbDType), c.layout, c.memory, c.mode, c.defaultScale, c.wanted)
}

// draw makes a small configuration: at most a few hundred tokens.
func draw(r *rand.Rand) *configuration {
	c := &configuration{
		dtype:  oneOf(r, gotch.Double, gotch.Double, gotch.Float, gotch.Float, gotch.Half, gotch.BFloat16),
		layout: oneOf(r, functional.HeadsLast, functional.HeadsFirst),
		memory: oneOf(r, contiguous, otherLayout, padded, gaps, packed),
		mode:   oneOf(r, fusedCall, fusedCall, fusedCall, unfusedPair, unfusedPair, withLSE, withExtra, nestedBatch, packedBatch),
	}
	if c.mode == nestedBatch || c.mode == packedBatch {
		c.layout, c.memory = functional.HeadsLast, contiguous
	} else if c.mode != fusedCall && c.mode != unfusedPair && c.memory == packed {
		c.memory = contiguous
	}
	c.rpbDType = c.dtype
	if c.dtype != gotch.Double && r.IntN(2) == 0 {
		c.rpbDType = gotch.Float
	}
	for i := range c.wanted {
		c.wanted[i] = r.IntN(4) > 0
	}
	rank, causal := between(r, 1, 3), false
	most := [...]int{0, 40, 8, 4}[rank] // tokens beyond the smallest length
	for i := 0; i < rank; i++ {
		a := definition.Axis{Kernel: between(r, 1, [...]int{0, 12, 6, 3}[rank]), Dilation: 1, Stride: 1}
		if r.IntN(2) == 0 {
			a.Dilation = between(r, 1, [...]int{0, 5, 3, 2}[rank])
		}
		if r.IntN(3) == 0 {
			a.Stride = between(r, 1, a.Kernel)
		}
		a.Causal = r.IntN(4) == 0
		a.Length = a.Kernel * a.Dilation
		if r.IntN(4) > 0 {
			a.Length += r.IntN(most + 1)
		}
		causal = causal || a.Causal
		c.Axes = append(c.Axes, a)
	}
	c.rpb = !causal && r.IntN(2) == 0
	c.Batch = oneOf(r, 1, 1, 2, 3)
	if r.IntN(40) == 0 {
		c.Batch = 0
	}
	c.KVHeads = between(r, 1, 3)
	c.Heads = c.KVHeads * oneOf(r, 1, 1, 2, 3)
	c.Dim = oneOf(r, 1, 2, 3, 5, 8, 16, between(r, 1, 40))
	c.ValueDim = oneOf(r, c.Dim, c.Dim, between(r, 1, 24))
	if c.memory == packed {
		c.Heads, c.ValueDim = c.KVHeads, c.Dim
	}
	c.defaultScale = r.IntN(2) == 0
	c.Scale = 0.1 + r.Float64()
	if c.defaultScale {
		c.Scale = 1 / math.Sqrt(float64(c.Dim))
		if c.mode == unfusedPair {
			c.Scale = 1
		}
	}
	return c
}

func (c *configuration) options() functional.Options {
	o := functional.Options{Layout: c.layout}
	for _, a := range c.Axes {
		o.KernelSize = append(o.KernelSize, int64(a.Kernel))
		o.Dilation = append(o.Dilation, int64(a.Dilation))
		o.Stride = append(o.Stride, int64(a.Stride))
		o.IsCausal = append(o.IsCausal, a.Causal)
	}
	if !c.defaultScale {
		o.Scale = c.Scale
	}
	return o
}

// shape is [batch, *spatial, heads, last].
func (c *configuration) shape(heads, last int) []int64 {
	shape := []int64{int64(c.Batch)}
	for _, a := range c.Axes {
		shape = append(shape, int64(a.Length))
	}
	return append(shape, int64(heads), int64(last))
}

// operand draws a tensor in the configuration's dtype, layout and memory. What
// it holds comes back too, as float64 in heads-last order.
func (c *configuration) operand(t *testing.T, s *torch.Scope, r *rand.Rand, heads, last int) (*ts.Tensor, []float64) {
	shape := c.shape(heads, last)
	x := s.ToDevice(s.Own(torch.FromSlice(normal(r, count(shape)), shape...)), device, c.dtype)
	return c.arrange(s, x), values(t, x)
}

// arrange gives a contiguous heads-last tensor the configuration's layout and memory.
func (c *configuration) arrange(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
	if c.layout == functional.HeadsFirst {
		x = s.Contiguous(s.Movedim(x, -2, 1))
	}
	info, err := torch.InfoOf(x)
	s.Fail(err)
	if s.Err() != nil {
		return nil
	}
	rank := len(info.Shape)
	last := info.Shape[rank-1]
	wide := append([]int64(nil), info.Shape...)
	switch c.memory {
	case otherLayout:
		return s.Transpose(s.Contiguous(s.Transpose(x, 1, int64(rank-2))), 1, int64(rank-2))
	case padded:
		wide[rank-1] = last + 3
		view := s.Narrow(s.Full(wide, math.NaN(), c.dtype, device), -1, 2, last)
		s.Copy(view, x)
		return view
	case gaps:
		wide[rank-1] = 2 * last
		view := s.Slice(s.Full(wide, math.NaN(), c.dtype, device), -1, 1, 2*last, 2)
		s.Copy(view, x)
		return view
	}
	return x
}

// pack makes views [B, *spatial, H, D] of one [B, *spatial, 3, H, D], as a qkv
// projection has them. In heads-first layout they are transposed views.
func (c *configuration) pack(s *torch.Scope, tensors ...*ts.Tensor) []*ts.Tensor {
	last := make([]*ts.Tensor, len(tensors))
	for i, x := range tensors {
		last[i] = x
		if c.layout == functional.HeadsFirst {
			last[i] = s.Movedim(x, 1, -2)
		}
	}
	views := s.Unbind(s.Stack(last, int64(len(c.Axes)+1)), int64(len(c.Axes)+1))
	for i, x := range views {
		views[i] = s.Detach(x)
		if c.layout == functional.HeadsFirst {
			views[i] = s.Detach(s.Movedim(x, -2, 1))
		}
	}
	return views
}

// read brings a result or gradient into heads-last order.
func (c *configuration) read(t *testing.T, s *torch.Scope, x *ts.Tensor) []float64 {
	if c.layout == functional.HeadsFirst {
		x = s.Movedim(x, 1, -2)
	}
	return values(t, x)
}

func count(shape []int64) int {
	n := 1
	for _, d := range shape {
		n *= int(d)
	}
	return n
}

// tolerance is the allowed distance from the definition, relative to the
// largest sum of magnitudes that the terms of a tensor's entries have. Sums
// are kept in float64 or float32, so in half precision only what is stored is
// rounded: the result, and the output from which the backward pass starts.
func (c *configuration) tolerance() float64 {
	if c.dtype == gotch.Double || c.dtype == gotch.Float {
		return 128 * roundoff(c.dtype)
	}
	if device.Is(torch.CUDA) { // tensor cores take weights and slopes in half precision too
		return 4 * roundoff(c.dtype)
	}
	if c.mode == withExtra { // both parts and their merge are stored
		return 4 * roundoff(c.dtype)
	}
	return 2 * roundoff(c.dtype)
}

// checker compares results of one configuration and collects what it found.
type checker struct {
	t *testing.T
	s *torch.Scope
	c *configuration
}

// near compares got with want, judged by the magnitudes of the sums.
func (k checker) near(name string, got, want, magnitudes []float64) {
	k.t.Helper()
	require.NoError(k.t, k.s.Err(), "%s: %v", name, k.c)
	far, limit := farthest(got, want), k.c.tolerance()*largest(magnitudes)
	if !(far <= limit) {
		require.Failf(k.t, "differs from the definition", "%s is off by %.3g, want at most %.3g\n%v\ngot  %v\nwant %v",
			name, far, limit, k.c, head(got), head(want))
	}
}

func head(x []float64) []float64 { return x[:min(len(x), 12)] }

// gradients compares each wanted leaf and makes sure that no other has one.
func (k checker) gradients(names []string, leaves []*ts.Tensor, wanted []bool, want, magnitudes [][]float64) {
	k.t.Helper()
	for i, leaf := range leaves {
		if leaf == nil {
			continue
		}
		if !wanted[i] {
			g, err := torch.Grad(leaf)
			require.NoError(k.t, err)
			require.Nil(k.t, g, "%s got a gradient that nobody wanted: %v", names[i], k.c)
			continue
		}
		g := gradient(k.t, k.s, leaf)
		got := []float64(nil)
		if names[i] == "drpb" {
			got = values(k.t, g)
		} else {
			got = k.c.read(k.t, k.s, g)
		}
		k.near(names[i], got, want[i], magnitudes[i])
	}
}

// check runs one configuration forward and backward.
func check(t *testing.T, r *rand.Rand, c *configuration) {
	t.Helper()
	switch c.mode {
	case withLSE, withExtra:
		checkJoint(t, r, c)
		return
	case nestedBatch, packedBatch:
		checkRagged(t, r, c)
		return
	}
	s := torch.NewScope()
	defer s.Close()
	q, qv := c.operand(t, s, r, c.Heads, c.Dim)
	k, kv := c.operand(t, s, r, c.KVHeads, c.Dim)
	v, vv := c.operand(t, s, r, c.KVHeads, c.ValueDim)
	if c.memory == packed {
		views := c.pack(s, q, k, v)
		require.NoError(t, s.Err())
		q, k, v = views[0], views[1], views[2]
	}
	o := c.options()
	var rpbv []float64
	o.RPB, rpbv = c.bias(t, s, r)
	s.RequiresGrad(q, c.wanted[0])
	s.RequiresGrad(k, c.wanted[1])
	s.RequiresGrad(v, c.wanted[2])
	require.NoError(t, s.Err())

	check := checker{t, s, c}
	rank := len(c.Axes)
	if c.mode == fusedCall {
		dout, doutv := c.operand(t, s, r, c.Heads, c.ValueDim)
		want, size := c.Attention(qv, kv, vv, rpbv, doutv), c.Magnitudes(qv, kv, vv, rpbv, doutv)
		out := s.Own(fused[rank-1](q, k, v, o))
		require.NoError(t, s.Err(), "%v", c)
		check.near("out", c.read(t, s, out), want.Out, size.Out)
		if c.wanted[0] || c.wanted[1] || c.wanted[2] || c.wanted[3] && c.rpb {
			s.Fail(torch.BackwardWith(out, dout))
			check.gradients([]string{"dq", "dk", "dv", "drpb"}, []*ts.Tensor{q, k, v, o.RPB}, c.wanted[:],
				[][]float64{want.DQ, want.DK, want.DV, want.DRPB}, [][]float64{size.DQ, size.DK, size.DV, size.DRPB})
		}
		return
	}

	// The unfused pair, each half by itself: what stands in empty slots of
	// the weights and of the logits' gradient must not matter.
	logits := s.Own(qk[rank-1](q, k, o))
	require.NoError(t, s.Err(), "%v", c)
	check.near("logits", c.read(t, s, logits), c.QK(qv, kv, rpbv), c.QK(absolute(qv), absolute(kv), absolute(rpbv)))
	if c.wanted[0] || c.wanted[1] || c.wanted[3] && c.rpb {
		dlogits, dlogitsv := c.operand(t, s, r, c.Heads, c.Slots())
		dq, dk, drpb := c.QKBackward(qv, kv, rpbv, dlogitsv)
		sq, sk, srpb := c.QKBackward(absolute(qv), absolute(kv), rpbv, absolute(dlogitsv))
		s.Fail(torch.BackwardWith(logits, dlogits))
		check.gradients([]string{"dq", "dk", "drpb"}, []*ts.Tensor{q, k, o.RPB},
			[]bool{c.wanted[0], c.wanted[1], c.wanted[3]}, [][]float64{dq, dk, drpb}, [][]float64{sq, sk, srpb})
	}
	attn, attnv := c.operand(t, s, r, c.Heads, c.Slots())
	s.RequiresGrad(attn, c.wanted[0])
	out := s.Own(av[rank-1](attn, v, o))
	require.NoError(t, s.Err(), "%v", c)
	check.near("out", c.read(t, s, out), c.AV(attnv, vv), c.AV(absolute(attnv), absolute(vv)))
	if c.wanted[0] || c.wanted[2] {
		dout, doutv := c.operand(t, s, r, c.Heads, c.ValueDim)
		dattn, dv := c.AVBackward(attnv, vv, doutv)
		sattn, sv := c.AVBackward(absolute(attnv), absolute(vv), absolute(doutv))
		s.Fail(torch.BackwardWith(out, dout))
		check.gradients([]string{"dattn", "dv"}, []*ts.Tensor{attn, v}, []bool{c.wanted[0], c.wanted[2]},
			[][]float64{dattn, dv}, [][]float64{sattn, sv})
	}
}

var configurations = flag.Int("configurations", 2400, "how many random configurations TestMatrixAgainstDefinition draws")

// The matrix: rank x dtype x layout x memory x kernel x dilation x stride x
// causal x rpb x grouped heads x head dims x mode, drawn at random.
func TestMatrixAgainstDefinition(t *testing.T) {
	r := seeded(t)
	seen := coverage{}
	for i := 0; i < *configurations; i++ {
		c := draw(r)
		check(t, r, c)
		seen.add(c)
	}
	if *configurations >= 2000 {
		seen.require(t)
	}
	t.Logf("%d configurations in %s", *configurations, torch.CPUInstructionSet())
}
