package verify

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/byrank"
	"github.com/gonatten/gonatten/internal/torch"
)

// results are named tensors as float64, heads first.
type results map[string][]float64

// inputs of attention, heads first; rpb may be nil. dout is the gradient of
// the output.
type inputs struct{ q, k, v, rpb, dout *ts.Tensor }

// leaves are fresh copies in the given layout, with gradients wanted.
func (in inputs) leaves(s *torch.Scope, layout functional.Layout) inputs {
	copied := func(x *ts.Tensor) *ts.Tensor {
		if layout == functional.HeadsLast {
			x = s.Movedim(x, 1, -2)
		}
		x = s.Clone(s.Contiguous(x))
		s.RequiresGrad(x, true)
		return x
	}
	out := inputs{q: copied(in.q), k: copied(in.k), v: copied(in.v)}
	if in.rpb != nil {
		out.rpb = s.Clone(in.rpb)
		s.RequiresGrad(out.rpb, true)
	}
	out.dout = in.dout
	if layout == functional.HeadsLast {
		out.dout = s.Movedim(in.dout, 1, -2)
	}
	return out
}

// run computes attention and its gradients through the functions under test.
func (in inputs) run(layout functional.Layout, rank int, o functional.Options, fuse bool) (results, error) {
	s := torch.NewScope()
	defer s.Close()
	x := in.leaves(s, layout)
	o.RPB, o.Layout = x.rpb, layout
	found := results{}
	var out *ts.Tensor
	if fuse {
		out = s.Own(byrank.NA[rank-1](x.q, x.k, x.v, o))
	} else {
		logits := s.Own(byrank.QK[rank-1](x.q, x.k, o))
		found.read(s, "logits", logits, layout)
		out = s.Own(byrank.AV[rank-1](s.Softmax(logits, -1), x.v, o))
	}
	found.read(s, "out", out, layout)
	x.backward(s, out, found, layout)
	return found, s.Err()
}

// backward adds the gradients to found.
func (in inputs) backward(s *torch.Scope, out *ts.Tensor, found results, layout functional.Layout) {
	if s.Err() != nil {
		return
	}
	s.Fail(torch.BackwardWith(out, in.dout))
	for name, leaf := range map[string]*ts.Tensor{"dq": in.q, "dk": in.k, "dv": in.v, "drpb": in.rpb} {
		if leaf == nil || s.Err() != nil {
			continue
		}
		g := s.Own(torch.Grad(leaf))
		if g == nil {
			s.Fail(fmt.Errorf("%s: no gradient", name))
			return
		}
		if name == "drpb" {
			found.read(s, name, g, functional.HeadsFirst)
		} else {
			found.read(s, name, g, layout)
		}
	}
}

// read stores a tensor's values heads first.
func (r results) read(s *torch.Scope, name string, x *ts.Tensor, layout functional.Layout) {
	if s.Err() != nil {
		return
	}
	if layout == functional.HeadsLast {
		x = s.Movedim(x, -2, 1)
	}
	values, err := torch.Slice[float64](x)
	s.Fail(err)
	r[name] = values
}
