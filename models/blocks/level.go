package blocks

import (
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// Level is a run of blocks at one resolution and what reduces it afterwards.
type Level struct {
	nn.Module
	Blocks     []*Block
	Downsample Downsampler // nil after the last level
}

// Downsampler halves the resolution between two levels.
type Downsampler interface {
	nn.Layer
	Visitable
}

// NewLevel names a level; the caller fills in its parts.
func NewLevel(path *gotchnn.Path) *Level {
	l := &Level{}
	l.Module = nn.NewModule(l, "Level", path)
	return l
}

// Apply maps [B, H, W, dim] to the next level's input: [B, H/2, W/2, 2*dim], or
// the same shape at the last level.
func (l *Level) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return l.Run(func(s *torch.Scope) *ts.Tensor {
		h := l.features(s, x, train)
		if l.Downsample != nil {
			h = s.Own(l.Downsample.Apply(h, train))
		}
		return h
	})
}

// Features is the blocks' output before the downsampler, [B, H, W, dim].
func (l *Level) Features(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return l.Run(func(s *torch.Scope) *ts.Tensor { return l.features(s, x, train) })
}

// features gives each block's input back as soon as the next one has used it:
// autograd keeps what it needs by itself.
func (l *Level) features(s *torch.Scope, x *ts.Tensor, train bool) *ts.Tensor {
	for _, block := range l.Blocks {
		next := s.Own(block.Apply(x, train))
		s.Free(x)
		x = next
	}
	return x
}

// Visit goes through the parameters in the order of the official state dict.
func (l *Level) Visit(visit Visitor) {
	for _, block := range l.Blocks {
		block.Visit(visit)
	}
	if l.Downsample != nil {
		l.Downsample.Visit(visit)
	}
}
