package verify

import (
	"math"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/definition"
	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opIndexSelect = torch.NewOp("aten::index_select")
	opGather      = torch.NewOp("aten::gather")
	opMaskedFill  = torch.NewOp("aten::masked_fill.Scalar")
)

// dense is neighborhood attention as PyTorch users without this library write
// it: full attention over all tokens, masked. It is the yardstick for half
// precision: whatever error it makes in a dtype is PyTorch's own.
type dense struct {
	tokens, slots int64
	scale         float64
	shape         []int64    // of the logits besides batch and heads: *spatial, slots
	outside       *ts.Tensor // [tokens, tokens] true where a key is not in the window
	bias          *ts.Tensor // [tokens*tokens] entry of the rpb, 0 outside
	key           *ts.Tensor // [tokens, slots] key of a slot, 0 where it is empty
	empty         *ts.Tensor // [tokens, slots] true where a slot is empty
}

// newDense works the windows out from their definition.
func newDense(s *torch.Scope, axes []definition.Axis, scale float64, device torch.Device) *dense {
	p := definition.Problem{Axes: axes}
	tokens, slots := p.Tokens(), p.Slots()
	outside, empty := make([]bool, tokens*tokens), make([]bool, tokens*slots)
	bias, key := make([]int64, tokens*tokens), make([]int64, tokens*slots)
	for i := range outside {
		outside[i] = true
	}
	for i := range empty {
		empty[i] = true
	}
	for query, neighbors := range p.Neighbors() {
		for _, n := range neighbors {
			outside[query*tokens+n.Key], bias[query*tokens+n.Key] = false, int64(n.Bias)
			empty[query*slots+n.Slot], key[query*slots+n.Slot] = false, int64(n.Key)
		}
	}
	d := &dense{tokens: int64(tokens), slots: int64(slots), scale: scale}
	for _, a := range axes {
		d.shape = append(d.shape, int64(a.Length))
	}
	move := func(x *ts.Tensor, dtype gotch.DType) *ts.Tensor { return s.ToDevice(x, device, dtype) }
	d.outside = move(s.Own(torch.FromSlice(outside, d.tokens, d.tokens)), gotch.Bool)
	d.empty = move(s.Own(torch.FromSlice(empty, d.tokens, d.slots)), gotch.Bool)
	d.bias = move(s.Own(torch.FromSlice(bias, d.tokens*d.tokens)), gotch.Int64)
	d.key = move(s.Own(torch.FromSlice(key, d.tokens, d.slots)), gotch.Int64)
	return d
}

// attend is softmax(scale q k^T + rpb) v over [B, H, *spatial, D], and the
// logits before the mask, [B, H, tokens, tokens]. The bias is gathered in at
// least float32, so that summing its gradient is not what dominates.
func (d *dense) attend(s *torch.Scope, q, k, v, rpb *ts.Tensor, dtype gotch.DType) (out, logits *ts.Tensor) {
	outShape, err := torch.InfoOf(v)
	s.Fail(err)
	if s.Err() != nil {
		return nil, nil
	}
	last := int64(len(d.shape) + 1)
	q, k, v = s.Flatten(q, 2, last), s.Flatten(k, 2, last), s.Flatten(v, 2, last)
	logits = s.Matmul(s.MulScalar(q, d.scale), s.Transpose(k, -1, -2))
	if rpb != nil {
		wide := gotch.Float
		if dtype == gotch.Double {
			wide = gotch.Double
		}
		table := s.Op(opIndexSelect, s.To(s.Flatten(rpb, 1, last-1), wide), 1, d.bias)
		logits = s.Add(logits, s.To(s.View(table, -1, d.tokens, d.tokens), dtype))
	}
	attn := s.Softmax(s.Op(opMaskedFill, logits, d.outside, math.Inf(-1)), -1)
	return s.Reshape(s.Matmul(attn, v), outShape.Shape...), logits
}

// run computes the same results as the functions under test.
func (d *dense) run(in inputs, dtype gotch.DType) (results, error) {
	s := torch.NewScope()
	defer s.Close()
	cast := func(x *ts.Tensor) *ts.Tensor {
		if x == nil {
			return nil
		}
		return s.To(x, dtype)
	}
	x := inputs{cast(in.q), cast(in.k), cast(in.v), cast(in.rpb), cast(in.dout)}.leaves(s, functional.HeadsFirst)
	out, logits := d.attend(s, x.q, x.k, x.v, x.rpb, dtype)
	found := results{}
	if s.Err() == nil {
		info, err := torch.InfoOf(logits)
		s.Fail(err)
		if err == nil {
			index := s.Op(opExpand, d.key, []int64{info.Shape[0], info.Shape[1], d.tokens, d.slots})
			slots := s.Op(opMaskedFill, s.Op(opGather, logits, -1, index), d.empty, math.Inf(-1))
			found.read(s, "logits", slots, functional.HeadsFirst)
		}
	}
	found.read(s, "out", out, functional.HeadsFirst)
	x.backward(s, out, found, functional.HeadsFirst)
	return found, s.Err()
}

var opExpand = torch.NewOp("aten::expand")

// halfLimit is the limit in half precision for one tensor: twice the error of
// the dense computation in the root mean square, four times in the largest
// element (the largest of few rounding errors is a matter of luck), but never
// less than the rounding of results itself.
func halfLimit(dtype gotch.DType, theirs, exact []float64) limit {
	roundoff := 0x1p-11
	if dtype == gotch.BFloat16 {
		roundoff = 0x1p-8
	}
	e := errorOf(theirs, exact)
	if math.IsInf(e.abs, 1) {
		return limit{roundoff, roundoff}
	}
	return limit{largest: max(4*e.largest, 2*roundoff), rms: max(2*e.rms, roundoff)}
}
