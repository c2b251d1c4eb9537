package functional_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/definition"
	"github.com/gonatten/gonatten/internal/torch"
)

// mode is the way by which a configuration is called.
type mode int

const (
	fusedCall   mode = iota // NA1D, NA2D, NA3D
	unfusedPair             // QK, then AV
	withLSE                 // NA1DLSE ..., both results differentiated
	withExtra               // additional keys and values in the same softmax
	nestedBatch             // a nested tensor of samples of different sizes
	packedBatch             // NAVarlen
	modes                   // how many there are
)

func (m mode) String() string {
	return [...]string{"fused", "unfused", "log-sum-exp", "additional keys", "nested", "packed"}[m]
}

var fusedLSE = [...]func(q, k, v *ts.Tensor, o functional.Options) (*ts.Tensor, *ts.Tensor, error){
	functional.NA1DLSE, functional.NA2DLSE, functional.NA3DLSE}

// plain draws a heads-last tensor in the configuration's dtype and what it holds.
func (c *configuration) plain(t *testing.T, s *torch.Scope, r *rand.Rand, shape ...int64) (*ts.Tensor, []float64) {
	x := s.ToDevice(s.Own(torch.FromSlice(normal(r, count(shape)), shape...)), device, c.dtype)
	return x, values(t, x)
}

// bias draws rpb where the configuration has one.
func (c *configuration) bias(t *testing.T, s *torch.Scope, r *rand.Rand) (*ts.Tensor, []float64) {
	if !c.rpb {
		return nil, nil
	}
	shape := []int64{int64(c.Heads)}
	for _, a := range c.Axes {
		shape = append(shape, int64(2*a.Kernel-1))
	}
	rpb := s.ToDevice(s.Own(torch.FromSlice(normal(r, count(shape)), shape...)), device, c.rpbDType)
	s.RequiresGrad(rpb, c.wanted[3])
	return rpb, values(t, rpb)
}

// checkJoint runs the calls with a log-sum-exp or additional keys.
func checkJoint(t *testing.T, r *rand.Rand, c *configuration) {
	t.Helper()
	s := torch.NewScope()
	defer s.Close()
	p := &definition.Joint{Problem: c.Problem}
	in := definition.JointInputs{DLSE: make([]float64, c.Batch*c.Tokens()*c.Heads)}
	var q, k, v, dout *ts.Tensor
	q, in.Q = c.operand(t, s, r, c.Heads, c.Dim)
	k, in.K = c.operand(t, s, r, c.KVHeads, c.Dim)
	v, in.V = c.operand(t, s, r, c.KVHeads, c.ValueDim)
	dout, in.DOut = c.operand(t, s, r, c.Heads, c.ValueDim)
	o := c.options()
	o.RPB, in.RPB = c.bias(t, s, r)
	if c.mode == withExtra {
		p.Extra = between(r, 1, 4)
		o.ExtraK, in.ExtraK = c.plain(t, s, r, int64(c.Batch), int64(p.Extra), int64(c.KVHeads), int64(c.Dim))
		o.ExtraV, in.ExtraV = c.plain(t, s, r, int64(c.Batch), int64(p.Extra), int64(c.KVHeads), int64(c.ValueDim))
		if c.layout == functional.HeadsFirst {
			o.ExtraK, o.ExtraV = s.Detach(s.Transpose(o.ExtraK, 1, 2)), s.Detach(s.Transpose(o.ExtraV, 1, 2))
		}
		s.RequiresGrad(o.ExtraK, c.wanted[1])
		s.RequiresGrad(o.ExtraV, c.wanted[2])
	}
	for i, x := range []*ts.Tensor{q, k, v} {
		s.RequiresGrad(x, c.wanted[i])
	}
	require.NoError(t, s.Err(), "%v", c)

	check, rank := checker{t, s, c}, len(c.Axes)
	var out, loss *ts.Tensor
	if c.mode == withExtra {
		out = s.Own(fused[rank-1](q, k, v, o))
		require.NoError(t, s.Err(), "%d additional keys: %v", p.Extra, c)
		loss = s.Sum(s.Mul(out, dout))
	} else {
		y, lse, err := fusedLSE[rank-1](q, k, v, o)
		out = s.Own(y, err)
		s.Own(lse, err)
		require.NoError(t, s.Err(), "%v", c)
		info, err := torch.InfoOf(lse)
		require.NoError(t, err)
		dlse := s.ToDevice(s.Own(torch.FromSlice(normal(r, len(in.DLSE)), c.shape(c.Heads, 1)[:rank+2]...)), device, info.DType)
		in.DLSE = values(t, dlse)
		last := lse
		if c.layout == functional.HeadsFirst {
			last = s.Movedim(lse, 1, -1)
		}
		want, size := p.Run(in, false), p.Run(in, true)
		check.near("lse", values(t, last), want.LSE, size.LSE)
		loss = s.Add(s.Sum(s.Mul(out, dout)), s.Sum(s.Mul(last, dlse)))
	}
	want, size := p.Run(in, false), p.Run(in, true)
	check.near("out", c.read(t, s, out), want.Out, size.Out)
	if !(c.wanted[0] || c.wanted[1] || c.wanted[2] || c.wanted[3] && c.rpb) {
		return
	}
	s.Fail(torch.Backward(loss))
	require.NoError(t, s.Err(), "%v", c)
	check.gradients([]string{"dq", "dk", "dv", "drpb"}, []*ts.Tensor{q, k, v, o.RPB}, c.wanted[:],
		[][]float64{want.DQ, want.DK, want.DV, want.DRPB}, [][]float64{size.DQ, size.DK, size.DV, size.DRPB})
	for i, x := range []*ts.Tensor{o.ExtraK, o.ExtraV} {
		if x == nil || !c.wanted[i+1] {
			continue
		}
		g := gradient(t, s, x)
		if c.layout == functional.HeadsFirst {
			g = s.Transpose(g, 1, 2)
		}
		check.near([]string{"d extra k", "d extra v"}[i], values(t, g),
			[][]float64{want.DExtraK, want.DExtraV}[i], [][]float64{size.DExtraK, size.DExtraV}[i])
	}
}

