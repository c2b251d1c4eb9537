package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

const (
	// maxModuleDepth ends the walk through modules that contain themselves.
	maxModuleDepth = 32
	// maxEntryDepth is how deep weights may lie in a training checkpoint.
	maxEntryDepth = 4
)

// Entries under which training scripts keep weights, in order of preference: timm, detectron and mmcv, DeiT and MAE,
// PyTorch examples and Lightning.
var (
	weightEntries = []string{"state_dict", "model", "model_state_dict", "module", "net", "weights"}
	emaEntries    = []string{"state_dict_ema", "model_ema", "ema_state_dict", "ema"}
)

// namedTensor is a tensor of a torch file under its name.
type namedTensor struct {
	name   string
	tensor *torchTensor
}

// pickWeights finds the state dict in what a torch file holds and returns its tensors, and the plain values around it.
func pickWeights(root any, opts *Options) (tensors []namedTensor, extra map[string]any, err error) {
	value, around, err := descend(root, opts)
	if err != nil {
		return nil, nil, err
	}
	f := &flattener{}
	if err := f.add("", value, 0); err != nil {
		return nil, nil, err
	}
	if len(f.out) == 0 {
		return nil, nil, fmt.Errorf("no tensors found; the file has %s", entryNames(root))
	}
	extra = make(map[string]any)
	if d, ok := value.(*pickle.Dict); ok {
		addExtra(extra, d)
	}
	for _, d := range slices.Backward(around) {
		addExtra(extra, d) // the outermost wins
	}
	return f.out, extra, nil
}

// descend walks from a training checkpoint to its weights and returns the dicts that it passed.
func descend(root any, opts *Options) (value any, around []*pickle.Dict, err error) {
	value = root
	if opts.Entry != "" {
		for name := range strings.SplitSeq(opts.Entry, "/") {
			d, _ := value.(*pickle.Dict)
			if d == nil || !hasKey(d, name) {
				return nil, nil, fmt.Errorf("no entry %s; there is %s", quoteShort(name), entryNames(value))
			}
			around = append(around, d)
			value, _ = d.Get(name)
		}
		return value, around, nil
	}
	names := weightEntries
	if opts.UseEMA {
		names = emaEntries
	}
	for depth := 0; depth < maxEntryDepth; depth++ {
		wantEMA := opts.UseEMA && depth == 0
		d, ok := value.(*pickle.Dict)
		var inner any
		if ok && (wantEMA || !hasTensors(d)) {
			inner, ok = firstEntry(d, names)
		} else {
			ok = false
		}
		if !ok {
			if wantEMA {
				return nil, nil, fmt.Errorf("no averaged weights (%s); the file has %s",
					strings.Join(emaEntries, ", "), entryNames(root))
			}
			break
		}
		around = append(around, d)
		value, names = inner, weightEntries
	}
	return value, around, nil
}

func hasKey(d *pickle.Dict, key string) bool {
	_, ok := d.Get(key)
	return ok
}

// firstEntry returns the first of names that d has as a dict or an object.
func firstEntry(d *pickle.Dict, names []string) (value any, ok bool) {
	for _, n := range names {
		v, _ := d.Get(n)
		switch v.(type) {
		case *pickle.Dict, *pickle.Object:
			return v, true
		}
	}
	return nil, false
}

func hasTensors(d *pickle.Dict) bool {
	for i := range d.Len() {
		if _, v := d.At(i); isTensor(v) {
			return true
		}
	}
	return false
}

func isTensor(v any) bool {
	_, ok := v.(*torchTensor)
	return ok
}

func entryNames(root any) string {
	d, ok := root.(*pickle.Dict)
	if !ok {
		return "a " + pickle.TypeName(root)
	}
	var names []string
	for i := range min(d.Len(), 10) {
		k, _ := d.At(i)
		if s, ok := k.(string); ok {
			names = append(names, quoteShort(s))
		}
	}
	if d.Len() > 10 {
		names = append(names, "...")
	}
	if len(names) == 0 {
		return "no entries"
	}
	return strings.Join(names, ", ")
}

