package pickle

import (
	"fmt"
	"slices"
)

// builtin makes the standard library's containers: values, not behaviour. ok is false for every other name and for
// arguments of another form.
func builtin(class Global, args Tuple) (value any, ok bool, err error) {
	switch class {
	case Global{"collections", "OrderedDict"}, Global{"builtins", "dict"}, Global{"__builtin__", "dict"}:
		d := &Dict{}
		if len(args) == 0 {
			return d, true, nil
		}
		pairs, isList := args[0].(*List)
		if !isList || len(args) != 1 {
			return nil, false, nil
		}
		for _, p := range pairs.Items {
			key, value, isPair := pair(p)
			if !isPair {
				return nil, false, fmt.Errorf("entry is a %s, not a pair", TypeName(p))
			}
			if err := d.Set(key, value); err != nil {
				return nil, false, err
			}
		}
		return d, true, nil
	case Global{"collections", "defaultdict"}:
		if len(args) > 1 {
			return nil, false, nil
		}
		return &Dict{}, true, nil // the factory of missing values is a function: dropped
	case Global{"builtins", "set"}, Global{"builtins", "frozenset"}, Global{"builtins", "list"},
		Global{"__builtin__", "set"}, Global{"__builtin__", "frozenset"}:
		if len(args) == 0 {
			return &List{}, true, nil
		}
		if items, isList := args[0].(*List); isList && len(args) == 1 {
			return &List{Items: slices.Clone(items.Items)}, true, nil
		}
	case Global{"builtins", "bytearray"}, Global{"__builtin__", "bytearray"}, Global{"builtins", "bytes"}, Global{"__builtin__", "bytes"}:
		if len(args) == 0 {
			return Bytes{}, true, nil
		}
		if b, isBytes := args[0].(Bytes); isBytes && len(args) == 1 {
			return b, true, nil
		}
	case Global{"builtins", "complex"}, Global{"__builtin__", "complex"}:
		if len(args) == 2 {
			re, reOK := args[0].(float64)
			im, imOK := args[1].(float64)
			return complex(re, im), reOK && imOK, nil
		}
	case Global{"copyreg", "_reconstructor"}, Global{"copy_reg", "_reconstructor"}:
		// Protocols 0 and 1 make instances by (class, base, state of base).
		if len(args) == 3 && args[2] == nil {
			inner, isClass := args[0].(Global)
			return &Object{Class: inner}, isClass, nil
		}
	case Global{"_codecs", "encode"}:
		// Protocols below 3 have no bytes: Python writes them as text in Latin-1.
		if len(args) == 2 && args[1] == "latin1" {
			if text, isText := args[0].(string); isText {
				return latin1(text)
			}
		}
	}
	return nil, false, nil
}

func pair(v any) (key, value any, ok bool) {
	switch p := v.(type) {
	case Tuple:
		if len(p) == 2 {
			return p[0], p[1], true
		}
	case *List:
		if len(p.Items) == 2 {
			return p.Items[0], p.Items[1], true
		}
	}
	return nil, nil, false
}

func latin1(text string) (any, bool, error) {
	out := make(Bytes, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return nil, false, fmt.Errorf("character %q is not in Latin-1", r)
		}
		out = append(out, byte(r))
	}
	return out, true, nil
}
