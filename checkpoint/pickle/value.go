package pickle

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Bytes is a Python bytes or bytearray object.
type Bytes []byte

// Tuple is a Python tuple.
type Tuple []any

// List is a Python list, set or frozenset. It is a pointer type because pickles may hold a list within itself.
type List struct{ Items []any }

// Global is the name of a class or function; it was not looked up, let alone imported.
type Global struct{ Module, Name string }

// String returns the dotted name.
func (g Global) String() string { return g.Module + "." + g.Name }

// Object is an instance that no allow-list knows: the recipe that Python would follow, kept as data.
type Object struct {
	// Class is what Python would call, Args and Kwargs what it would call it with.
	Class  Global
	Args   Tuple
	Kwargs *Dict
	// State is what Python would then put into the instance, usually a *Dict of its attributes.
	State any
	// Items and Entries are what Python would append and set, for subclasses of list and dict.
	Items   []any
	Entries *Dict
}

// Dict is a Python dict in insertion order.
type Dict struct {
	keys, values []any
	index        map[any]int
	// State holds the attributes that an OrderedDict carries besides its entries (state dicts keep _metadata so).
	State any
}

// Len returns the number of entries.
func (d *Dict) Len() int { return len(d.keys) }

// At returns entry i in insertion order.
func (d *Dict) At(i int) (key, value any) { return d.keys[i], d.values[i] }

// Get returns the value under a key.
func (d *Dict) Get(key any) (any, bool) {
	h, err := hashable(key)
	if err != nil {
		return nil, false
	}
	i, ok := d.index[h]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// Set puts a value under a key. It fails for keys that Python cannot hash either.
func (d *Dict) Set(key, value any) error {
	h, err := hashable(key)
	if err != nil {
		return err
	}
	d.set(h, key, value)
	return nil
}

// set puts a value under a key whose hashable form is h.
func (d *Dict) set(h, key, value any) {
	if i, ok := d.index[h]; ok {
		d.values[i] = value
		return
	}
	if d.index == nil {
		d.index = make(map[any]int)
	}
	d.index[h] = len(d.keys)
	d.keys = append(d.keys, key)
	d.values = append(d.values, value)
}

// The keys below stand for values that Go cannot compare, or that Python holds equal across types.
type (
	bytesKey string
	bigKey   string
	tupleKey string
)

const (
	// maxTupleKey bounds the text that stands for a tuple: shared tuples within tuples would make it exponential.
	maxTupleKey = 4096
	// maxKeyBits bounds integers as keys, because printing a large one takes long.
	maxKeyBits = 512
)

// hashable returns a comparable Go value that is equal for keys that are equal in Python: 1, 1.0 and True are one key.
func hashable(key any) (any, error) {
	switch k := key.(type) {
	case nil, string, int64, Global, complex128, *Object:
		return k, nil
	case bool:
		if k {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<62 {
			return int64(k), nil
		}
		return k, nil
	case Bytes:
		return bytesKey(k), nil
	case *big.Int:
		if k.BitLen() > maxKeyBits {
			return nil, fmt.Errorf("an integer of %d bits as dictionary key: %w", k.BitLen(), ErrLimit)
		}
		return bigKey(k.String()), nil
	case Tuple:
		var b strings.Builder
		if err := writeTupleKey(&b, k); err != nil {
			return nil, err
		}
		return tupleKey(b.String()), nil
	}
	return nil, fmt.Errorf("a %s cannot be a dictionary key", TypeName(key))
}

// writeTupleKey writes text that differs for tuples that differ. The limit on its length also bounds the recursion,
// because every level writes a parenthesis.
func writeTupleKey(b *strings.Builder, t Tuple) error {
	b.WriteByte('(')
	for _, v := range t {
		if inner, ok := v.(Tuple); ok && b.Len() <= maxTupleKey {
			if err := writeTupleKey(b, inner); err != nil {
				return err
			}
			continue
		}
		h, err := hashable(v)
		if err != nil {
			return err
		}
		if b.Len()+keyLen(h) > maxTupleKey {
			return fmt.Errorf("a tuple as dictionary key is too long: %w", ErrLimit)
		}
		switch h := h.(type) {
		case *Object:
			fmt.Fprintf(b, "object:%p,", h) // equal to itself alone, as in Python
		case string:
			fmt.Fprintf(b, "%q,", h)
		default:
			fmt.Fprintf(b, "%T:%v,", h, h)
		}
	}
	b.WriteByte(')')
	return nil
}

// keyLen returns the bytes of text in a hashable key, which hashing has to read.
func keyLen(h any) int {
	switch h := h.(type) {
	case string:
		return len(h)
	case bytesKey:
		return len(h)
	case bigKey:
		return len(h)
	case tupleKey:
		return len(h)
	case Global:
		return len(h.Module) + len(h.Name)
	}
	return 8
}

// TypeName names a value's Python type in messages.
func TypeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case complex128:
		return "complex"
	case string:
		return "str"
	case Bytes:
		return "bytes"
	case Tuple:
		return "tuple"
	case *List:
		return "list"
	case *Dict:
		return "dict"
	case Global:
		return "class or function " + short(v.String())
	case *Object:
		return short(v.Class.String())
	}
	return fmt.Sprintf("%T", v)
}

// short quotes text from a file for a message.
func short(s string) string {
	const limit = 80
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "..."
	}
	return strconv.Quote(s)
}
