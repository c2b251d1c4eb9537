package flops

import "fmt"

// attentionHandlers are dense attention and NATTEN's operators.
var attentionHandlers = map[string]Handler{
	"aten::scaled_dot_product_attention":                denseAttention,
	"aten::_scaled_dot_product_flash_attention_for_cpu": denseAttentionKernel,
	"aten::_scaled_dot_product_flash_attention":         denseAttentionKernel,
	"natten::na":     neighborhoodAttention,
	"natten::na_lse": neighborhoodAttention,
	"natten::na_qk":  neighborhoodQK,
	"natten::na_av":  neighborhoodAV,
	// The parts of the derivatives, and the forward that keeps what they need.
	"natten::_na_forward":     neighborhoodAttention,
	"natten::_na_backward":    neighborhoodBackward,
	"natten::_na_qk_backward": neighborhoodQKBackward,
	"natten::_na_av_backward": neighborhoodAVBackward,
}

// logits says how many logits attention has.
type logits struct {
	queries int64 // rows: batch · heads · tokens
	pairs   int64 // logits: a query and one of the keys it sees
	dim     int64 // of queries and keys
	value   int64 // of values
	bias    bool  // something is added to every logit
}

// qk is the product of queries and keys: a MAC per channel and pair; the scale
// multiplies every channel of the queries; a bias adds one FLOP per pair.
func (l logits) qk() Cost {
	further := l.queries * l.dim
	if l.bias {
		further += l.pairs
	}
	return macs(l.pairs*l.dim, further)
}

// softmax over n logits takes 5n-2: the maximum n-1, subtracting it n, exp n,
// the sum n-1, dividing n.
func (l logits) softmax() Cost { return Cost{FLOPs: 5*l.pairs - 2*l.queries} }

// av is the weighted sum of values: a MAC per channel and pair.
func (l logits) av() Cost { return macs(l.pairs*l.value, 0) }

// fused is all three as separate rows of the report. A fused operator keeps the
// logits to itself: queries, keys and biases are read for the first product,
// values read and the result written for the second.
func (l logits) fused(name string, op *Op) Cost {
	qk, softmax, av := l.qk(), l.softmax(), l.av()
	qk.Label, softmax.Label, av.Label = name+"_qk", name+"_softmax", name+"_av"
	av.Bytes = op.Tensor(2).Bytes()
	for i := range op.Outputs {
		if out := tensorAt(op.Outputs, i); out != nil {
			av.Bytes += out.Bytes()
		}
	}
	qk.Bytes = op.bytes() - av.Bytes
	return Cost{Parts: []Cost{qk, softmax, av}}
}

// denseAttention is scaled_dot_product_attention(q [.., L, E], k [.., S, E],
// v [.., S, Ev], mask, dropout, causal):
//
//	pairs = L·S per head; causal: query i sees the keys 0..i, sum of min(i+1, S)
//	MACs  = pairs·(E + Ev)
//	FLOPs = 2·MACs + L·E (scale) + 5·pairs - 2·L (softmax) (+ pairs with a floating-point mask)
func denseAttention(op *Op) Cost { return denseLogits(op, op.Bool(5), 3).fused("sdpa", op) }

// denseAttentionKernel is the operator below it: (q, k, v, dropout, causal, ..., mask).
func denseAttentionKernel(op *Op) Cost { return denseLogits(op, op.Bool(4), 5).fused("sdpa", op) }

func denseLogits(op *Op, causal bool, mask int) logits {
	q, k, v := op.Shape(0), op.Shape(1), op.Shape(2)
	lengthQ, lengthK := q[len(q)-2], k[len(k)-2]
	heads := product(q[:len(q)-2])
	pairs := lengthQ * lengthK
	if causal {
		pairs = 0
		for i := range lengthQ {
			pairs += min(i+1, lengthK)
		}
	}
	bias := op.Has(mask) && op.Tensor(mask).Floating()
	return logits{heads * lengthQ, heads * pairs, last(q), last(v), bias}
}

// neighborhoodAttention is na(q, k, v, rpb, kernel_size, dilation, is_causal,
// scale, stride, extra_k, extra_v), tensors [B, *spatial, heads, dim]:
//
//	pairs = B·heads·(product over axes of the sum over queries of the keys it sees on that axis)
//	        + B·heads·tokens·(additional keys)
//	MACs  = pairs·dim (qk) + pairs·value_dim (av)
//	FLOPs = 2·MACs + tokens·heads·B·dim (scale) + 5·pairs - 2·B·heads·tokens (softmax) (+ pairs with rpb)
//
// A query sees kernel_size keys on an axis, at the edges too, where its window
// is shifted and not cut; where the axis is causal the first ones see fewer.
func neighborhoodAttention(op *Op) Cost {
	l := neighborhoodLogits(op, op.Shape(0), 4, 8)
	l.value = last(op.Shape(2))
	l.bias = op.Has(3)
	if extra := op.Shape(9); extra != nil {
		l.pairs += l.queries * extra[1]
	}
	return l.fused(neighborhoodName(op, 4), op)
}

