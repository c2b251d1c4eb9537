package functional

import (
	"fmt"
	"strings"
)

// Error is what a Must function panics with.
type Error struct {
	Func string // "NA2D"
	Err  error
}

// Error is "functional: NA2D: kernel_size[0] is 9 ...".
func (e *Error) Error() string { return fmt.Sprintf("functional: %s: %v", e.Func, e.Err) }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// wrap names the function. Messages of the C++ checks start with the
// operator's name, which the Go name replaces. Where libtorch has no kernel
// for a kind of tensor (sparse, quantised), its first sentence says it; pages
// of backends follow.
func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	if text := err.Error(); strings.HasPrefix(text, "Could not run 'natten::") {
		sentence, _, _ := strings.Cut(text, ". ")
		err = fmt.Errorf("%s", sentence)
	}
	if text, ok := strings.CutPrefix(err.Error(), "natten::"); ok {
		if _, rest, ok := strings.Cut(text, ": "); ok {
			err = fmt.Errorf("%s", rest)
		}
	}
	return &Error{Func: name, Err: err}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
