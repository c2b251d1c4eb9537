package torch

// #include "../../csrc/natten.h"
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// ExportScript runs f on an input, traces it, and saves the trace as a
// TorchScript module whose parameters are the tensors given, under their dotted
// names. text is stored beside it as the extra file of that name. Whoever loads
// the file needs libnatten loaded. The file is written whole or not at all.
//
// f runs once, in evaluation and without gradients. What it decides by the
// input's shape is fixed in the trace; what operators compute from it is not.
func ExportScript(path string, names []string, tensors []*ts.Tensor, input *ts.Tensor, name, text string,
	f func(*ts.Tensor) (*ts.Tensor, error)) error {
	for _, n := range names {
		if strings.ContainsAny(n, "\n\x00") {
			return fmt.Errorf("torch: ExportScript: parameter name %q", n)
		}
	}
	return atomicfile.WritePath(path, func(temporary string) error {
		if err := NoGrad(func() error { return export(temporary, names, tensors, input, name, text, f) }); err != nil {
			return fmt.Errorf("torch: ExportScript: %w", err)
		}
		return nil
	})
}

func export(path string, names []string, tensors []*ts.Tensor, input *ts.Tensor, name, text string,
	f func(*ts.Tensor) (*ts.Tensor, error)) error {
	handles := make([]C.natten_tensor, len(tensors)+1)
	for i, t := range tensors {
		handles[i] = handle(t)
	}
	strings := [...]*C.char{C.CString(strings.Join(names, "\n")), C.CString(path), C.CString(name), C.CString(text)}
	defer func() {
		for _, s := range strings {
			C.free(unsafe.Pointer(s))
		}
	}()
	var trace C.natten_export
	err := failure(C.natten_export_begin(strings[0], &handles[0], C.int64_t(len(tensors)), handle(input), &trace))
	if err != nil {
		return err
	}
	output, err := f(input)
	if err != nil {
		output = nil
	}
	failed := failure(C.natten_export_end(trace, handle(output), strings[1], strings[2], strings[3]))
	runtime.KeepAlive(tensors)
	if output != nil {
		output.MustDrop()
	}
	if err != nil {
		return err
	}
	return failed
}
