package state

import (
	"encoding/json"
	"fmt"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
)

// Part is a piece of a run with state of its own.
type Part interface {
	// SaveState copies the state into a section.
	SaveState(s *Section) error
	// LoadState puts back what SaveState wrote. It fails on a section that does
	// not belong to it, naming the difference.
	LoadState(s *Section) error
}

// Section is one part's share of a snapshot.
type Section struct {
	name   string
	of     *Snapshot
	prefix string
}

// dtypes of libtorch and of files.
var dtypes = map[gotch.DType]checkpoint.DType{
	gotch.Double: checkpoint.F64, gotch.Float: checkpoint.F32, gotch.Half: checkpoint.F16, gotch.BFloat16: checkpoint.BF16,
	gotch.Int64: checkpoint.I64, gotch.Int: checkpoint.I32, gotch.Int16: checkpoint.I16, gotch.Int8: checkpoint.I8,
	gotch.Uint8: checkpoint.U8, gotch.Bool: checkpoint.Bool,
}

// PutTensor copies a tensor into the section.
func (s *Section) PutTensor(name string, t *ts.Tensor) error {
	if s.of.Tensors == nil {
		return nil
	}
	info, err := torch.InfoOf(t)
	if err != nil {
		return s.wrap(name, err)
	}
	dtype, ok := dtypes[info.DType]
	if !ok {
		return s.wrap(name, fmt.Errorf("dtype %v cannot be saved", info.DType))
	}
	data, err := torch.Bytes(t)
	if err != nil {
		return s.wrap(name, err)
	}
	copied, err := checkpoint.NewTensor(dtype, info.Shape, data)
	if err != nil {
		return s.wrap(name, err)
	}
	s.of.Tensors.Set(s.prefix+name, copied)
	return nil
}

// GetTensor overwrites a tensor by the section's of that name, which must have
// its dtype and shape.
func (s *Section) GetTensor(name string, into *ts.Tensor) error {
	from, ok := s.of.Tensors.Get(s.prefix + name)
	if !ok {
		return s.wrap(name, fmt.Errorf("the checkpoint has no such tensor"))
	}
	info, err := torch.InfoOf(into)
	if err != nil {
		return s.wrap(name, err)
	}
	if dtypes[info.DType] != from.DType() || fmt.Sprint(info.Shape) != fmt.Sprint(from.Shape()) {
		return s.wrap(name, fmt.Errorf("the checkpoint has %s %v, the run %s %v",
			from.DType(), from.Shape(), dtypes[info.DType], info.Shape))
	}
	return s.wrap(name, torch.Write(into, from.Bytes()))
}

// PutBytes and Bytes keep plain bytes.
func (s *Section) PutBytes(name string, data []byte) error {
	if s.of.Tensors == nil {
		return nil
	}
	t, err := checkpoint.NewTensor(checkpoint.U8, []int64{int64(len(data))}, data)
	if err == nil {
		s.of.Tensors.Set(s.prefix+name, t)
	}
	return s.wrap(name, err)
}

// Has tells whether the section has a tensor, or bytes, of that name.
func (s *Section) Has(name string) bool {
	_, ok := s.of.Tensors.Get(s.prefix + name)
	return ok
}

// Bytes are a copy of what PutBytes kept under the name; it fails where there is
// nothing.
func (s *Section) Bytes(name string) ([]byte, error) {
	t, ok := s.of.Tensors.Get(s.prefix + name)
	if !ok || t.DType() != checkpoint.U8 {
		return nil, s.wrap(name, fmt.Errorf("the checkpoint has no such bytes"))
	}
	return append([]byte(nil), t.Bytes()...), nil
}

// PutValue keeps one JSON value, the section's only one.
func (s *Section) PutValue(v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		s.of.values[s.name] = text
	}
	return s.wrap("value", err)
}

// Value reads it back.
func (s *Section) Value(into any) error {
	text, ok := s.of.values[s.name]
	if !ok {
		return s.wrap("value", fmt.Errorf("the checkpoint has none"))
	}
	return s.wrap("value", json.Unmarshal(text, into))
}

func (s *Section) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("state: %s: %s: %w", s.name, what, err)
}
