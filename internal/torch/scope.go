package torch

import (
	"fmt"

	"github.com/sugarme/gotch/ts"
)

// Scope owns the tensors made during one computation and keeps its first
// error. After an error every further operation returns nil at once, so a
// computation is written without checks and ends in one:
//
//	s := torch.NewScope()
//	defer s.Close()
//	h := s.Linear(x, w, b)
//	return s.Return(s.GELU(h))
//
// A Scope belongs to one goroutine.
type Scope struct {
	owned []*ts.Tensor
	err   error
}

// NewScope starts an empty scope; defer its Close.
func NewScope() *Scope { return &Scope{} }

// Close drops every tensor that the scope still owns.
func (s *Scope) Close() {
	drop(s.owned...)
	s.owned = nil
}

// Err is the first error of the scope.
func (s *Scope) Err() error { return s.err }

// Fail records an error unless there is one already. nil is ignored.
func (s *Scope) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Own takes a result into the scope: s.Own(layer.Apply(x, train)).
func (s *Scope) Own(t *ts.Tensor, err error) *ts.Tensor {
	if t != nil {
		s.owned = append(s.owned, t)
	}
	if err != nil {
		s.Fail(err)
		return nil
	}
	return t
}

// Return takes t out of the scope and hands it to the caller; with an error in
// the scope it returns that instead. A tensor that the scope does not own (an
// input passed straight through) comes back as a new handle on the same data.
func (s *Scope) Return(t *ts.Tensor) (*ts.Tensor, error) {
	if s.err != nil {
		return nil, s.err
	}
	for i, o := range s.owned {
		if o == t {
			s.owned = append(s.owned[:i], s.owned[i+1:]...)
			return t, nil
		}
	}
	return Alias(t)
}

// Free drops tensors before the scope ends, to give large ones back early.
func (s *Scope) Free(tensors ...*ts.Tensor) {
	for _, t := range tensors {
		for i, o := range s.owned {
			if o == t {
				s.owned = append(s.owned[:i], s.owned[i+1:]...)
				drop(t)
				break
			}
		}
	}
}

// Call runs an operator and returns its results; the scope owns the tensors.
func (s *Scope) Call(op *Op, arguments ...any) []any {
	if s.err != nil {
		return nil
	}
	results, err := op.Call(arguments...)
	if err != nil {
		s.Fail(err)
		return nil
	}
	for _, r := range results {
		switch v := r.(type) {
		case *ts.Tensor:
			if v != nil {
				s.owned = append(s.owned, v)
			}
		case []*ts.Tensor:
			s.owned = append(s.owned, v...)
		}
	}
	return results
}

// Op runs an operator whose first result is a tensor and returns that.
func (s *Scope) Op(op *Op, arguments ...any) *ts.Tensor {
	results := s.Call(op, arguments...)
	if s.err != nil {
		return nil
	}
	if len(results) > 0 {
		if t, ok := results[0].(*ts.Tensor); ok {
			return t
		}
	}
	s.Fail(fmt.Errorf("torch: %s does not return a tensor", op))
	return nil
}

// List runs an operator whose result is a list of tensors.
func (s *Scope) List(op *Op, arguments ...any) []*ts.Tensor {
	results := s.Call(op, arguments...)
	if s.err != nil {
		return nil
	}
	if len(results) > 0 {
		if list, ok := results[0].([]*ts.Tensor); ok {
			return list
		}
	}
	s.Fail(fmt.Errorf("torch: %s does not return a list of tensors", op))
	return nil
}
