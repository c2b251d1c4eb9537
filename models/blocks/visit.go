package blocks

import (
	"github.com/gonatten/gonatten/nn"
	"github.com/sugarme/gotch/ts"
)

// Visitor is told each parameter and buffer of a layer by its full name.
type Visitor func(name string, t *ts.Tensor)

// Visitable is a layer that shows its parameters and buffers in the order of
// the official state dict, which a VarStore does not keep.
type Visitable interface{ Visit(Visitor) }

// named reports one tensor of the layer at path; nil tensors do not exist.
func (v Visitor) named(path, name string, t *ts.Tensor) {
	if t == nil {
		return
	}
	if path != "" {
		name = path + "." + name
	}
	v(name, t)
}

func (v Visitor) norm(l *nn.LayerNorm) {
	v.named(l.Name(), "weight", l.Weight)
	v.named(l.Name(), "bias", l.Bias)
}

func (v Visitor) linear(l *nn.Linear) {
	v.named(l.Name(), "weight", l.Weight)
	v.named(l.Name(), "bias", l.Bias)
}

func (v Visitor) conv(l *nn.Conv2d) {
	v.named(l.Name(), "weight", l.Weight)
	v.named(l.Name(), "bias", l.Bias)
}

// Norm and Linear show single layers, for models that hold them directly.
func (v Visitor) Norm(l *nn.LayerNorm) { v.norm(l) }

// Linear shows a linear layer.
func (v Visitor) Linear(l *nn.Linear) { v.linear(l) }
