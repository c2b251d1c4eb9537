package main

import (
	"archive/zip"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// flopsCase is one model to count at one size.
type flopsCase struct {
	name             string
	config           models.Config
	script           string // file, in place of config
	height, width    int64  // 0: unknown (a script's inputs are given by shape)
	kernel, dilation int64  // what if; 0: as it is
}

// cases are the models that the arguments name, at every size, kernel and
// dilation.
func (o *flopsOptions) cases(args []string) ([]*flopsCase, error) {
	var cases []*flopsCase
	for _, arg := range args {
		subjects, err := o.subjects(arg)
		if err != nil {
			return nil, err
		}
		for _, subject := range subjects {
			for _, size := range orNone(o.sizes, "") {
				for _, kernel := range orNone(o.kernels, 0) {
					for _, dilation := range orNone(o.dilations, 0) {
						c := *subject
						if err := c.change(size, kernel, dilation); err != nil {
							return nil, err
						}
						cases = append(cases, &c)
					}
				}
			}
		}
	}
	return cases, nil
}

// orNone is the list, or where it is empty one that stands for no change.
func orNone[T any](list []T, none T) []T {
	if len(list) == 0 {
		return []T{none}
	}
	return list
}

// subjects are the models that one argument names.
func (o *flopsOptions) subjects(arg string) ([]*flopsCase, error) {
	names := []string{arg}
	if strings.ContainsAny(arg, "*?[") {
		if names = models.List(arg); len(names) == 0 {
			return nil, fmt.Errorf("no model's name matches %q (natten info --models lists them)", arg)
		}
	}
	var subjects []*flopsCase
	for _, name := range names {
		config, err := models.ConfigOf(name)
		if err != nil {
			subject, fileErr := o.fromFile(name)
			if errors.Is(fileErr, fs.ErrNotExist) && !looksLikeFile(name) {
				return nil, err // which lists the names there are
			}
			if fileErr != nil {
				return nil, fileErr
			}
			subjects = append(subjects, subject)
			continue
		}
		subjects = append(subjects, &flopsCase{name: name, config: config, height: config.ImageSize, width: config.ImageSize})
	}
	return subjects, nil
}

// looksLikeFile tells a file's name from that of a variant.
func looksLikeFile(name string) bool {
	return filepath.Ext(name) != "" || strings.ContainsRune(name, filepath.Separator)
}

// fromFile is the model of a checkpoint, or a TorchScript file itself.
func (o *flopsOptions) fromFile(path string) (*flopsCase, error) {
	if o.model == "" {
		if is, said := scriptFile(path); is {
			size := said.Preprocess.ImageSize
			return &flopsCase{name: filepath.Base(path), script: path, config: said.Config, height: size, width: size}, nil
		}
	}
	file, err := checkpoint.Open(path, nil)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := models.InfoFor(o.model, file)
	if err != nil {
		return nil, err
	}
	size := info.Preprocess.ImageSize
	return &flopsCase{name: filepath.Base(path), config: info.Config, height: size, width: size}, nil
}

// scriptFile tells a TorchScript archive from other files, and what natten export
// noted in it.
func scriptFile(path string) (is bool, said models.Info) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return false, said
	}
	defer archive.Close()
	for _, file := range archive.File {
		_, inside, _ := strings.Cut(file.Name, "/")
		switch inside {
		case "constants.pkl":
			is = true
		case "extra/" + models.ScriptInfo:
			if in, err := file.Open(); err == nil {
				_ = json.NewDecoder(io.LimitReader(in, 1<<24)).Decode(&said) // an unreadable note is none
				in.Close()
			}
		}
	}
	return is, said
}

// change applies what-ifs.
func (c *flopsCase) change(size string, kernel, dilation int64) error {
	if size != "" {
		var err error
		if c.height, c.width, err = parseSize(size); err != nil {
			return err
		}
		if c.config.GlobalAttention { // its bias has the size of the map
			if c.height != c.width {
				return fmt.Errorf("--size is %s, want a square for %s", size, c.name)
			}
			c.config.ImageSize = c.height
		}
	}
	c.kernel, c.dilation = kernel, dilation
	if kernel == 0 && dilation == 0 {
		return nil
	}
	if c.script != "" || c.config.GlobalAttention {
		return fmt.Errorf("--kernel and --dilation do not apply to %s", c.name)
	}
	if kernel != 0 {
		c.config.KernelSize = kernel
	}
	if dilation != 0 {
		c.config.Dilations = nil
		for range c.config.Depths {
			c.config.Dilations = append(c.config.Dilations, []int64{dilation})
		}
	}
	return nil
}

