package torch

// #include "../../csrc/natten.h"
// #include <stdlib.h>
import "C"

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"unsafe"

	"github.com/sugarme/gotch/ts"
)

// Script is a TorchScript file in memory.
type Script struct {
	handle C.natten_script
}

// LoadScript reads a file that torch.jit.save wrote, for inference on the CPU.
// The caller closes it.
func LoadScript(file string) (*Script, error) {
	name := C.CString(file)
	defer C.free(unsafe.Pointer(name))
	s := new(Script)
	return s, failure(C.natten_script_load(name, &s.handle))
}

// Close releases it.
func (s *Script) Close() {
	C.natten_script_free(s.handle)
	s.handle = nil
}

// Name makes the file's parameters and buffers known to a recording by their
// names.
func (s *Script) Name(r *Recording) ([]Named, error) {
	var words *C.int64_t
	if err := failure(C.natten_script_name(s.handle, r.handle, &words)); err != nil {
		return nil, err
	}
	defer C.natten_free(unsafe.Pointer(words))
	in := &reader{words: unsafe.Slice((*int64)(unsafe.Pointer(words)), math.MaxInt32)}
	in.readStrings()
	list := make([]Named, len(in.strings))
	for i, name := range in.strings {
		list[i] = Named{Name: name, Elements: in.next(), Buffer: in.next() != 0}
	}
	return list, nil
}

// Run calls the script's forward and drops its result: it is for recordings.
func (s *Script) Run(inputs ...*ts.Tensor) error {
	handles := make([]C.natten_tensor, len(inputs)+1)
	for i, t := range inputs {
		handles[i] = handle(t)
	}
	err := failure(C.natten_script_run(s.handle, &handles[0], C.int64_t(len(inputs))))
	runtime.KeepAlive(inputs)
	return scriptError(err)
}

// scriptError is what the interpreter says last, after pages of the script's code.
func scriptError(err error) error {
	const cause = "RuntimeError: "
	if err == nil {
		return nil
	}
	if at := strings.LastIndex(err.Error(), cause); at >= 0 {
		return errors.New(strings.TrimSpace(err.Error()[at+len(cause):]))
	}
	return err
}