// sample is one entry of a ragged batch.
type sample struct {
	configuration
	q, k, v, dout     *ts.Tensor
	qv, kv, vv, doutv []float64
}

// checkRagged runs a batch whose samples have sizes of their own, nested or packed.
func checkRagged(t *testing.T, r *rand.Rand, c *configuration) {
	t.Helper()
	s := torch.NewScope()
	defer s.Close()
	o := c.options()
	rpb, rpbv := c.bias(t, s, r)
	o.RPB = rpb
	samples := make([]*sample, max(c.Batch, 1))
	var sizes [][]int64
	var drpb, drpbSize []float64
	for i := range samples {
		m := &sample{configuration: *c}
		m.Batch, m.Axes = 1, append([]definition.Axis(nil), c.Axes...)
		for axis := range m.Axes {
			m.Axes[axis].Length = m.Axes[axis].Kernel*m.Axes[axis].Dilation + r.IntN(3)
		}
		shape := func(heads, last int) []int64 { return m.shape(heads, last)[1:] }
		m.q, m.qv = c.plain(t, s, r, shape(c.Heads, c.Dim)...)
		m.k, m.kv = c.plain(t, s, r, shape(c.KVHeads, c.Dim)...)
		m.v, m.vv = c.plain(t, s, r, shape(c.KVHeads, c.ValueDim)...)
		m.dout, m.doutv = c.plain(t, s, r, shape(c.Heads, c.ValueDim)...)
		for j, x := range []*ts.Tensor{m.q, m.k, m.v} {
			s.RequiresGrad(x, c.wanted[j])
		}
		samples[i], sizes = m, append(sizes, shape(1, 1)[:len(c.Axes)])
	}
	require.NoError(t, s.Err(), "%v", c)
	join := func(of func(*sample) *ts.Tensor) *ts.Tensor {
		list := make([]*ts.Tensor, len(samples))
		for i, m := range samples {
			list[i] = of(m)
			if c.mode == packedBatch {
				list[i] = s.Flatten(list[i], 0, -3)
			}
		}
		if c.mode == packedBatch {
			return s.Cat(list, 0)
		}
		return s.Own(functional.Nest(list))
	}
	q, k, v := join(func(m *sample) *ts.Tensor { return m.q }), join(func(m *sample) *ts.Tensor { return m.k }), join(func(m *sample) *ts.Tensor { return m.v })
	require.NoError(t, s.Err(), "%v", c)
	var outs []*ts.Tensor
	if c.mode == packedBatch {
		all, at := s.Own(functional.NAVarlen(q, k, v, sizes, o)), int64(0)
		require.NoError(t, s.Err(), "%v", c)
		for _, m := range samples {
			outs = append(outs, s.Narrow(all, 0, at, int64(m.Tokens())))
			at += int64(m.Tokens())
		}
	} else {
		nested := s.Own(fused[len(c.Axes)-1](q, k, v, o))
		require.NoError(t, s.Err(), "%v", c)
		list, err := functional.Unnest(nested)
		require.NoError(t, err, "%v", c)
		for _, out := range list {
			outs = append(outs, s.Own(out, nil))
		}
	}
	var loss *ts.Tensor
	wants, magnitudes := make([]*definition.Result, len(samples)), make([]*definition.Result, len(samples))
	for i, m := range samples {
		want, size := m.Attention(m.qv, m.kv, m.vv, rpbv, m.doutv), m.Magnitudes(m.qv, m.kv, m.vv, rpbv, m.doutv)
		checker{t, s, &m.configuration}.near("out", values(t, outs[i]), want.Out, size.Out)
		term := s.Sum(s.Mul(s.Reshape(outs[i], -1), s.Reshape(m.dout, -1)))
		if loss == nil {
			loss = term
		} else {
			loss = s.Add(loss, term)
		}
		drpb, drpbSize = sum(drpb, want.DRPB), sum(drpbSize, size.DRPB)
		wants[i], magnitudes[i] = want, size
	}
	if !(c.wanted[0] || c.wanted[1] || c.wanted[2] || c.wanted[3] && c.rpb) {
		return
	}
	s.Fail(torch.Backward(loss))
	for i, m := range samples {
		checker{t, s, &m.configuration}.gradients([]string{"dq", "dk", "dv"}, []*ts.Tensor{m.q, m.k, m.v}, c.wanted[:3],
			[][]float64{wants[i].DQ, wants[i].DK, wants[i].DV}, [][]float64{magnitudes[i].DQ, magnitudes[i].DK, magnitudes[i].DV})
	}
	checker{t, s, c}.gradients([]string{"drpb"}, []*ts.Tensor{rpb}, c.wanted[3:], [][]float64{drpb}, [][]float64{drpbSize})
}

func sum(x, y []float64) []float64 {
	if x == nil {
		return append(x, y...)
	}
	for i := range x {
		x[i] += y[i]
	}
	return x
}