// published is the figure that a paper prints for exactly this, 0 where none.
func (c *flopsCase) published(o *flopsOptions) float64 {
	v, ok := models.Lookup(c.name)
	own, err := models.ConfigOf(c.name)
	asPublished := ok && err == nil && c.height == own.ImageSize && c.width == own.ImageSize
	if !asPublished || c.kernel != 0 || c.dilation != 0 || o.batch != 1 || o.convention == flops.Exact {
		return 0
	}
	return v.Published.GMACs
}

// maxSide bounds a picture's side, kernels and dilations, and mostPixels the
// pixels of a batch: beyond them counts leave 64 bits.
const (
	maxSide    = 16384
	mostPixels = 1 << 40
)

// countable tells whether counts have room in 64 bits. With dense attention in
// attention's place they grow with the square of the picture's area.
func (c *flopsCase) countable(batch int64) error {
	side := max(c.height, c.width)
	if c.script == "" {
		for _, level := range c.config.Dilations {
			for _, dilation := range level {
				side = max(side, c.config.KernelSize*dilation)
			}
		}
	}
	if area := float64(side) * float64(side); side > maxSide || float64(batch)*area > mostPixels || float64(batch)*area*area > 1<<57 {
		return fmt.Errorf("%s at %s, batch %d, is more than can be counted: want sides and kernel_size times dilation up to %d for one picture, less for many",
			c.label(), resolution(c.height, c.width), batch, maxSide)
	}
	return nil
}

// count builds the model without memory for its parameters, and counts.
func (c *flopsCase) count(o *flopsOptions) (*flops.Report, error) {
	if err := c.countable(o.batch); err != nil {
		return nil, err
	}
	options := []flops.Option{flops.WithName(c.name), flops.WithConvention(o.convention)}
	if c.script != "" {
		inputs, err := c.inputs(o)
		if err != nil {
			return nil, err
		}
		defer drop(inputs)
		return flops.CountFile(c.script, inputs, options...)
	}
	if len(o.inputs) > 0 {
		return nil, fmt.Errorf("--input is for TorchScript files, %s takes --size and --batch", c.name)
	}
	vs := gotchnn.NewVarStore(torch.Meta.Gotch())
	defer vs.Destroy()
	m, err := models.FromConfig(c.config, vs.Root())
	if err != nil {
		return nil, err
	}
	image, err := flops.Input(o.batch, c.config.InChans, c.height, c.width)
	if err != nil {
		return nil, err
	}
	defer image.MustDrop()
	return flops.Count(m, image, append(options, flops.WithVariables(vs))...)
}

// inputs are those of a script: as given, or a batch of pictures.
func (c *flopsCase) inputs(o *flopsOptions) ([]*ts.Tensor, error) {
	given := o.inputs
	if len(given) > 0 && o.batch != 1 {
		return nil, fmt.Errorf("--batch is %d, and --input says the sizes: give one of the two", o.batch)
	}
	if len(given) == 0 {
		if c.height == 0 {
			return nil, fmt.Errorf("%s does not say what it takes: --input 1x3x224x224, or --size for pictures", c.name)
		}
		given = []string{fmt.Sprintf("%dx%dx%dx%d", o.batch, cmp.Or(c.config.InChans, 3), c.height, c.width)}
	}
	var inputs []*ts.Tensor
	for _, text := range given {
		input, err := parseInput(text)
		if err != nil {
			drop(inputs)
			return nil, err
		}
		inputs = append(inputs, input)
	}
	return inputs, nil
}

func drop(tensors []*ts.Tensor) {
	for _, t := range tensors {
		t.MustDrop()
	}
}

// inputDTypes are those of inputs besides the floating ones.
var inputDTypes = map[string]gotch.DType{"": gotch.Float, "int64": gotch.Int64, "int32": gotch.Int, "bool": gotch.Bool}

// parseInput reads "1x3x224x224" or "8x128:int64".
func parseInput(text string) (*ts.Tensor, error) {
	sizes, name, _ := strings.Cut(text, ":")
	dtype, ok := torch.FloatDType(name)
	if !ok {
		dtype, ok = inputDTypes[name]
	}
	if !ok {
		return nil, fmt.Errorf("--input is %q, want float32, float64, float16, bfloat16, int64, int32 or bool after the colon", text)
	}
	var shape []int64
	for _, size := range strings.Split(sizes, "x") {
		n, err := strconv.ParseInt(size, 10, 32)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--input is %q, want a shape such as 1x3x224x224", text)
		}
		shape = append(shape, n)
	}
	s := torch.NewScope()
	defer s.Close()
	return s.Return(s.Zeros(shape, dtype, torch.Meta))
}
