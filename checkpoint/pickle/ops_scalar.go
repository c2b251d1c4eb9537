package pickle

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxDigits is CPython's own limit (sys.int_info) on turning decimal text into an integer, which takes quadratic
	// time.
	maxDigits = 4300
	// maxLongBytes bounds binary integers; seeds of random generators take 2,500 bytes.
	maxLongBytes = 1 << 16
)

// stepScalar executes the opcodes that push a number or a string.
func (m *machine) stepScalar(op byte) (handled bool, err error) {
	switch op {
	case opNone:
		return true, m.push(nil)
	case opNewTrue:
		return true, m.push(true)
	case opNewFalse:
		return true, m.push(false)
	case opBinInt, opBinInt1, opBinInt2:
		return true, m.binInt(op)
	case opInt, opLong:
		return true, m.textInt(op)
	case opLong1:
		return true, m.long(1)
	case opLong4:
		return true, m.long(4)
	case opFloat:
		return true, m.textFloat()
	case opBinFloat:
		f, err := m.float()
		if err != nil {
			return true, err
		}
		return true, m.pushNew(f, costScalar)
	case opShortBinUnicode:
		return true, m.unicode(1)
	case opBinUnicode:
		return true, m.unicode(4)
	case opBinUnicode8:
		return true, m.unicode(8)
	case opShortBinBytes:
		return true, m.bytes(1)
	case opBinBytes:
		return true, m.bytes(4)
	case opBinBytes8, opByteArray8:
		return true, m.bytes(8)
	case opShortBinString:
		return true, m.python2String(1)
	case opBinString:
		return true, m.python2String(4)
	case opString:
		return true, m.quotedString()
	case opUnicode:
		return true, m.rawUnicode()
	case opNextBuffer, opReadonlyBuffer:
		return true, errors.New("buffers outside the pickle are not supported")
	}
	return false, nil
}

func (m *machine) binInt(op byte) error {
	width := map[byte]uint64{opBinInt: 4, opBinInt1: 1, opBinInt2: 2}[op]
	v, err := m.uint(width)
	if err != nil {
		return err
	}
	if op == opBinInt {
		return m.pushNew(int64(int32(uint32(v))), costScalar) // the only signed one
	}
	return m.pushNew(int64(v), costScalar)
}

// textInt reads INT and LONG; INT also writes protocol 0's booleans, as 00 and 01.
func (m *machine) textInt(op byte) error {
	text, err := m.line()
	if err != nil {
		return err
	}
	switch {
	case op == opInt && text == "00":
		return m.push(false)
	case op == opInt && text == "01":
		return m.push(true)
	case op == opLong:
		text = strings.TrimSuffix(text, "L")
	}
	if len(text) > maxDigits {
		return fmt.Errorf("integer of more than %d digits: %w", maxDigits, ErrLimit)
	}
	n, ok := new(big.Int).SetString(strings.TrimSpace(text), 10)
	if !ok {
		return fmt.Errorf("%s is not an integer", short(text))
	}
	return m.pushBig(n)
}

// long reads a little-endian two's complement number of any length.
func (m *machine) long(lenSize uint64) error {
	raw, err := m.sized(lenSize)
	if err != nil {
		return err
	}
	if len(raw) > maxLongBytes {
		return fmt.Errorf("integer of %d bytes: %w", len(raw), ErrLimit)
	}
	be := slices.Clone(raw)
	slices.Reverse(be)
	n := new(big.Int).SetBytes(be)
	if len(be) > 0 && be[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(be))))
	}
	return m.pushBig(n)
}

func (m *machine) pushBig(n *big.Int) error {
	if n.IsInt64() {
		return m.pushNew(n.Int64(), costScalar)
	}
	return m.pushNew(n, costScalar+n.BitLen()/4)
}

func (m *machine) textFloat() error {
	text, err := m.line()
	if err != nil {
		return err
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // too large is infinity, as in Python
		return fmt.Errorf("%s is not a number", short(text))
	}
	return m.pushNew(f, costScalar)
}

// unicode reads UTF-8 text. Python writes lone surrogates as three bytes that Go holds invalid; they have no place in
// a checkpoint.
func (m *machine) unicode(lenSize uint64) error {
	raw, err := m.sized(lenSize)
	if err != nil {
		return err
	}
	if !utf8.Valid(raw) {
		return fmt.Errorf("text %s is not UTF-8", short(string(raw)))
	}
	return m.pushString(raw)
}

func (m *machine) pushString(raw []byte) error {
	if err := m.charge(costString + len(raw)); err != nil {
		return err
	}
	return m.push(string(raw))
}

func (m *machine) bytes(lenSize uint64) error {
	raw, err := m.sized(lenSize)
	if err != nil {
		return err
	}
	if err := m.charge(costString + len(raw)); err != nil {
		return err
	}
	return m.push(Bytes(slices.Clone(raw)))
}

// python2String reads a Python 2 str, which is text or bytes: text where it can be.
func (m *machine) python2String(lenSize uint64) error {
	raw, err := m.sized(lenSize)
	if err != nil {
		return err
	}
	return m.pushTextOrBytes(raw)
}

func (m *machine) pushTextOrBytes(raw []byte) error {
	if utf8.Valid(raw) {
		return m.pushString(raw)
	}
	if err := m.charge(costString + len(raw)); err != nil {
		return err
	}
	return m.push(Bytes(slices.Clone(raw)))
}

// quotedString reads STRING: a Python string literal.
func (m *machine) quotedString() error {
	text, err := m.line()
	if err != nil {
		return err
	}
	if len(text) < 2 || (text[0] != '\'' && text[0] != '"') || text[len(text)-1] != text[0] {
		return fmt.Errorf("%s is not a quoted string", short(text))
	}
	raw, err := unescape(text[1 : len(text)-1])
	if err != nil {
		return err
	}
	return m.pushTextOrBytes(raw)
}

// unescape undoes the escapes of a Python byte string literal.
func unescape(s string) ([]byte, error) {
	simple := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '\\': '\\', '\'': '\'', '"': '"', '0': 0}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		if i++; i == len(s) {
			return nil, errors.New("string ends in an escape")
		}
		if c, ok := simple[s[i]]; ok {
			out = append(out, c)
			continue
		}
		if s[i] != 'x' || i+2 >= len(s) {
			return nil, fmt.Errorf("unknown escape in string %s", short(s))
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return nil, fmt.Errorf("unknown escape in string %s", short(s))
		}
		out = append(out, byte(c))
		i += 2
	}
	return out, nil
}

// rawUnicode reads UNICODE: a line of Latin-1 with \uXXXX and \UXXXXXXXX for the rest.
func (m *machine) rawUnicode() error {
	text, err := m.line()
	if err != nil {
		return err
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		width := 0
		if text[i] == '\\' && i+1 < len(text) {
			width = map[byte]int{'u': 4, 'U': 8}[text[i+1]]
		}
		if width == 0 {
			out.WriteRune(rune(text[i]))
			continue
		}
		if i+2+width > len(text) {
			return fmt.Errorf("escape does not end in %s", short(text))
		}
		r, err := strconv.ParseUint(text[i+2:i+2+width], 16, 32)
		if err != nil || !utf8.ValidRune(rune(r)) {
			return fmt.Errorf("bad escape in %s", short(text))
		}
		out.WriteRune(rune(r))
		i += 1 + width
	}
	return m.pushString([]byte(out.String()))
}