// neighborhoodQK is na_qk(q, k, rpb, kernel_size, dilation, is_causal, scale, stride).
func neighborhoodQK(op *Op) Cost {
	l := neighborhoodLogits(op, op.Shape(0), 3, 7)
	l.bias = op.Has(2)
	cost := l.qk()
	if op.Float(6, 1) == 1 {
		cost.FLOPs -= l.queries * l.dim
	}
	cost.Label = neighborhoodName(op, 3) + "_qk"
	return cost
}

// neighborhoodAV is na_av(attn, v, kernel_size, dilation, is_causal, stride).
func neighborhoodAV(op *Op) Cost {
	l := neighborhoodLogits(op, op.Shape(0), 2, 5)
	l.value = last(op.Shape(1))
	cost := l.av()
	cost.Label = neighborhoodName(op, 2) + "_av"
	return cost
}

// neighborhoodBackward is the derivative of the fused operator, which keeps no
// weights and computes the logits anew: na_backward(dout, q, k, v, rpb, out,
// lse, kernel_size, dilation, is_causal, scale, stride, rpb_grad):
//
//	MACs  = pairs·(3·dim + 2·value_dim): logits, dout·v; dq, dk; dv
//	FLOPs = 2·MACs + pairs·(2: weights exp(logit - lse); 2: w·(dw - delta))
//	        + B·heads·tokens·(2·value_dim - 1: delta = dout·out; dim: scaled queries; dim: scaled dq)
//	        (+ pairs with rpb, + pairs with its gradient)
func neighborhoodBackward(op *Op) Cost {
	l := neighborhoodLogits(op, op.Shape(1), 7, 11)
	value := last(op.Shape(3))
	further := 4*l.pairs + l.queries*(2*value-1+2*l.dim)
	if op.Has(4) {
		further += l.pairs
	}
	if op.Bool(12) {
		further += l.pairs
	}
	cost := macs(l.pairs*(3*l.dim+2*value), further)
	cost.Label = neighborhoodName(op, 7) + "_backward"
	return cost
}

// neighborhoodQKBackward is na_qk_backward(dlogits, q, k, rpb, kernel_size,
// dilation, is_causal, scale, stride, rpb_grad): 2·pairs·dim MACs for dq and dk,
// the scale of both dq and the queries, one FLOP per pair for rpb's gradient.
func neighborhoodQKBackward(op *Op) Cost {
	l := neighborhoodLogits(op, op.Shape(1), 4, 8)
	var further int64
	if op.Float(7, 1) != 1 {
		further += 2 * l.queries * l.dim
	}
	if op.Bool(9) {
		further += l.pairs
	}
	cost := macs(2*l.pairs*l.dim, further)
	cost.Label = neighborhoodName(op, 4) + "_qk_backward"
	return cost
}

// neighborhoodAVBackward is na_av_backward(dout, attn, v, kernel_size,
// dilation, is_causal, stride): 2·pairs·value_dim MACs for the weights' and the
// values' gradients.
func neighborhoodAVBackward(op *Op) Cost {
	l := neighborhoodLogits(op, op.Shape(1), 3, 6)
	cost := macs(2*l.pairs*last(op.Shape(2)), 0)
	cost.Label = neighborhoodName(op, 3) + "_av_backward"
	return cost
}

// neighborhoodLogits counts for a tensor [B, *spatial, heads, dim] with
// kernel_size, dilation and is_causal from argument `geometry` on.
func neighborhoodLogits(op *Op, shape []int64, geometry, strideAt int) logits {
	kernel, dilation, causal := op.Ints(geometry), op.Ints(geometry+1), op.Bools(geometry+2)
	stride := op.Ints(strideAt)
	rank := len(kernel)
	heads := shape[0] * shape[rank+1]
	l := logits{queries: heads, pairs: heads, dim: last(shape)}
	for a := range rank {
		axis := axis{length: shape[1+a], kernel: kernel[a], dilation: at(dilation, a), stride: at(stride, a),
			causal: a < len(causal) && causal[a]}
		l.queries *= axis.length
		l.pairs *= axis.keys()
	}
	return l
}

func neighborhoodName(op *Op, geometry int) string {
	return fmt.Sprintf("na%dd", len(op.Ints(geometry)))
}

func at(list []int64, i int) int64 {
	if i < len(list) {
		return list[i]
	}
	return 1
}

// axis is one spatial axis of neighborhood attention.
type axis struct {
	length, kernel, dilation, stride int64
	causal                           bool
}

// keys is how many keys its queries see together. Not causal: kernel each.
// Causal: in a group of tokens `dilation` apart, the queries of a block of
// `stride` share the window of their last one, which starts at most kernel-1
// before it, and none sees a key after itself.
func (a axis) keys() int64 {
	if !a.causal {
		return a.length * a.kernel
	}
	var sum int64
	for residue := range min(a.dilation, a.length) {
		group := (a.length-1-residue)/a.dilation + 1
		for place := range group {
			leader := min(place/a.stride*a.stride+a.stride-1, group-1)
			first := max(leader-a.kernel+1, 0)
			sum += min(place-first+1, a.kernel)
		}
	}
	return sum
}
