package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// architecture is what natten info MODEL prints.
type architecture struct {
	Model      string         `json:"model"`
	File       string         `json:"file,omitempty"`
	Config     models.Config  `json:"config"`
	Height     int64          `json:"height"`
	Width      int64          `json:"width"`
	Parameters int64          `json:"parameters"`
	Tensors    int            `json:"tensors"`
	MACs       int64          `json:"macs"`
	Convention string         `json:"macs_convention"`
	Published  models.Figures `json:"published"`
	Rows       []partRow      `json:"parts"`
}

// partRow is one part of a model: the tokenizer, a level, a downsampler, the head.
type partRow struct {
	Part       string  `json:"part"`
	Height     int64   `json:"height,omitempty"` // tokens that leave it
	Width      int64   `json:"width,omitempty"`
	Dim        int64   `json:"dim"`
	Blocks     int     `json:"blocks,omitempty"`
	Heads      int64   `json:"heads,omitempty"`
	KernelSize int64   `json:"kernel_size,omitempty"`
	Dilations  []int64 `json:"dilations,omitempty"`
	Parameters int64   `json:"parameters"`
	MACs       int64   `json:"macs"`

	prefixes []string // of its parameters' names
}

// describeModel prints a variant's architecture, or that of a checkpoint.
func (a *app) describeModel(name, model, size string) error {
	r, err := newArchitecture(name, model, size)
	if err != nil {
		return err
	}
	return a.emit(r, r.print)
}

func newArchitecture(name, model, size string) (*architecture, error) {
	r := &architecture{}
	if v, ok := models.Lookup(name); ok {
		c, err := models.ConfigOf(name)
		if err != nil {
			return nil, err
		}
		r.Config, r.Published = c, v.Published
	} else {
		info, err := infoOfFile(name, model)
		if errors.Is(err, fs.ErrNotExist) && !looksLikeFile(name) {
			_, err = models.ConfigOf(name) // which lists the names there are
		}
		if err != nil {
			return nil, err
		}
		r.File, r.Config = name, info.Config
	}
	r.Model = r.Config.Name
	if r.Model == "" {
		r.Model = string(r.Config.Family)
	}
	c := flopsCase{name: r.Model, config: r.Config, height: r.Config.ImageSize, width: r.Config.ImageSize}
	if err := c.change(size, 0, 0); err != nil {
		return nil, err
	}
	if err := c.countable(1); err != nil {
		return nil, err
	}
	r.Config, r.Height, r.Width = c.config, c.height, c.width
	return r, r.measure()
}

func infoOfFile(path, model string) (*models.Info, error) {
	file, err := checkpoint.Open(path, nil)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return models.InfoFor(model, file)
}

// parseSize reads "384" or "256x192", height first.
func parseSize(text string) (height, width int64, err error) {
	first, second, two := strings.Cut(text, "x")
	if !two {
		second = first
	}
	if height, err = strconv.ParseInt(first, 10, 32); err == nil {
		width, err = strconv.ParseInt(second, 10, 32)
	}
	if err != nil || height < 1 || width < 1 {
		return 0, 0, fmt.Errorf("--size is %q, want a number of pixels or HEIGHTxWIDTH", text)
	}
	return height, width, nil
}

// measure builds the model without memory for its parameters and counts.
func (r *architecture) measure() error {
	vs := gotchnn.NewVarStore(torch.Meta.Gotch())
	m, err := models.FromConfig(r.Config, vs.Root())
	if err != nil {
		return err
	}
	defer vs.Destroy()
	image, err := flops.Input(1, r.Config.InChans, r.Height, r.Width)
	if err != nil {
		return err
	}
	defer image.MustDrop()
	report, err := flops.Count(m, image, flops.WithVariables(vs), flops.WithName(r.Model), flops.WithConvention(flops.NATTEN0175))
	if err != nil {
		return err
	}
	r.MACs, r.Convention = report.MACs, flops.NATTEN0175.String()
	r.addParts(m)
	macs := map[string]int64{}
	collectMACs(report.Root, macs)
	for i := range r.Rows {
		row := &r.Rows[i]
		for _, prefix := range row.prefixes {
			row.MACs += macs[prefix]
		}
	}
	r.Tensors = len(m.Tensors())
	for _, p := range m.Parameters() {
		info, err := torch.InfoOf(p.Tensor)
		if err != nil {
			return err
		}
		r.Parameters += info.Numel()
		for i := range r.Rows {
			for _, prefix := range r.Rows[i].prefixes {
				if strings.HasPrefix(p.Name, prefix+".") {
					r.Rows[i].Parameters += info.Numel()
				}
			}
		}
	}
	return nil
}

