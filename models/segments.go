package models

import (
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/sugarme/gotch/ts"
)

// Segment is a part of a model that maps one tensor to one.
type Segment func(x *ts.Tensor, train bool) (*ts.Tensor, error)

// Segments are the parts of a classifier in the order of its forward pass: the
// tokenizer, every block and every downsampler, and what follows the last
// block. Applied one after another they are Apply, random numbers included. No
// parameter belongs to two of them, so that a trainer may forget what is inside
// a segment and compute it again in the backward pass (arXiv 1604.06174). A
// feature extractor has none.
func (m *Model) Segments() []Segment {
	if m.Head == nil {
		return nil
	}
	segments := []Segment{m.segment(func(s *torch.Scope, x *ts.Tensor, train bool) *ts.Tensor {
		return m.tokens(s, x, train)
	})}
	for _, level := range m.Levels {
		for _, block := range level.Blocks {
			segments = append(segments, block.Apply)
		}
		if level.Downsample != nil {
			segments = append(segments, level.Downsample.Apply)
		}
	}
	return append(segments, m.segment(m.classify))
}

func (m *Model) segment(f func(s *torch.Scope, x *ts.Tensor, train bool) *ts.Tensor) Segment {
	return func(x *ts.Tensor, train bool) (*ts.Tensor, error) {
		return m.Run(func(s *torch.Scope) *ts.Tensor { return f(s, x, train) })
	}
}

// classify maps the last block's output to logits.
func (m *Model) classify(s *torch.Scope, x *ts.Tensor, train bool) *ts.Tensor {
	pooled := s.MeanDim(s.Own(m.Norm.Apply(x, train)), false, 1, 2)
	return s.Own(m.Head.Apply(pooled, train))
}
