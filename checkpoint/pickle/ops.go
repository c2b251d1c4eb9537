package pickle

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The opcodes, with CPython's names.
const (
	opMark            = '('
	opStop            = '.'
	opPop             = '0'
	opPopMark         = '1'
	opDup             = '2'
	opFloat           = 'F'
	opInt             = 'I'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opLong            = 'L'
	opBinInt2         = 'M'
	opNone            = 'N'
	opPersID          = 'P'
	opBinPersID       = 'Q'
	opReduce          = 'R'
	opString          = 'S'
	opBinString       = 'T'
	opShortBinString  = 'U'
	opUnicode         = 'V'
	opBinUnicode      = 'X'
	opAppend          = 'a'
	opBuild           = 'b'
	opGlobal          = 'c'
	opDict            = 'd'
	opEmptyDict       = '}'
	opAppends         = 'e'
	opGet             = 'g'
	opBinGet          = 'h'
	opInst            = 'i'
	opLongBinGet      = 'j'
	opList            = 'l'
	opEmptyList       = ']'
	opObj             = 'o'
	opPut             = 'p'
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opSetItem         = 's'
	opTuple           = 't'
	opEmptyTuple      = ')'
	opSetItems        = 'u'
	opBinFloat        = 'G'
	opProto           = 0x80
	opNewObj          = 0x81
	opExt1            = 0x82
	opExt2            = 0x83
	opExt4            = 0x84
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opLong4           = 0x8b
	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes8       = 0x8e
	opEmptySet        = 0x8f
	opAddItems        = 0x90
	opFrozenSet       = 0x91
	opNewObjEx        = 0x92
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
	opByteArray8      = 0x96
	opNextBuffer      = 0x97
	opReadonlyBuffer  = 0x98
)

// step executes one opcode.
func (m *machine) step(op byte) error {
	switch op {
	case opProto:
		v, err := m.uint(1)
		if err == nil && v > maxProtocol {
			err = fmt.Errorf("protocol %d is newer than %d", v, maxProtocol)
		}
		return err
	case opFrame:
		n, err := m.uint(8)
		if err == nil && n > uint64(len(m.data)-m.pos) {
			err = fmt.Errorf("frame of %d bytes, %d left: %w", n, len(m.data)-m.pos, ErrTruncated)
		}
		return err
	case opStop:
		return m.stop()
	case opMark:
		if len(m.marks) >= m.cfg.Limits.Stack {
			return fmt.Errorf("more than %d open MARKs: %w", m.cfg.Limits.Stack, ErrLimit)
		}
		m.marks = append(m.marks, len(m.stack))
		return nil
	case opPop:
		// Python lets POP discard a MARK as well.
		if len(m.marks) > 0 && len(m.stack) == m.base() {
			m.marks = m.marks[:len(m.marks)-1]
			return nil
		}
		_, err := m.pop()
		return err
	case opPopMark:
		_, err := m.popMark()
		return err
	case opDup:
		v, err := m.top()
		if err != nil {
			return err
		}
		return m.push(v)
	case opGet, opPut:
		return m.textMemo(op)
	case opBinGet, opLongBinGet:
		i, err := m.uint(memoWidth(op))
		if err != nil {
			return err
		}
		return m.getMemo(i)
	case opBinPut, opLongBinPut:
		i, err := m.uint(memoWidth(op))
		if err != nil {
			return err
		}
		return m.setMemo(i)
	case opMemoize:
		return m.setMemo(uint64(len(m.memo)))
	}
	if handled, err := m.stepScalar(op); handled {
		return err
	}
	if handled, err := m.stepContainer(op); handled {
		return err
	}
	if handled, err := m.stepCall(op); handled {
		return err
	}
	return fmt.Errorf("unknown opcode %#02x", op)
}

func (m *machine) stop() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	if len(m.stack) > 0 || len(m.marks) > 0 {
		return errors.New("values are left on the stack")
	}
	m.result, m.stopped = v, true
	return nil
}

func memoWidth(op byte) uint64 {
	if op == opLongBinGet || op == opLongBinPut {
		return 4
	}
	return 1
}

// textMemo executes protocol 0's GET and PUT, whose index is decimal text.
func (m *machine) textMemo(op byte) error {
	text, err := m.line()
	if err != nil {
		return err
	}
	i, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return fmt.Errorf("memo index %s is not a number", short(text))
	}
	if op == opGet {
		return m.getMemo(i)
	}
	return m.setMemo(i)
}

// opNames serves error messages.
var opNames = map[byte]string{
	opMark: "MARK", opStop: "STOP", opPop: "POP", opPopMark: "POP_MARK", opDup: "DUP", opFloat: "FLOAT", opInt: "INT",
	opBinInt: "BININT", opBinInt1: "BININT1", opLong: "LONG", opBinInt2: "BININT2", opNone: "NONE", opPersID: "PERSID",
	opBinPersID: "BINPERSID", opReduce: "REDUCE", opString: "STRING", opBinString: "BINSTRING",
	opShortBinString: "SHORT_BINSTRING", opUnicode: "UNICODE", opBinUnicode: "BINUNICODE", opAppend: "APPEND",
	opBuild: "BUILD", opGlobal: "GLOBAL", opDict: "DICT", opEmptyDict: "EMPTY_DICT", opAppends: "APPENDS", opGet: "GET",
	opBinGet: "BINGET", opInst: "INST", opLongBinGet: "LONG_BINGET", opList: "LIST", opEmptyList: "EMPTY_LIST",
	opObj: "OBJ", opPut: "PUT", opBinPut: "BINPUT", opLongBinPut: "LONG_BINPUT", opSetItem: "SETITEM", opTuple: "TUPLE",
	opEmptyTuple: "EMPTY_TUPLE", opSetItems: "SETITEMS", opBinFloat: "BINFLOAT", opProto: "PROTO", opNewObj: "NEWOBJ",
	opExt1: "EXT1", opExt2: "EXT2", opExt4: "EXT4", opTuple1: "TUPLE1", opTuple2: "TUPLE2", opTuple3: "TUPLE3",
	opNewTrue: "NEWTRUE", opNewFalse: "NEWFALSE", opLong1: "LONG1", opLong4: "LONG4", opBinBytes: "BINBYTES",
	opShortBinBytes: "SHORT_BINBYTES", opShortBinUnicode: "SHORT_BINUNICODE", opBinUnicode8: "BINUNICODE8",
	opBinBytes8: "BINBYTES8", opEmptySet: "EMPTY_SET", opAddItems: "ADDITEMS", opFrozenSet: "FROZENSET",
	opNewObjEx: "NEWOBJ_EX", opStackGlobal: "STACK_GLOBAL", opMemoize: "MEMOIZE", opFrame: "FRAME",
	opByteArray8: "BYTEARRAY8", opNextBuffer: "NEXT_BUFFER", opReadonlyBuffer: "READONLY_BUFFER",
}

func opName(op byte) string {
	if name, ok := opNames[op]; ok {
		return name
	}
	return fmt.Sprintf("opcode %#02x", op)
}
