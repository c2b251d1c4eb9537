package definition

import "math"

// Problem is the shape of one call. Tensors are row-major and heads-last:
// queries [Batch, tokens, Heads, Dim], keys [Batch, tokens, KVHeads, Dim],
// values [Batch, tokens, KVHeads, ValueDim], attention weights and logits
// [Batch, tokens, Heads, slots], the bias [Heads, 2*Kernel-1 per axis]. Query
// head h reads key head h / (Heads/KVHeads).
type Problem struct {
	Batch, Heads, KVHeads, Dim, ValueDim int
	Axes                                 []Axis
	Scale                                float64 // multiplies q·k, not the bias
}

// Tokens is the product of the axes' lengths.
func (p *Problem) Tokens() int { return p.product(func(a Axis) int { return a.Length }) }

// Slots is the product of the axes' kernels.
func (p *Problem) Slots() int { return p.product(func(a Axis) int { return a.Kernel }) }

// BiasEntries is the size of one head's bias.
func (p *Problem) BiasEntries() int { return p.product(func(a Axis) int { return 2*a.Kernel - 1 }) }

func (p *Problem) product(of func(Axis) int) int {
	n := 1
	for _, a := range p.Axes {
		n *= of(a)
	}
	return n
}

// Neighbor is one key of a query.
type Neighbor struct {
	Slot, Key, Bias int // place among the slots, token, entry of the bias
}

// Neighbors are each token's keys. Slots are row-major over the axes, the last
// axis fastest; on each axis keys come first and empty slots last.
func (p *Problem) Neighbors() [][]Neighbor {
	all := [][]Neighbor{{{}}} // no axis: one token, its own only key
	for _, a := range p.Axes {
		next := make([][]Neighbor, 0, len(all)*a.Length)
		for _, before := range all {
			for query := 0; query < a.Length; query++ {
				var here []Neighbor
				for _, n := range before {
					for t, key := range a.Keys(query) {
						here = append(here, Neighbor{
							Slot: n.Slot*a.Kernel + t,
							Key:  n.Key*a.Length + key,
							Bias: n.Bias*(2*a.Kernel-1) + a.Bias(query, key),
						})
					}
				}
				next = append(next, here)
			}
		}
		all = next
	}
	return all
}

// each visits every key of every query: rows of q-like tensors, rows of k-like
// tensors, the place in [.., slots] tensors and in the bias.
func (p *Problem) each(visit func(queryRow, keyRow, slot, bias int)) {
	neighbors, slots, entries := p.Neighbors(), p.Slots(), p.BiasEntries()
	for batch := 0; batch < p.Batch; batch++ {
		for token, keys := range neighbors {
			for head := 0; head < p.Heads; head++ {
				row := (batch*len(neighbors)+token)*p.Heads + head
				keyHead := head / (p.Heads / p.KVHeads)
				for _, n := range keys {
					keyRow := (batch*len(neighbors)+n.Key)*p.KVHeads + keyHead
					visit(row, keyRow, row*slots+n.Slot, head*entries+n.Bias)
				}
			}
		}
	}
}

func (p *Problem) rows() int { return p.Batch * p.Tokens() * p.Heads }

// QK are the logits, -Inf in empty slots. rpb may be nil.
func (p *Problem) QK(q, k, rpb []float64) []float64 {
	logits := make([]float64, p.rows()*p.Slots())
	for i := range logits {
		logits[i] = math.Inf(-1)
	}
	p.each(func(queryRow, keyRow, slot, bias int) {
		sum := 0.0
		for d := 0; d < p.Dim; d++ {
			sum += q[queryRow*p.Dim+d] * k[keyRow*p.Dim+d]
		}
		logits[slot] = p.Scale * sum
		if rpb != nil {
			logits[slot] += rpb[bias]
		}
	})
	return logits
}

// QKBackward are the gradients of sum(logits * dlogits); drpb is nil without rpb.
func (p *Problem) QKBackward(q, k, rpb, dlogits []float64) (dq, dk, drpb []float64) {
	dq, dk = make([]float64, len(q)), make([]float64, len(k))
	if rpb != nil {
		drpb = make([]float64, len(rpb))
	}
	p.each(func(queryRow, keyRow, slot, bias int) {
		g := dlogits[slot]
		for d := 0; d < p.Dim; d++ {
			dq[queryRow*p.Dim+d] += p.Scale * g * k[keyRow*p.Dim+d]
			dk[keyRow*p.Dim+d] += p.Scale * g * q[queryRow*p.Dim+d]
		}
		if rpb != nil {
			drpb[bias] += g
		}
	})
	return dq, dk, drpb
}

