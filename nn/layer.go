package nn

import (
	"fmt"
	"strings"

	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// Layer is anything that maps a tensor to a tensor. train switches dropout
// and stochastic depth on.
type Layer interface {
	Apply(x *ts.Tensor, train bool) (*ts.Tensor, error)
}

// Error is what Forward and ForwardT panic with, and what Apply returns.
type Error struct {
	Layer string // type and place in the model: "Linear levels.0.blocks.1.mlp.fc1"
	Err   error
}

// Error is "nn: Linear levels.0.blocks.1.mlp.fc1: ...".
func (e *Error) Error() string { return fmt.Sprintf("nn: %s: %v", e.Layer, e.Err) }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Module is embedded by every layer: it names the layer for errors and
// graphs, and gives it gotch's two module interfaces.
type Module struct {
	kind, name string
	self       Layer
}

// NewModule names a layer of that type at that path. Composite layers outside
// this package embed the result.
func NewModule(self Layer, kind string, path *gotchnn.Path) Module {
	return Module{kind: kind, name: strings.Join(path.Paths(), gotchnn.SEP), self: self}
}

// Name is the layer's place in the model, as in its parameters' names; empty
// for the root.
func (m *Module) Name() string { return m.name }

// Run evaluates body in a scope that belongs to this layer: what body makes
// and does not return is freed, and errors carry the layer's name.
func (m *Module) Run(body func(s *torch.Scope) *ts.Tensor) (*ts.Tensor, error) {
	s := torch.NewScope()
	defer s.Close()
	y, err := s.Return(body(s))
	return y, m.wrap(err)
}

// wrap names the innermost layer; outer ones leave its error as it is.
func (m *Module) wrap(err error) error {
	if err == nil {
		return nil
	}
	if inner, ok := err.(*Error); ok {
		return inner
	}
	return &Error{Layer: strings.TrimSpace(m.kind + " " + m.name), Err: err}
}

// Forward is Apply in evaluation mode; it panics with an [*Error].
func (m *Module) Forward(x *ts.Tensor) *ts.Tensor { return m.ForwardT(x, false) }

// ForwardT is Apply that panics with an [*Error].
func (m *Module) ForwardT(x *ts.Tensor, train bool) *ts.Tensor {
	y, err := m.self.Apply(x, train)
	if err != nil {
		panic(err)
	}
	return y
}
