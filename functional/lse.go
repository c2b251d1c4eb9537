package functional

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opNALSE = torch.NewOp("natten::na_lse")
	opMerge = torch.NewOp("natten::merge_attentions")
)

// NA1DLSE is NA1D that also returns the natural logarithm of each query's
// softmax denominator, [batch, length, heads] (HeadsFirst: [batch, heads,
// length]), float64 for float64 inputs and float32 for all others. Both
// results are differentiable. ExtraK, ExtraV, DropoutP and Seed do not apply.
func NA1DLSE(q, k, v *ts.Tensor, o Options) (out, lse *ts.Tensor, err error) {
	return naLSE("NA1DLSE", 1, q, k, v, o)
}

// NA2DLSE is NA1DLSE over images.
func NA2DLSE(q, k, v *ts.Tensor, o Options) (out, lse *ts.Tensor, err error) {
	return naLSE("NA2DLSE", 2, q, k, v, o)
}

// NA3DLSE is NA1DLSE over volumes.
func NA3DLSE(q, k, v *ts.Tensor, o Options) (out, lse *ts.Tensor, err error) {
	return naLSE("NA3DLSE", 3, q, k, v, o)
}

func naLSE(name string, rank int, q, k, v *ts.Tensor, o Options) (out, lse *ts.Tensor, err error) {
	if err := o.without("ExtraK", "ExtraV", "DropoutP", "Seed"); err != nil {
		return nil, nil, wrap(name, fmt.Errorf("%w; merge with MergeAttentions instead", err))
	}
	outs, err := runAll(name, rank, o, []input{{"q", q}, {"k", k}, {"v", v}}, func(s *torch.Scope, t []*ts.Tensor, a arguments) []*ts.Tensor {
		results := s.Call(opNALSE, t[0], t[1], t[2], o.RPB, a.kernelSize, a.dilation, a.isCausal, o.scale(), a.stride)
		if s.Err() != nil {
			return []*ts.Tensor{nil, nil}
		}
		return []*ts.Tensor{results[0].(*ts.Tensor), results[1].(*ts.Tensor)}
	})
	if err != nil {
		return nil, nil, err
	}
	return outs[0], outs[1], nil
}

// MergeAttentions combines attention outputs over disjoint sets of keys, with
// their log-sum-exps, into the output and log-sum-exp of one softmax over all
// of them: outs of one shape [..., value_dim], lses of that shape without the
// last dimension. Differentiable in everything.
func MergeAttentions(outs, lses []*ts.Tensor) (out, lse *ts.Tensor, err error) {
	s := torch.NewScope()
	defer s.Close()
	results := s.Call(opMerge, outs, lses)
	if s.Err() != nil {
		return nil, nil, wrap("MergeAttentions", s.Err())
	}
	if out, err = s.Return(results[0].(*ts.Tensor)); err == nil {
		lse, err = s.Return(results[1].(*ts.Tensor))
	}
	return out, lse, wrap("MergeAttentions", err)
}
