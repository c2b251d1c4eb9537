package checkpoint

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

// StateDict maps names to tensors and keeps the order in which they were set, as PyTorch's state_dict does. The zero
// value is empty and ready to use. It is not safe for concurrent writing.
type StateDict struct {
	names   []string
	tensors map[string]*Tensor
}

// NewStateDict returns an empty state dict.
func NewStateDict() *StateDict { return &StateDict{} }

// Len returns the number of tensors.
func (s *StateDict) Len() int { return len(s.names) }

// Names returns the names in order.
func (s *StateDict) Names() []string { return slices.Clone(s.names) }

// Get returns the tensor called name.
func (s *StateDict) Get(name string) (*Tensor, bool) {
	t, ok := s.tensors[name]
	return t, ok
}

// Has reports whether there is a tensor called name.
func (s *StateDict) Has(name string) bool {
	_, ok := s.tensors[name]
	return ok
}

// Set stores t under name: in place when the name is there already, else at the end.
func (s *StateDict) Set(name string, t *Tensor) {
	if s.tensors == nil {
		s.tensors = make(map[string]*Tensor)
	}
	if _, ok := s.tensors[name]; !ok {
		s.names = append(s.names, name)
	}
	s.tensors[name] = t
}

// Delete removes name and reports whether it was there.
func (s *StateDict) Delete(name string) bool {
	if _, ok := s.tensors[name]; !ok {
		return false
	}
	delete(s.tensors, name)
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return n == name })
	return true
}

// All iterates over names and tensors in order.
func (s *StateDict) All() iter.Seq2[string, *Tensor] {
	return func(yield func(string, *Tensor) bool) {
		for _, n := range s.names {
			if !yield(n, s.tensors[n]) {
				return
			}
		}
	}
}

// Clone returns a state dict with the same tensors (shared, as they are read-only).
func (s *StateDict) Clone() *StateDict {
	return &StateDict{names: slices.Clone(s.names), tensors: maps.Clone(s.tensors)}
}

// WithPrefix returns the tensors whose names start with prefix, under the rest of their names.
func (s *StateDict) WithPrefix(prefix string) *StateDict {
	out := NewStateDict()
	for n, t := range s.All() {
		if rest, ok := strings.CutPrefix(n, prefix); ok {
			out.Set(rest, t)
		}
	}
	return out
}

// NumBytes returns the bytes of all tensors together.
func (s *StateDict) NumBytes() int64 {
	var n int64
	for _, t := range s.All() {
		n += t.NumBytes()
	}
	return n
}

// Equal reports whether both hold the same names with equal tensors, whatever their order.
func (s *StateDict) Equal(o *StateDict) bool {
	return maps.EqualFunc(s.tensors, o.tensors, (*Tensor).Equal)
}
