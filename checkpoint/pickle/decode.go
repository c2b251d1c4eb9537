package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Limits bounds what one pickle may cost. A zero field means its default.
type Limits struct {
	// Memory bounds the estimated bytes of all values together; default 64 MiB. A training checkpoint with
	// optimizer state takes about 2 kB a tensor.
	Memory int64
	// Stack bounds the number of values on the stack; default 1<<20.
	Stack int
}

const (
	defaultMemory = 64 << 20
	defaultStack  = 1 << 20
	// maxProtocol is the newest protocol there is.
	maxProtocol = 5
)

// Errors that Decode wraps.
var (
	ErrLimit     = errors.New("limit exceeded")
	ErrTruncated = errors.New("the pickle ends too early")
)

// Config says what a pickle may mean beyond plain values. The zero value allows nothing.
type Config struct {
	Limits Limits
	// Call is asked for what calling class with args yields. With ok false the call becomes an inert *Object. It is
	// the only place where anything happens because of a name in the file.
	Call func(class Global, args Tuple) (value any, ok bool, err error)
	// Persistent resolves a reference to data outside the pickle; nil makes such references an error.
	Persistent func(id any) (any, error)
}

// Builder is implemented by values from Config.Call that take state after their creation.
type Builder interface {
	// Build receives what Python would hand to __setstate__.
	Build(state any) error
}

// Error says where in a pickle decoding failed.
type Error struct {
	// Offset is the byte of the failing opcode.
	Offset int64
	// Op is the opcode's name.
	Op  string
	Err error
}

func (e *Error) Error() string {
	return fmt.Sprintf("pickle at byte %d (%s): %v", e.Offset, e.Op, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Decode reads the pickle at the start of data and returns its value and its length: other data may follow. It never
// panics on any input, and executes nothing.
func Decode(data []byte, cfg Config) (value any, n int64, err error) {
	if cfg.Limits.Memory == 0 {
		cfg.Limits.Memory = defaultMemory
	}
	if cfg.Limits.Stack == 0 {
		cfg.Limits.Stack = defaultStack
	}
	m := &machine{cfg: cfg, data: data, memo: make(map[uint64]any)}
	for !m.stopped {
		start := m.pos
		if start >= len(data) {
			return nil, 0, &Error{int64(start), "end of data", ErrTruncated}
		}
		op := data[start]
		m.pos++
		if err := m.step(op); err != nil {
			return nil, 0, &Error{int64(start), opName(op), err}
		}
	}
	return m.result, int64(m.pos), nil
}

// machine is the pickle stack machine.
type machine struct {
	cfg     Config
	data    []byte
	pos     int
	stack   []any
	marks   []int // stack heights at open MARKs
	memo    map[uint64]any
	spent   int64 // estimated bytes of values so far
	result  any
	stopped bool
}

// charge accounts for memory that is about to be used.
func (m *machine) charge(n int) error {
	m.spent += int64(n)
	if m.spent > m.cfg.Limits.Memory {
		return fmt.Errorf("values of more than %d bytes: %w", m.cfg.Limits.Memory, ErrLimit)
	}
	return nil
}

// Estimated bytes of values: a little more than Go takes, allocator rounding and growth of slices included.
const (
	costScalar = 32
	costString = 48
	costSlot   = 40 // an element of a list or tuple
	costList   = 96
	costEntry  = 200 // an entry of a dict
	costDict   = 256
	costObject = 256
	costMemo   = 96
)

func (m *machine) push(v any) error {
	if len(m.stack) >= m.cfg.Limits.Stack {
		return fmt.Errorf("stack of more than %d values: %w", m.cfg.Limits.Stack, ErrLimit)
	}
	m.stack = append(m.stack, v)
	return nil
}

// pushNew pushes a value that takes about cost bytes.
func (m *machine) pushNew(v any, cost int) error {
	if err := m.charge(cost); err != nil {
		return err
	}
	return m.push(v)
}

// base is the height below which values belong to an open MARK's outside.
func (m *machine) base() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

// pop takes the topmost value.
func (m *machine) pop() (any, error) {
	if len(m.stack) <= m.base() {
		return nil, errors.New("stack is empty")
	}
	v := m.stack[len(m.stack)-1]
	m.stack[len(m.stack)-1] = nil
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

// top returns the topmost value and leaves it.
func (m *machine) top() (any, error) {
	if len(m.stack) <= m.base() {
		return nil, errors.New("stack is empty")
	}
	return m.stack[len(m.stack)-1], nil
}

// popMark takes all values above the last MARK. The result is only valid until the next push.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, errors.New("no MARK on the stack")
	}
	at := m.base()
	items := m.stack[at:]
	m.stack = m.stack[:at]
	m.marks = m.marks[:len(m.marks)-1]
	return items, nil
}

// take returns the next n bytes of the pickle.
func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.pos) {
		return nil, fmt.Errorf("%d bytes wanted, %d left: %w", n, len(m.data)-m.pos, ErrTruncated)
	}
	b := m.data[m.pos : m.pos+int(n)]
	m.pos += int(n)
	return b, nil
}

// uint reads a little-endian number of 1, 2, 4 or 8 bytes.
func (m *machine) uint(size uint64) (uint64, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var word [8]byte
	copy(word[:], b)
	return binary.LittleEndian.Uint64(word[:]), nil
}

// sized reads a length of lenSize bytes and then that many bytes.
func (m *machine) sized(lenSize uint64) ([]byte, error) {
	n, err := m.uint(lenSize)
	if err != nil {
		return nil, err
	}
	return m.take(n)
}

// line reads up to a newline, which is dropped.
func (m *machine) line() (string, error) {
	for i := m.pos; i < len(m.data); i++ {
		if m.data[i] == '\n' {
			s := string(m.data[m.pos:i])
			m.pos = i + 1
			return s, m.charge(len(s))
		}
	}
	return "", fmt.Errorf("line does not end: %w", ErrTruncated)
}

// setMemo remembers the topmost value.
func (m *machine) setMemo(i uint64) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if err := m.charge(costMemo); err != nil {
		return err
	}
	m.memo[i] = v
	return nil
}

func (m *machine) getMemo(i uint64) error {
	v, ok := m.memo[i]
	if !ok {
		return fmt.Errorf("memo %d was never set", i)
	}
	return m.push(v)
}

// float reads BINFLOAT's 8 bytes, the one big-endian number in the format.
func (m *machine) float() (float64, error) {
	b, err := m.take(8)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}
