package flops

import (
	"strings"

	"github.com/sugarme/gotch"
)

// Tensor is what a handler may know of a tensor.
type Tensor struct {
	Shape       []int64
	DType       gotch.DType
	ElementSize int64  // bytes
	Name        string // of the parameter it is or views, "" for others
}

// Numel is the number of elements.
func (t *Tensor) Numel() int64 { return product(t.Shape) }

// Bytes is the size of its elements.
func (t *Tensor) Bytes() int64 { return t.Numel() * t.ElementSize }

// Floating reports whether its elements are floating point or complex numbers.
func (t *Tensor) Floating() bool {
	switch t.DType {
	case gotch.Uint8, gotch.Int8, gotch.Int16, gotch.Int, gotch.Int64, gotch.Bool:
		return false
	}
	return true
}

// Op is one call of an operator as a handler sees it: shapes and constants,
// never data. Inputs and Outputs are in the order of the operator's schema;
// each is a *Tensor, []*Tensor, int64, float64, bool, []int64, []float64,
// []bool, string, or nil for None and for what has no such form.
type Op struct {
	Name            string // without overload: "aten::add"
	Overload        string // "Tensor", often ""
	Inputs, Outputs []any
}

// Tensor is input i, nil where that is no tensor.
func (o *Op) Tensor(i int) *Tensor { return tensorAt(o.Inputs, i) }

// Has reports whether input i is a tensor: whether an optional one was given.
func (o *Op) Has(i int) bool { return o.Tensor(i) != nil }

// Shape is the shape of input i, nil where that is no tensor.
func (o *Op) Shape(i int) []int64 {
	if t := o.Tensor(i); t != nil {
		return t.Shape
	}
	return nil
}

// Numel is the number of elements of input i, 0 where that is no tensor.
func (o *Op) Numel(i int) int64 {
	if t := o.Tensor(i); t != nil {
		return t.Numel()
	}
	return 0
}

// Tensors is input i where that is a list of tensors.
func (o *Op) Tensors(i int) []*Tensor {
	if i < len(o.Inputs) {
		list, _ := o.Inputs[i].([]*Tensor)
		return list
	}
	return nil
}

// Out is the shape of output i.
func (o *Op) Out(i int) []int64 {
	if t := tensorAt(o.Outputs, i); t != nil {
		return t.Shape
	}
	return nil
}

// OutNumel is the number of elements of output i, 0 where that is no tensor.
func (o *Op) OutNumel(i int) int64 {
	if t := tensorAt(o.Outputs, i); t != nil {
		return t.Numel()
	}
	return 0
}

// Int is input i as an integer, or otherwise where it is none.
func (o *Op) Int(i int, otherwise int64) int64 {
	if i < len(o.Inputs) {
		if v, ok := o.Inputs[i].(int64); ok {
			return v
		}
	}
	return otherwise
}

// Ints is input i where that is a list of integers; a single integer is a list of one.
func (o *Op) Ints(i int) []int64 {
	if i < len(o.Inputs) {
		switch v := o.Inputs[i].(type) {
		case []int64:
			return v
		case int64:
			return []int64{v}
		}
	}
	return nil
}

// Float is input i as a number, or otherwise where it is none.
func (o *Op) Float(i int, otherwise float64) float64 {
	if i < len(o.Inputs) {
		switch v := o.Inputs[i].(type) {
		case float64:
			return v
		case int64:
			return float64(v)
		}
	}
	return otherwise
}

// Bool is input i where that is true or false, false otherwise.
func (o *Op) Bool(i int) bool {
	if i < len(o.Inputs) {
		v, _ := o.Inputs[i].(bool)
		return v
	}
	return false
}

// Bools is input i where that is a list of booleans.
func (o *Op) Bools(i int) []bool {
	if i < len(o.Inputs) {
		v, _ := o.Inputs[i].([]bool)
		return v
	}
	return nil
}

// Text is input i where that is a string.
func (o *Op) Text(i int) string {
	if i < len(o.Inputs) {
		v, _ := o.Inputs[i].(string)
		return v
	}
	return ""
}

// bytes is what the operator reads and writes, each tensor once.
func (o *Op) bytes() int64 {
	var n int64
	for _, list := range [][]any{o.Inputs, o.Outputs} {
		for _, v := range list {
			switch t := v.(type) {
			case *Tensor:
				n += t.Bytes()
			case []*Tensor:
				for _, t := range t {
					if t != nil {
						n += t.Bytes()
					}
				}
			}
		}
	}
	return n
}

// floating reports whether any tensor of the call holds floating point numbers.
func (o *Op) floating() bool {
	for _, v := range o.Inputs {
		switch t := v.(type) {
		case *Tensor:
			if t.Floating() {
				return true
			}
		case []*Tensor:
			for _, t := range t {
				if t != nil && t.Floating() {
					return true
				}
			}
		}
	}
	return false
}

func tensorAt(list []any, i int) *Tensor {
	if i >= 0 && i < len(list) {
		t, _ := list[i].(*Tensor)
		return t
	}
	return nil
}

// splitName separates "aten::add.Tensor" into "aten::add" and "Tensor".
func splitName(full string) (name, overload string) {
	name, overload, _ = strings.Cut(full, ".")
	return name, overload
}

func product(list []int64) int64 {
	n := int64(1)
	for _, v := range list {
		n *= v
	}
	return n
}