// AV is the sum of each query's values weighted by attn.
func (p *Problem) AV(attn, v []float64) []float64 {
	out := make([]float64, p.rows()*p.ValueDim)
	p.each(func(queryRow, keyRow, slot, _ int) {
		for d := 0; d < p.ValueDim; d++ {
			out[queryRow*p.ValueDim+d] += attn[slot] * v[keyRow*p.ValueDim+d]
		}
	})
	return out
}

// AVBackward are the gradients of sum(out * dout); dattn is 0 in empty slots.
func (p *Problem) AVBackward(attn, v, dout []float64) (dattn, dv []float64) {
	dattn, dv = make([]float64, len(attn)), make([]float64, len(v))
	p.each(func(queryRow, keyRow, slot, _ int) {
		for d := 0; d < p.ValueDim; d++ {
			dattn[slot] += dout[queryRow*p.ValueDim+d] * v[keyRow*p.ValueDim+d]
			dv[keyRow*p.ValueDim+d] += attn[slot] * dout[queryRow*p.ValueDim+d]
		}
	})
	return dattn, dv
}

// Softmax normalises each row of width values; -Inf becomes 0.
func Softmax(x []float64, width int) []float64 {
	y := make([]float64, len(x))
	for start := 0; start < len(x); start += width {
		row, out := x[start:start+width], y[start:start+width]
		highest, sum := math.Inf(-1), 0.0
		for _, v := range row {
			highest = max(highest, v)
		}
		for i, v := range row {
			out[i] = math.Exp(v - highest)
			sum += out[i]
		}
		for i := range out {
			out[i] /= sum
		}
	}
	return y
}

// SoftmaxBackward is the gradient of sum(softmax(x) * dy), from y = softmax(x).
func SoftmaxBackward(y, dy []float64, width int) []float64 {
	dx := make([]float64, len(y))
	for start := 0; start < len(y); start += width {
		dot := 0.0
		for i := start; i < start+width; i++ {
			dot += y[i] * dy[i]
		}
		for i := start; i < start+width; i++ {
			dx[i] = y[i] * (dy[i] - dot)
		}
	}
	return dx
}

// Result is a whole forward and backward pass.
type Result struct {
	Logits, Attn, Out []float64
	DQ, DK, DV, DRPB  []float64 // of sum(Out * dout); DRPB nil without rpb
}

// Attention runs softmax(QK) AV and, unless dout is nil, its derivative.
func (p *Problem) Attention(q, k, v, rpb, dout []float64) *Result {
	r := &Result{Logits: p.QK(q, k, rpb)}
	r.Attn = Softmax(r.Logits, p.Slots())
	r.Out = p.AV(r.Attn, v)
	if dout != nil {
		var dattn []float64
		dattn, r.DV = p.AVBackward(r.Attn, v, dout)
		r.DQ, r.DK, r.DRPB = p.QKBackward(q, k, rpb, SoftmaxBackward(r.Attn, dattn, p.Slots()))
	}
	return r
}

// Magnitudes are the same sums as [Problem.Attention]'s with every term's
// absolute value: rounding errors are small multiples of the roundoff times
// these, however much the terms cancel. dout must be given.
func (p *Problem) Magnitudes(q, k, v, rpb, dout []float64) *Result {
	r := &Result{Attn: Softmax(p.QK(q, k, rpb), p.Slots())}
	q, k, v, dout = absolute(q), absolute(k), absolute(v), absolute(dout)
	r.Logits, r.Out = p.QK(q, k, absolute(rpb)), p.AV(r.Attn, v)
	var dattn []float64
	dattn, r.DV = p.AVBackward(r.Attn, v, dout)
	slots := p.Slots()
	dlogits := make([]float64, len(dattn))
	for start := 0; start < len(dattn); start += slots {
		dot := 0.0
		for i := start; i < start+slots; i++ {
			dot += r.Attn[i] * dattn[i]
		}
		for i := start; i < start+slots; i++ {
			dlogits[i] = r.Attn[i] * (dattn[i] + dot)
		}
	}
	r.DQ, r.DK, r.DRPB = p.QKBackward(q, k, rpb, dlogits)
	return r
}

func absolute(x []float64) []float64 {
	if x == nil {
		return nil
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = math.Abs(v)
	}
	return y
}
