package models

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// LoadOptions say how a file is read and how differences between it and the
// model are treated. The zero value means the defaults of both.
type LoadOptions struct {
	Open  checkpoint.Options
	Match checkpoint.MatchOptions
}

// Specs are the names and shapes of a model's tensors.
func (m *Model) Specs() ([]checkpoint.Spec, error) {
	var specs []checkpoint.Spec
	for _, named := range m.Tensors() {
		info, err := torch.InfoOf(named.Tensor)
		if err != nil {
			return nil, fmt.Errorf("models: %s: %w", named.Name, err)
		}
		specs = append(specs, checkpoint.Spec{Name: named.Name, Shape: info.Shape})
	}
	return specs, nil
}

// Load copies a checkpoint's tensors into the model: nothing is written unless
// all that is to be loaded fits. The report says what was loaded, resized, left
// at its initialisation, missing and unexpected. Values are converted to the
// model's dtype; tensors of that dtype are copied straight from the mapped
// file. Where that was opened with LateChecksum, they are compared with the
// checksum on the way, and after an error that wraps [checkpoint.ErrChecksum] the
// model's values are worthless.
func (m *Model) Load(c *checkpoint.Checkpoint, opts *checkpoint.MatchOptions) (*checkpoint.Report, error) {
	specs, err := m.Specs()
	if err != nil {
		return nil, err
	}
	plan, err := checkpoint.Match(specs, c.Tensors, opts)
	if err != nil {
		return nil, fmt.Errorf("models: %s: %w", c.Path, err)
	}
	into := map[string]*ts.Tensor{}
	for _, named := range m.Tensors() {
		into[named.Name] = named.Tensor
	}
	var direct []checkpoint.Destination
	converted := map[string]*checkpoint.Tensor{}
	for name, t := range plan.All() {
		memory, err := memoryFor(into[name], t)
		switch {
		case err != nil:
			return nil, fmt.Errorf("models: %s: %s: %w", c.Path, name, err)
		case memory != nil:
			direct = append(direct, checkpoint.Destination{Tensor: t, Memory: memory})
		default:
			converted[name] = t
		}
	}
	if err := c.Read(direct); err != nil {
		return nil, fmt.Errorf("models: %s: %w", c.Path, err)
	}
	runtime.KeepAlive(into)
	for name, t := range converted {
		if err := fill(into[name], t); err != nil {
			return nil, fmt.Errorf("models: %s: %s: %w", c.Path, name, err)
		}
	}
	return &plan.Report, nil
}

// LoadFile opens a checkpoint of any known format, loads it and closes it.
// opts may be nil.
func (m *Model) LoadFile(path string, opts *LoadOptions) (*checkpoint.Report, error) {
	if opts == nil {
		opts = &LoadOptions{}
	}
	late := opts.Open
	late.LateChecksum = true
	c, err := checkpoint.Open(path, &late)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return m.Load(c, &opts.Match)
}

// dtypes of files and of libtorch. The unsigned types beyond bytes have no
// counterpart and occur in no model.
var dtypes = map[checkpoint.DType]gotch.DType{
	checkpoint.F64: gotch.Double, checkpoint.F32: gotch.Float, checkpoint.F16: gotch.Half, checkpoint.BF16: gotch.BFloat16,
	checkpoint.I64: gotch.Int64, checkpoint.I32: gotch.Int, checkpoint.I16: gotch.Int16, checkpoint.I8: gotch.Int8,
	checkpoint.U8: gotch.Uint8, checkpoint.Bool: gotch.Bool,
}

// memoryFor is the memory of a model's tensor if a file's can be copied there as
// it is, nil if it has to be converted or moved, and an error if it cannot be.
func memoryFor(dst *ts.Tensor, src *checkpoint.Tensor) ([]byte, error) {
	info, err := torch.InfoOf(dst)
	if err != nil {
		return nil, err
	}
	dtype, ok := dtypes[src.DType()]
	if !ok {
		return nil, fmt.Errorf("element type %s cannot be loaded", src.DType())
	}
	if isParameter(info.DType) != isParameter(dtype) {
		return nil, fmt.Errorf("the file has elements of type %s, the model of %v", src.DType(), info.DType)
	}
	if dtype != info.DType || !info.Device.Is(torch.CPU) || !info.Contiguous {
		return nil, nil
	}
	return torch.Memory(dst)
}

