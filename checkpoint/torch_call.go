package checkpoint

import (
	"errors"
	"fmt"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

// parameterCalls are functions that take the tensor as their first argument and only wrap it.
var parameterCalls = map[pickle.Global]bool{
	{Module: "torch._utils", Name: "_rebuild_parameter"}:            true,
	{Module: "torch._utils", Name: "_rebuild_parameter_with_state"}: true,
	{Module: "torch.nn.parameter", Name: "Parameter"}:               true,
	{Module: "torch.nn.parameter", Name: "Buffer"}:                  true,
}

// call is the allow-list: the functions that torch files need and that make plain values. Everything else stays an
// inert object, with ok false.
func (r *torchReader) call(class pickle.Global, args pickle.Tuple) (value any, ok bool, err error) {
	if parameterCalls[class] {
		if len(args) == 0 {
			return nil, false, nil
		}
		t, ok := args[0].(*torchTensor)
		return t, ok, nil
	}
	switch class {
	case pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor"},
		pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v2"}:
		return r.rebuild(args, nil)
	case pickle.Global{Module: "torch._utils", Name: "_rebuild_tensor_v3"}:
		// (storage, offset, size, stride, requires_grad, backward_hooks, dtype, metadata)
		if len(args) < 7 {
			return nil, false, fmt.Errorf("%d arguments, want at least 7", len(args))
		}
		name, ok := args[6].(pickle.Global)
		if !ok || name.Module != "torch" {
			return nil, false, errors.New("the element type is not a torch type")
		}
		return r.rebuild(args, &name.Name)
	case pickle.Global{Module: "torch._tensor", Name: "_rebuild_from_type_v2"}:
		// (function, type, arguments, state): a subclass or a tensor with attributes.
		if len(args) == 4 {
			function, functionOK := args[0].(pickle.Global)
			inner, innerOK := args[2].(pickle.Tuple)
			if functionOK && innerOK && function != class {
				return r.call(function, inner)
			}
		}
	case pickle.Global{Module: "torch", Name: "Size"}:
		if len(args) == 1 {
			t, ok := args[0].(pickle.Tuple)
			return t, ok, nil
		}
	case pickle.Global{Module: "torch", Name: "device"}:
		if len(args) >= 1 {
			name, ok := args[0].(string)
			return name, ok, nil
		}
	case pickle.Global{Module: "numpy", Name: "dtype"}:
		if len(args) >= 1 {
			name, ok := args[0].(string)
			return &numpyDType{name: name, little: true}, ok, nil
		}
	case pickle.Global{Module: "numpy.core.multiarray", Name: "scalar"},
		pickle.Global{Module: "numpy._core.multiarray", Name: "scalar"}:
		if len(args) == 2 {
			return numpyScalar(args)
		}
	}
	return nil, false, nil
}

// rebuild handles (storage, offset, size, stride, ...). torchName overrides the storage's type.
func (r *torchReader) rebuild(args pickle.Tuple, torchName *string) (any, bool, error) {
	if len(args) < 4 {
		return nil, false, fmt.Errorf("%d arguments, want at least 4", len(args))
	}
	s, isStorage := args[0].(*storage)
	offset, isInt := args[1].(int64)
	size, isSize := args[2].(pickle.Tuple)
	stride, isStride := args[3].(pickle.Tuple)
	if !isStorage || !isInt || offset < 0 || !isSize || !isStride {
		return nil, false, errors.New("arguments of another form than (storage, offset, size, stride)")
	}
	shape, err := nonNegative(size)
	if err != nil {
		return nil, false, fmt.Errorf("size: %w", err)
	}
	strides, err := nonNegative(stride)
	if err != nil {
		return nil, false, fmt.Errorf("stride: %w", err)
	}
	dtype := s.dtype
	if torchName != nil {
		if dtype, err = torchDType(*torchName); err != nil {
			return nil, false, err
		}
	}
	t, err := r.tensor(s, dtype, offset, shape, strides)
	return t, err == nil, err
}

func torchDType(name string) (DType, error) {
	for d := DType(1); d < numDType; d++ {
		if dtypeTable[d].torch == name {
			return d, nil
		}
	}
	return 0, fmt.Errorf("element type torch.%s is not supported", name)
}