func collectMACs(m *flops.Module, into map[string]int64) {
	if m == nil {
		return
	}
	into[m.Name] = m.MACs
	for _, child := range m.Children {
		collectMACs(child, into)
	}
}

// addParts lists the model's parts with the size of what leaves them.
func (r *architecture) addParts(m *models.Model) {
	c := &m.Config
	stride := c.StemStride + c.PatchSize // one of them is 0
	height, width := ceil(r.Height, stride), ceil(r.Width, stride)
	r.Rows = append(r.Rows, partRow{Part: "tokens", Height: height, Width: width, Dim: c.EmbedDim, prefixes: []string{"patch_embed"}})
	dim := c.EmbedDim
	for i, level := range m.Levels {
		row := partRow{Part: fmt.Sprintf("level %d", i), Height: height, Width: width, Dim: dim, Blocks: len(level.Blocks), Heads: c.NumHeads[i]}
		for _, block := range level.Blocks {
			layer := block.Attn.Local()
			row.KernelSize = layer.KernelSize
			row.Dilations = append(row.Dilations, layer.Dilation)
			row.prefixes = append(row.prefixes, block.Name())
		}
		r.Rows = append(r.Rows, row)
		if level.Downsample != nil {
			height, width, dim = ceil(height, 2), ceil(width, 2), 2*dim
			r.Rows = append(r.Rows, partRow{Part: "downsample", Height: height, Width: width, Dim: dim, prefixes: []string{level.Name() + ".downsample"}})
		}
	}
	head := partRow{Part: "norm, head", Dim: c.NumClasses, prefixes: []string{"norm", "head"}}
	if m.Head == nil {
		head = partRow{Part: "norms", Dim: dim, prefixes: nil}
		for _, norm := range m.OutNorms {
			head.prefixes = append(head.prefixes, norm.Name())
		}
	}
	r.Rows = append(r.Rows, head)
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

func (r *architecture) print(w io.Writer) {
	fmt.Fprintf(w, "%s (%s), image %dx%d, %d classes\n", r.Model, r.Config.Family, r.Height, r.Width, r.Config.NumClasses)
	fmt.Fprintf(w, "%-11s %11s %6s %6s %6s %6s  %-22s %13s %9s\n", "part", "resolution", "dim", "blocks", "heads", "kernel", "dilations", "parameters", "MACs, M")
	for _, row := range r.Rows {
		fmt.Fprintf(w, "%-11s %11s %6d %6s %6s %6s  %-22s %13d %9.1f\n", row.Part, resolution(row.Height, row.Width), row.Dim,
			unlessZero(int64(row.Blocks)), unlessZero(row.Heads), unlessZero(row.KernelSize), shortList(row.Dilations), row.Parameters, float64(row.MACs)/1e6)
	}
	fmt.Fprintf(w, "%-11s %11s %6s %6s %6s %6s  %-22s %13d %9.1f\n", "in all", "", "", "", "", "", "", r.Parameters, float64(r.MACs)/1e6)
	if p := r.Published; p.ParamsM > 0 {
		fmt.Fprintf(w, "published: %.0fM parameters, %.1f GMACs at %d", p.ParamsM, p.GMACs, r.Config.ImageSize)
		if p.Top1 > 0 {
			fmt.Fprintf(w, ", %.1f%% ImageNet top-1", p.Top1)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d tensors; MACs by the convention %s\n", r.Tensors, r.Convention)
}

func resolution(height, width int64) string {
	if height == 0 {
		return ""
	}
	return fmt.Sprintf("%dx%d", height, width)
}

func unlessZero(v int64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatInt(v, 10)
}

// shortList writes what repeats once: "1 2 (x9)" for 1 2 1 2 1 2 ...
func shortList(list []int64) string {
	for period := 1; period <= 2 && period < len(list); period++ {
		repeats := len(list)%period == 0
		for i := period; i < len(list) && repeats; i++ {
			repeats = list[i] == list[i-period]
		}
		if repeats {
			return fmt.Sprintf("%s (x%d)", words(list[:period]), len(list)/period)
		}
	}
	return words(list)
}

func words(list []int64) string { return strings.Trim(fmt.Sprint(list), "[]") }