// addExtra keeps the entries of d that hold no tensors as plain values: epoch, metric, arguments. Optimizer state and
// what cannot be written out plainly (values that contain themselves) is left out.
func addExtra(extra map[string]any, d *pickle.Dict) {
	for i := range d.Len() {
		key, value := d.At(i)
		name, ok := key.(string)
		if !ok {
			continue
		}
		if p, err := pickle.Plain(value); err == nil && !holdsForeign(p) {
			extra[name] = p
		}
	}
}

// holdsForeign reports whether a plain value contains tensors, storages or the like. Plain has made sure that the value
// is finite.
func holdsForeign(v any) bool {
	switch v := v.(type) {
	case *torchTensor, *storage, *numpyDType:
		return true
	case []any:
		return slices.ContainsFunc(v, holdsForeign)
	case map[string]any:
		for _, item := range v {
			if holdsForeign(item) {
				return true
			}
		}
	}
	return false
}

// flattener lists the tensors of a state dict, of a list, or of a pickled module, whose parts nest.
type flattener struct {
	out   []namedTensor
	seen  map[string]bool
	steps int
}

func (f *flattener) add(name string, v any, depth int) error {
	if f.steps++; depth > maxModuleDepth || f.steps > maxTensors {
		return errors.New("modules are nested too deep, or without end")
	}
	switch v := v.(type) {
	case *torchTensor:
		return f.put(name, v)
	case *pickle.Dict:
		return f.entries(name, v, nil, depth)
	case *pickle.List:
		return f.items(name, v.Items, depth)
	case pickle.Tuple:
		return f.items(name, v, depth)
	case *pickle.Object:
		return f.object(name, v, depth)
	}
	return nil
}

func (f *flattener) put(name string, t *torchTensor) error {
	if name == "" {
		name = "tensor" // torch.save of a bare tensor
	}
	if f.seen == nil {
		f.seen = make(map[string]bool)
	}
	if f.seen[name] {
		return fmt.Errorf("two tensors are called %s", quoteShort(name))
	}
	f.seen[name] = true
	f.out = append(f.out, namedTensor{name, t})
	return nil
}

// entries adds the tensors of a dict, but for the keys in skip. Only tensors: dicts within state dicts hold other things.
func (f *flattener) entries(name string, d *pickle.Dict, skip []any, depth int) error {
	for i := range d.Len() {
		key, value := d.At(i)
		text, ok := key.(string)
		if !ok || !isTensor(value) || slices.ContainsFunc(skip, func(s any) bool { return s == any(text) }) {
			continue
		}
		if err := f.add(join(name, text), value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *flattener) items(name string, items []any, depth int) error {
	for i, item := range items {
		if !isTensor(item) {
			continue
		}
		if err := f.add(join(name, fmt.Sprint(i)), item, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// object adds the tensors of a pickled torch.nn.Module (whose attributes _parameters, _buffers and _modules are dicts)
// or of a TorchScript module (whose attributes are the tensors and submodules themselves).
func (f *flattener) object(name string, o *pickle.Object, depth int) error {
	state, ok := o.State.(*pickle.Dict)
	if !ok {
		return nil
	}
	if _, isModule := state.Get("_parameters"); !isModule {
		for i := range state.Len() {
			key, value := state.At(i)
			text, ok := key.(string)
			_, isObject := value.(*pickle.Object)
			if !ok || (!isObject && !isTensor(value)) {
				continue
			}
			if err := f.add(join(name, text), value, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	for _, part := range []string{"_parameters", "_buffers"} {
		d, ok := attrDict(state, part)
		if !ok {
			continue
		}
		if err := f.entries(name, d, notPersistent(state), depth); err != nil {
			return err
		}
	}
	modules, ok := attrDict(state, "_modules")
	if !ok {
		return nil
	}
	for i := range modules.Len() {
		key, value := modules.At(i)
		text, isText := key.(string)
		module, isObject := value.(*pickle.Object)
		if !isText || !isObject {
			continue
		}
		if err := f.add(join(name, text), module, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// notPersistent lists a module's buffers that its state dict leaves out.
func notPersistent(state *pickle.Dict) []any {
	v, _ := state.Get("_non_persistent_buffers_set")
	if set, ok := v.(*pickle.List); ok {
		return set.Items
	}
	return nil
}

func attrDict(state *pickle.Dict, name string) (*pickle.Dict, bool) {
	v, _ := state.Get(name)
	d, ok := v.(*pickle.Dict)
	return d, ok
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
