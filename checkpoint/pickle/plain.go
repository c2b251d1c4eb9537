package pickle

import (
	"fmt"
	"strings"
)

const (
	// maxPlainDepth and maxPlainNodes end conversions of values that contain themselves, or share parts so often that
	// writing them out would take exponential time.
	maxPlainDepth = 64
	maxPlainNodes = 1 << 17
)

// Plain turns a decoded value into Go's plain types, as encoding/json would: []any for lists and tuples, map[string]any
// for dicts with text keys and for objects with such state (an argparse.Namespace, say). Dicts with other keys become
// maps too, their keys printed. Names of classes become strings, and so do objects without attributes, as
// "module.Class(arguments)". Values from Config.Call stay as they are.
func Plain(v any) (any, error) {
	nodes := 0
	return plain(v, 0, &nodes)
}

func plain(v any, depth int, nodes *int) (any, error) {
	switch v := v.(type) {
	case Tuple:
		return plainSlice(v, depth, nodes)
	case *List:
		return plainSlice(v.Items, depth, nodes)
	case *Dict:
		return plainDict(v, depth, nodes)
	case Bytes:
		return []byte(v), nil
	case Global:
		return v.String(), nil
	case *Object:
		if state, ok := v.State.(*Dict); ok {
			return plainDict(state, depth, nodes)
		}
		return plainCall(v, depth, nodes)
	}
	return v, nil
}

func plainSlice(items []any, depth int, nodes *int) (any, error) {
	if err := countPlain(len(items), depth, nodes); err != nil {
		return nil, err
	}
	out := make([]any, 0, len(items))
	for _, item := range items {
		p, err := plain(item, depth+1, nodes)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func plainDict(d *Dict, depth int, nodes *int) (any, error) {
	if err := countPlain(d.Len(), depth, nodes); err != nil {
		return nil, err
	}
	out := make(map[string]any, d.Len())
	for i := range d.Len() {
		key, value := d.At(i)
		text, ok := key.(string)
		if !ok {
			h, err := hashable(key)
			if err != nil {
				return nil, err
			}
			if obj, isObject := h.(*Object); isObject {
				h = obj.Class
			}
			text = fmt.Sprint(h)
		}
		p, err := plain(value, depth+1, nodes)
		if err != nil {
			return nil, err
		}
		out[text] = p
	}
	return out, nil
}

// countPlain accounts for the n parts of a container before anything is made for them.
func countPlain(n, depth int, nodes *int) error {
	*nodes += 1 + n
	if depth > maxPlainDepth || *nodes > maxPlainNodes {
		return fmt.Errorf("pickle: value is nested too deep or too large to write out: %w", ErrLimit)
	}
	return nil
}

// plainCall prints an object as the call that would make it; arguments that are no text or number are left out.
func plainCall(o *Object, depth int, nodes *int) (any, error) {
	if err := countPlain(len(o.Args), depth, nodes); err != nil {
		return nil, err
	}
	var args []string
	for _, a := range o.Args {
		switch a := a.(type) {
		case string:
			args = append(args, short(a))
		case nil, bool, int64, float64:
			args = append(args, fmt.Sprint(a))
		default:
			args = append(args, "...")
		}
	}
	return o.Class.String() + "(" + strings.Join(args, ", ") + ")", nil
}
