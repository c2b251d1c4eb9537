package torch

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

// Tags of the argument words; csrc/natten.h lists them.
const (
	tagNone = iota
	tagTensor
	tagInt
	tagDouble
	tagBool
	tagInts
	tagDoubles
	tagBools
	tagTensors
	tagString
	tagDevice
	tagDefault
	tagGradients
)

type defaultArgument struct{}

// Default stands for an argument that keeps its schema's default.
var Default defaultArgument

// Op is an operator of libtorch's dispatcher, looked up at its first call.
// Make one per operator with [NewOp] and keep it in a package variable.
type Op struct {
	name, overload string

	once   sync.Once
	handle operatorHandle
	err    error
}

// NewOp names an operator: "natten::na", or with its overload "aten::add.Tensor".
// Whether it exists shows at the first call.
func NewOp(name string) *Op {
	base, overload, _ := strings.Cut(name, ".")
	return &Op{name: base, overload: overload}
}

// String is the name as given to NewOp.
func (op *Op) String() string {
	if op.overload == "" {
		return op.name
	}
	return op.name + "." + op.overload
}

// Call runs the operator and returns its results in order: *ts.Tensor
// (nil where undefined), []*ts.Tensor, int64, float64, bool or nil.
// The caller owns the tensors.
//
// Arguments are *ts.Tensor, []*ts.Tensor, int, int64, float64, bool, string,
// []int64, []float64, []bool, gotch.DType, [Device], gotch.Device, nil (None)
// and [Default], in the order of the schema; trailing ones may be left out
// where the schema has defaults. Any other type is an error.
func (op *Op) Call(arguments ...any) ([]any, error) {
	op.once.Do(func() { op.handle, op.err = findOperator(op.name, op.overload) })
	if op.err != nil {
		return nil, op.err
	}
	var space [96]int64
	words := space[:0]
	for i, argument := range arguments {
		var err error
		if words, err = encode(words, argument); err != nil {
			return nil, fmt.Errorf("torch: %s: argument %d: %w", op, i, err)
		}
	}
	var results [64]int64
	n, err := callOperator(op.handle, words, results[:])
	runtime.KeepAlive(arguments)
	if err != nil {
		return nil, err
	}
	return decode(results[:n]), nil
}

func encode(words []int64, argument any) ([]int64, error) {
	switch v := argument.(type) {
	case nil:
		return append(words, tagNone), nil
	case *ts.Tensor:
		if v == nil {
			return append(words, tagNone), nil
		}
		if v.Ctensor() == nil {
			return nil, fmt.Errorf("tensor was already dropped")
		}
		return append(words, tagTensor, word(v)), nil
	case int:
		return append(words, tagInt, int64(v)), nil
	case int64:
		return append(words, tagInt, v), nil
	case float64:
		return append(words, tagDouble, int64(math.Float64bits(v))), nil
	case bool:
		return append(words, tagBool, bit(v)), nil
	case gotch.DType:
		return append(words, tagInt, int64(v)), nil
	case Device:
		return append(words, tagDevice, v.kind, v.index), nil
	case gotch.Device:
		d := DeviceOf(v)
		return append(words, tagDevice, d.kind, d.index), nil
	case []int64:
		words = append(words, tagInts, int64(len(v)))
		return append(words, v...), nil
	case []float64:
		words = append(words, tagDoubles, int64(len(v)))
		for _, x := range v {
			words = append(words, int64(math.Float64bits(x)))
		}
		return words, nil
	case []bool:
		words = append(words, tagBools, int64(len(v)))
		for _, x := range v {
			words = append(words, bit(x))
		}
		return words, nil
	case []*ts.Tensor:
		words = append(words, tagTensors, int64(len(v)))
		for _, t := range v {
			words = append(words, word(t))
		}
		return words, nil
	case Gradients:
		words = append(words, tagGradients, int64(len(v)))
		for _, t := range v {
			words = append(words, word(t))
		}
		return words, nil
	case string:
		words = append(words, tagString, int64(len(v)))
		padded := make([]byte, (len(v)+7)/8*8)
		copy(padded, v)
		for i := 0; i < len(padded); i += 8 {
			words = append(words, int64(binary.NativeEndian.Uint64(padded[i:])))
		}
		return words, nil
	case defaultArgument:
		return append(words, tagDefault), nil
	}
	return nil, fmt.Errorf("no conversion from %T", argument)
}

func decode(words []int64) []any {
	var values []any
	next := func() *int64 {
		w := &words[0]
		words = words[1:]
		return w
	}
	for len(words) > 0 {
		switch *next() {
		case tagTensor:
			values = append(values, wrap(pointer(next())))
		case tagTensors:
			list := make([]*ts.Tensor, *next())
			for i := range list {
				list[i] = wrap(pointer(next()))
			}
			values = append(values, list)
		case tagInt:
			values = append(values, *next())
		case tagDouble:
			values = append(values, math.Float64frombits(uint64(*next())))
		case tagBool:
			values = append(values, *next() != 0)
		default:
			values = append(values, nil)
		}
	}
	return values
}

func bit(v bool) int64 {
	if v {
		return 1
	}
	return 0
}
