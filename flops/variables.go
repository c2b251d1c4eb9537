package flops

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/gonatten/gonatten/internal/torch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// variables are a model's tensors by name.
type variables struct {
	names   []string
	tensors map[string]*ts.Tensor
	buffers map[string]bool
}

// Name implements namer.
func (v *variables) Name(r *torch.Recording) ([]torch.Named, error) {
	list := make([]torch.Named, 0, len(v.names))
	for _, name := range v.names {
		t := v.tensors[name]
		if err := r.Name(t, name); err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		info, err := torch.InfoOf(t)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		buffer := v.buffers[name] || !(&Tensor{DType: info.DType}).Floating()
		list = append(list, torch.Named{Name: name, Elements: info.Numel(), Buffer: buffer})
	}
	return list, nil
}

// findVariables takes the names from the store, from a store or path found in
// the model's fields, or from the fields themselves.
func findVariables(model any, store *gotchnn.VarStore) *variables {
	v := &variables{tensors: map[string]*ts.Tensor{}, buffers: map[string]bool{}}
	var w walker
	if model != nil {
		w = walker{seen: map[unsafe.Pointer]bool{}, tensors: v.tensors}
		w.walk(reflect.ValueOf(model), "", 0)
	}
	if store == nil {
		store = w.store
	}
	if store != nil {
		clear(v.tensors)
		for name, t := range store.Variables() {
			v.tensors[name] = &t
		}
		for _, name := range bufferNames(store) {
			v.buffers[name] = true
		}
	}
	for name := range v.tensors {
		v.names = append(v.names, name)
	}
	slices.Sort(v.names)
	return v
}

// bufferNames reads what gotch keeps to itself: which variables were never
// meant to be trained. (A frozen parameter still is one.)
func bufferNames(store *gotchnn.VarStore) []string {
	vars := reflect.ValueOf(store).Elem().FieldByName("vars")
	if !vars.IsValid() || vars.Kind() != reflect.Map {
		return nil
	}
	store.Lock()
	defer store.Unlock()
	var names []string
	for each := vars.MapRange(); each.Next(); {
		kind, trainable := each.Value().FieldByName("Type"), each.Value().FieldByName("Trainable")
		if kind.IsValid() && kind.String() == "buffer" || trainable.IsValid() && !trainable.Bool() {
			names = append(names, each.Key().String())
		}
	}
	return names
}

var (
	tensorType = reflect.TypeFor[ts.Tensor]()
	storeType  = reflect.TypeFor[gotchnn.VarStore]()
)

// maxWalk bounds the depth of the search through a model's fields.
const maxWalk = 32

// walker looks through a model's fields, private ones too, for tensors and for
// the variable store.
type walker struct {
	seen    map[unsafe.Pointer]bool
	tensors map[string]*ts.Tensor
	store   *gotchnn.VarStore
}

func (w *walker) walk(v reflect.Value, name string, depth int) {
	if depth > maxWalk {
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		w.walk(v.Elem(), name, depth+1)
	case reflect.Pointer:
		w.pointer(v, name, depth)
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			label := strings.ToLower(field.Name)
			if field.Anonymous {
				label = ""
			}
			w.walk(v.Field(i), join(name, label), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if kind := v.Type().Elem().Kind(); kind != reflect.Pointer && kind != reflect.Interface && kind != reflect.Struct &&
			kind != reflect.Slice {
			return
		}
		for i := range v.Len() {
			w.walk(v.Index(i), join(name, fmt.Sprint(i)), depth+1)
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next(); {
			if each.Key().Kind() == reflect.String {
				w.walk(each.Value(), join(name, each.Key().String()), depth+1)
			}
		}
	}
}

func (w *walker) pointer(v reflect.Value, name string, depth int) {
	p := v.UnsafePointer()
	if p == nil || w.seen[p] {
		return
	}
	w.seen[p] = true
	switch v.Type().Elem() {
	case tensorType:
		if t := (*ts.Tensor)(p); t.Ctensor() != nil {
			w.tensors[name] = t
		}
	case storeType:
		w.store = (*gotchnn.VarStore)(p)
	default:
		// A layer of this project knows its name.
		if named, ok := reflect.NewAt(v.Type().Elem(), p).Interface().(namedLayer); ok {
			name = named.Name()
		}
		w.walk(v.Elem(), name, depth+1)
	}
}

type namedLayer interface {
	layer
	Name() string
}

func join(name, part string) string {
	if name == "" || part == "" {
		return name + part
	}
	return name + "." + part
}