// fill overwrites a model's tensor by a file's of the same shape.
func fill(dst *ts.Tensor, src *checkpoint.Tensor) error {
	info, err := torch.InfoOf(dst)
	if err != nil {
		return err
	}
	dtype := dtypes[src.DType()]
	if dtype == info.DType {
		return torch.Write(dst, src.Bytes())
	}
	return torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		s.Copy(dst, s.Own(torch.FromBytes(src.Bytes(), dtype, info.Shape...)))
		return s.Err()
	})
}

// ErrUnnamed is wrapped by Open's error for a file that does not say what
// model it holds, as official .pth files do not.
var ErrUnnamed = errors.New("the file does not say what model it is")

// Open builds the model that a checkpoint describes (a file that this project
// wrote, or a HuggingFace folder), changed by the options, and loads it. For
// other files it fails with ErrUnnamed and names the variants that fit: make
// one of them by New and use LoadFile. load may be nil.
func Open(file string, path *gotchnn.Path, load *LoadOptions, opts ...Option) (*Model, *Info, *checkpoint.Report, error) {
	if load == nil {
		load = &LoadOptions{}
	}
	late := load.Open
	late.LateChecksum = true
	c, err := checkpoint.Open(file, &late)
	if err != nil {
		return nil, nil, nil, err
	}
	defer c.Close()
	info, err := InfoOf(c)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, opt := range opts {
		opt(&info.Config)
	}
	m, err := FromConfig(info.Config, path)
	if err != nil {
		return nil, nil, nil, err
	}
	info.Config = m.Config
	report, err := m.Load(c, &load.Match)
	return m, info, report, err
}

// Shapes are the names and shapes of the tensors of a model of that
// configuration, which is not built.
func Shapes(c Config) ([]checkpoint.Spec, error) {
	vs := gotchnn.NewVarStore(torch.Meta.Gotch())
	m, err := FromConfig(c, vs.Root())
	if err != nil {
		return nil, err
	}
	defer vs.Destroy()
	return m.Specs()
}

// Describes is nil where a state dict has all tensors of a model of this
// configuration, in their shapes. A configuration read from a file is held
// against the file's own tensors by it: a damaged one could otherwise ask for
// any amount of memory.
func (c Config) Describes(have *checkpoint.StateDict) error {
	blocks := int64(0)
	for _, depth := range c.Depths {
		blocks += depth
	}
	if blocks > int64(have.Len()) {
		return fmt.Errorf("it describes %d blocks, the file has %d tensors", blocks, have.Len())
	}
	specs, err := Shapes(c)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		t, ok := have.Get(spec.Name)
		if !ok {
			return fmt.Errorf("%s is missing in the file", spec.Name)
		}
		if got := checkpoint.ShapeString(t.Shape()); got != checkpoint.ShapeString(spec.Shape) {
			return fmt.Errorf("%s has shape %s in the file, %s by the configuration", spec.Name, got, checkpoint.ShapeString(spec.Shape))
		}
	}
	return nil
}

// Identify names the variants whose tensors a checkpoint has, whatever its
// number of classes. Dilations are not in the tensors: NAT-Mini's file is
// DiNAT-Mini's, too.
func Identify(have *checkpoint.StateDict) []string {
	var names []string
	for _, v := range variants {
		c := v.clone()
		if head, ok := have.Get("head.weight"); ok && head.Rank() == 2 {
			c.NumClasses = head.Shape()[0]
		}
		embed, ok := have.Get("patch_embed.norm.weight")
		if !ok || embed.Numel() != c.EmbedDim || c.Describes(have) != nil {
			continue
		}
		names = append(names, v.Name)
	}
	return names
}

// unnamed is the error for a file without a configuration.
func unnamed(c *checkpoint.Checkpoint) error {
	if c.Metadata[RunState] != "" {
		return fmt.Errorf("models: %s is the state of a training run, to go on from: its weights are best.safetensors and last.safetensors in the run's folder", c.Path)
	}
	fits := "no known variant fits it"
	if names := Identify(c.Tensors); len(names) > 0 {
		fits = "it fits " + strings.Join(names, ", ")
	}
	return fmt.Errorf("models: %s: %w; %s", c.Path, ErrUnnamed, fits)
}
