package torch

import (
	"reflect"
	"sync"
	"unsafe"

	lib "github.com/sugarme/gotch/libtch"
	"github.com/sugarme/gotch/ts"
)

// A gotch tensor is a pointer to one of libtorch's, with 100 kB of Go memory beside it so that the garbage collector
// feels its weight, a name in a table and a finalizer: tens of microseconds for each result of an operator, which is
// what a step of a small model is made of. Scopes know when a tensor ends, so its handle serves the next result, with
// all that gotch has given it.

// kept are handles without a tensor.
var kept struct {
	sync.Mutex
	handles []*ts.Tensor
}

// mostKept bounds the memory that handles hold on to, 100 kB each.
const mostKept = 512

// pointerField is where a gotch tensor has its pointer, none where gotch is not built as expected.
var pointerField = func() uintptr {
	field, ok := reflect.TypeFor[ts.Tensor]().FieldByName("ctensor")
	if !ok || field.Type != reflect.TypeFor[lib.Ctensor]() {
		return none
	}
	return field.Offset
}()

const none = ^uintptr(0)

func pointTo(t *ts.Tensor, c lib.Ctensor) {
	*(*lib.Ctensor)(unsafe.Add(unsafe.Pointer(t), pointerField)) = c
}

// newHandle gives a tensor of libtorch its Go owner.
func newHandle(c lib.Ctensor) *ts.Tensor {
	kept.Lock()
	last := len(kept.handles) - 1
	if last < 0 {
		kept.Unlock()
		return ts.New(c)
	}
	t := kept.handles[last]
	kept.handles = kept.handles[:last]
	kept.Unlock()
	pointTo(t, c)
	return t
}

// drop frees tensors that nobody else refers to; their handles may come back as other tensors'. A tensor may be in the
// list twice: handles are given away after the last one was freed. The list is used up.
func drop(tensors ...*ts.Tensor) {
	free := tensors[:0]
	for _, t := range tensors {
		c := t.Ctensor()
		switch {
		case c == nil: // dropped already
		case pointerField == none:
			t.MustDrop()
		default:
			pointTo(t, nil)
			lib.AtFree(lib.Ctensor(c))
			free = append(free, t)
		}
	}
	kept.Lock()
	room := min(mostKept-len(kept.handles), len(free))
	kept.handles = append(kept.handles, free[:room]...)
	kept.Unlock()
	for _, t := range free[room:] {
		forget(t)
	}
}

// forget gives a handle to the garbage collector, with a tensor for gotch to free: without one it would keep the name.
func forget(t *ts.Tensor) {
	pointTo(t, lib.AtNewTensor())
	t.MustDrop()
}

// TensorsAlive is the number of tensors that Go code owns.
func TensorsAlive() int {
	kept.Lock()
	defer kept.Unlock()
	return len(ts.ExistingTensors) - len(kept.handles)
}
