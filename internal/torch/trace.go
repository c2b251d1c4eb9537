package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"math"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

// recordings counts the recordings under way in the process.
var recordings atomic.Int64

func leaveNothing() {}
func leaveModule()  { C.natten_trace_leave() }

// Module tells a recording under way on this OS thread (a FLOP count) that the
// operators called until leave belong to the module of that name. A layer calls
// it first in its forward, with the full name of its path in the variable
// store:
//
//	defer torch.Module("levels.0.blocks.1.attn")()
//
// Modules nest; the innermost counts. An operator that consumes a parameter is
// attributed by the parameter's own name in any case, so only layers with
// operators but no parameters around them need this. Where nothing is being
// recorded it costs a nanosecond.
func Module(name string) (leave func()) {
	if recordings.Load() == 0 {
		return leaveNothing
	}
	C.natten_trace_enter((*C.char)(unsafe.Pointer(unsafe.StringData(name))), C.int64_t(len(name)))
	return leaveModule
}

// Flags of a [Node]; csrc/graph/recorder.h lists them.
const (
	FlagDecomposes = 1 << iota // on every device it is made of other operators
	FlagComposite              // its forward is made of the operators it calls, if it calls any
	FlagAutograd               // not an operator but a node of the backward graph, holding some
	FlagComputed               // ran on zeros, because it cannot run on shapes alone
)

// Node is one operator that ran.
type Node struct {
	Op       string // "aten::add.Tensor"
	Parent   int    // index of the operator it ran inside, -1 at the top
	Module   string // innermost name given to [Module], "" outside
	Sequence int64  // autograd's sequence number: shared by a forward operator and its backward node; -1: none
	Flags    int64
	Inputs   []any // in the schema's order: *Value, []*Value, int64, float64, bool, []int64, []float64, []bool, string, nil
	Outputs  []any
}

// Value is a tensor as an operator saw it.
type Value struct {
	ID          int64  // the same for the same tensor
	Name        string // of the parameter whose storage it shares, or ""
	DType       gotch.DType
	ElementSize int64
	Shape       []int64
}

// Numel is the number of elements.
func (v *Value) Numel() int64 {
	n := int64(1)
	for _, d := range v.Shape {
		n *= d
	}
	return n
}

// Recording notes what runs on one OS thread between [StartRecording] and End.
type Recording struct {
	handle C.natten_trace
}

// Named is a parameter or buffer of a model.
type Named struct {
	Name     string
	Elements int64
	Buffer   bool
}

// StartRecording starts one on the calling OS thread, to which the goroutine
// stays locked until End. With shapesOnly operators receive stand-ins without
// data for their tensors and nothing is computed: parameters are only looked
// at, so several threads may run one model at a time. Without it everything
// runs as usual. A thread has at most one recording.
func StartRecording(shapesOnly bool) (*Recording, error) {
	runtime.LockOSThread()
	r := new(Recording)
	if err := failure(C.natten_trace_begin(C.int(bit(shapesOnly)), &r.handle)); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	recordings.Add(1)
	return r, nil
}

// Name lets a tensor, and whatever shares its storage, be known by a name.
func (r *Recording) Name(t *ts.Tensor, name string) error {
	err := failure(C.natten_trace_name(r.handle, handle(t),
		(*C.char)(unsafe.Pointer(unsafe.StringData(name))), C.int64_t(len(name))))
	runtime.KeepAlive(t)
	return err
}

// Stop ends a recording without reading it. After End it does nothing.
func (r *Recording) Stop() {
	if r.handle != nil {
		_ = r.end(nil)
	}
}

// End ends the recording and returns the operators in the order in which they
// started, each before those it is made of.
func (r *Recording) End() ([]Node, error) {
	var words *C.int64_t
	if err := r.end(&words); err != nil {
		return nil, err
	}
	defer C.natten_free(unsafe.Pointer(words))
	return readNodes(unsafe.Slice((*int64)(unsafe.Pointer(words)), math.MaxInt32)), nil
}

func (r *Recording) end(words **C.int64_t) error {
	err := failure(C.natten_trace_end(r.handle, words))
	r.handle = nil
	recordings.Add(-1)
	runtime.UnlockOSThread()
	return err
}

// MakeOnMeta runs f in a state in which new floating-point tensors (zeros, full,
// randn and their like) have no data: models built inside take no memory and no
// time for initial values. For building only: f keeps its OS thread and must not
// fill new floating-point tensors from Go memory.
func MakeOnMeta(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	C.natten_set_make_on_meta(1)
	defer C.natten_set_make_on_meta(0)
	return f()
}

// reader walks the words of a recording.
type reader struct {
	words   []int64
	strings []string
}

func readNodes(words []int64) []Node {
	r := &reader{words: words}
	r.readStrings()
	nodes := make([]Node, r.next())
	for i := range nodes {
		nodes[i] = Node{Op: r.text(r.next()), Parent: int(r.next()), Module: r.text(r.next()), Sequence: r.next(),
			Flags: r.next(), Inputs: r.values(), Outputs: r.values()}
	}
	return nodes
}

func (r *reader) readStrings() {
	r.strings = make([]string, r.next())
	for i := range r.strings {
		n := r.next()
		r.strings[i] = string(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.words))), n))
		r.words = r.words[(n+7)/8:]
	}
}

func (r *reader) next() int64 {
	w := r.words[0]
	r.words = r.words[1:]
	return w
}

func (r *reader) text(i int64) string {
	if i < 0 {
		return ""
	}
	return r.strings[i]
}

func (r *reader) values() []any {
	values := make([]any, r.next())
	for i := range values {
		values[i] = r.value()
	}
	return values
}

func (r *reader) list() []int64 {
	n := r.next()
	list := append([]int64(nil), r.words[:n]...)
	r.words = r.words[n:]
	return list
}

func (r *reader) value() any {
	switch r.next() {
	case tagTensor:
		v := &Value{ID: r.next(), Name: r.text(r.next()), DType: gotch.DType(r.next()), ElementSize: r.next()}
		if dim := r.next(); dim >= 0 {
			v.Shape = append([]int64{}, r.words[:dim]...)
			r.words = r.words[dim:]
		}
		return v
	case tagTensors:
		list := make([]*Value, r.next())
		for i := range list {
			list[i], _ = r.value().(*Value)
		}
		return list
	case tagInt:
		return r.next()
	case tagDouble:
		return math.Float64frombits(uint64(r.next()))
	case tagBool:
		return r.next() != 0
	case tagInts:
		return r.list()
	case tagDoubles:
		words := r.list()
		list := make([]float64, len(words))
		for i, w := range words {
			list[i] = math.Float64frombits(uint64(w))
		}
		return list
	case tagBools:
		words := r.list()
		list := make([]bool, len(words))
		for i, w := range words {
			list[i] = w != 0
		}
		return list
	case tagString:
		return r.text(r.next())
	}
	return nil
}
