package nn

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// applyRagged runs the projections once over the tokens of all samples, packed
// behind each other, and attention sample by sample in one call.
func (a *attention) applyRagged(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return a.Run(func(s *torch.Scope) *ts.Tensor {
		if train && a.attnDrop != 0 {
			s.Fail(fmt.Errorf("AttnDrop is %v, want 0 for nested inputs", a.attnDrop))
			return nil
		}
		samples := s.Unbind(x, 0)
		sizes, lengths := make([][]int64, len(samples)), make([]int64, len(samples))
		packed := make([]*ts.Tensor, len(samples))
		for i, sample := range samples {
			info, err := torch.InfoOf(sample)
			if err != nil {
				s.Fail(err)
				return nil
			}
			sizes[i], lengths[i] = info.Shape[:a.rank], info.Numel()/a.dim
			packed[i] = s.Reshape(sample, lengths[i], a.dim)
		}
		h := s.Own(a.QKV.Apply(s.Cat(packed, 0), train))
		qkv := s.Unbind(s.View(h, -1, 3, a.heads, a.dim/a.heads), 1)
		if s.Err() != nil {
			return nil
		}
		h = s.Own(functional.NAVarlen(qkv[0], qkv[1], qkv[2], sizes, a.options))
		h = s.Own(a.Proj.Apply(s.Reshape(h, -1, a.dim), train))
		outs := s.List(opSplit, s.Dropout(h, a.out, train), lengths, 0)
		for i := range outs {
			outs[i] = s.Reshape(outs[i], append(append([]int64{}, sizes[i]...), a.dim)...)
		}
		return s.Own(functional.Nest(outs))
	})
}

var opSplit = torch.NewOp("aten::split_with_sizes")
