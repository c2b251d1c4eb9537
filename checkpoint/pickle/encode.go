package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Encoder writes a protocol 2 pickle opcode by opcode, which is all that writing torch files takes. Its zero value is
// ready to use; names of classes are written once and then recalled.
type Encoder struct {
	buf     []byte
	globals map[Global]uint32
}

// Bytes ends the pickle and returns it.
func (e *Encoder) Bytes() []byte { return append(e.buf, opStop) }

// Start writes the protocol header.
func (e *Encoder) Start() { e.buf = append(e.buf, opProto, 2) }

// Global writes the name of a class or function. Names must not contain newlines, which end them in the format.
func (e *Encoder) Global(g Global) {
	if i, ok := e.globals[g]; ok {
		e.buf = binary.LittleEndian.AppendUint32(append(e.buf, opLongBinGet), i)
		return
	}
	if e.globals == nil {
		e.globals = make(map[Global]uint32)
	}
	i := uint32(len(e.globals))
	e.globals[g] = i
	e.buf = append(e.buf, opGlobal)
	e.buf = append(e.buf, g.Module...)
	e.buf = append(e.buf, '\n')
	e.buf = append(e.buf, g.Name...)
	e.buf = append(e.buf, '\n', opLongBinPut)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, i)
}

// String writes text.
func (e *Encoder) String(s string) error {
	if uint64(len(s)) > math.MaxUint32 {
		return fmt.Errorf("pickle: text of %d bytes does not fit protocol 2", len(s))
	}
	e.buf = append(e.buf, opBinUnicode)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(s)))
	e.buf = append(e.buf, s...)
	return nil
}

// Int writes an integer.
func (e *Encoder) Int(n int64) {
	switch {
	case n >= 0 && n <= math.MaxUint8:
		e.buf = append(e.buf, opBinInt1, byte(n))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		e.buf = binary.LittleEndian.AppendUint32(append(e.buf, opBinInt), uint32(int32(n)))
	default:
		e.buf = binary.LittleEndian.AppendUint64(append(e.buf, opLong1, 8), uint64(n))
	}
}

// Bool writes a truth value.
func (e *Encoder) Bool(b bool) {
	if b {
		e.buf = append(e.buf, opNewTrue)
	} else {
		e.buf = append(e.buf, opNewFalse)
	}
}

// Mark begins a tuple or a run of entries.
func (e *Encoder) Mark() { e.buf = append(e.buf, opMark) }

// Tuple makes a tuple of everything since the last Mark.
func (e *Encoder) Tuple() { e.buf = append(e.buf, opTuple) }

// EmptyTuple writes ().
func (e *Encoder) EmptyTuple() { e.buf = append(e.buf, opEmptyTuple) }

// Ints writes a tuple of integers.
func (e *Encoder) Ints(ns []int64) {
	e.Mark()
	for _, n := range ns {
		e.Int(n)
	}
	e.Tuple()
}

// Reduce calls the function below the tuple on top of the stack with it.
func (e *Encoder) Reduce() { e.buf = append(e.buf, opReduce) }

// Persistent makes a reference out of the value on top of the stack.
func (e *Encoder) Persistent() { e.buf = append(e.buf, opBinPersID) }

// SetItems sets the keys and values since the last Mark in the dict below them.
func (e *Encoder) SetItems() { e.buf = append(e.buf, opSetItems) }
