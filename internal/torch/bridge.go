package torch

// #cgo LDFLAGS: -L${SRCDIR}/../../build/lib -Wl,-rpath,${SRCDIR}/../../build/lib -Wl,--no-as-needed -lnatten -Wl,--as-needed
// #cgo noescape natten_call
// #cgo nocallback natten_call
// #cgo noescape natten_tensor_info
// #cgo nocallback natten_tensor_info
// #include "../../csrc/natten.h"
// #include <stdlib.h>
import "C"

import (
	"errors"
	"runtime"
	"unsafe"

	_ "github.com/gonatten/gonatten/internal/gotchcache" // before gotch's init
	lib "github.com/sugarme/gotch/libtch"
	"github.com/sugarme/gotch/ts"
)

// failure turns a C error string into a Go error and releases it.
func failure(message *C.char) error {
	if message == nil {
		return nil
	}
	defer C.natten_free(unsafe.Pointer(message))
	return errors.New(C.GoString(message))
}

// handle is the C pointer of a tensor, nil for a nil or dropped one.
func handle(t *ts.Tensor) C.natten_tensor {
	if t == nil {
		return nil
	}
	return C.natten_tensor(t.Ctensor())
}

// wrap gives a tensor received from C its Go owner.
func wrap(p unsafe.Pointer) *ts.Tensor {
	if p == nil {
		return nil
	}
	return newHandle(lib.Ctensor(p))
}

// pointer reads a pointer to C memory out of a result word.
func pointer(word *int64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(word)) }

// word is the address of a C tensor as an argument word.
func word(t *ts.Tensor) int64 {
	if t == nil {
		return 0
	}
	return int64(uintptr(t.Ctensor()))
}

// findOperator asks the dispatcher for an operator.
func findOperator(name, overload string) (C.natten_operator, error) {
	cname, coverload := C.CString(name), C.CString(overload)
	defer C.free(unsafe.Pointer(cname))
	defer C.free(unsafe.Pointer(coverload))
	var op C.natten_operator
	return op, failure(C.natten_operator_find(cname, coverload, &op))
}

// callOperator runs one operator over encoded words.
func callOperator(op C.natten_operator, arguments []int64, results []int64) (int, error) {
	var first *C.int64_t
	if len(arguments) > 0 {
		first = (*C.int64_t)(unsafe.Pointer(&arguments[0]))
	}
	var written C.int64_t
	message := C.natten_call(op, first, C.int64_t(len(arguments)),
		(*C.int64_t)(unsafe.Pointer(&results[0])), C.int64_t(len(results)), &written)
	runtime.KeepAlive(arguments)
	return int(written), failure(message)
}
