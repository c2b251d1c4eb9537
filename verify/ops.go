package verify

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/definition"
	"github.com/gonatten/gonatten/internal/torch"
)

// opCase is an entry of ops/index.json.
type opCase struct {
	File       string   `json:"file"`
	Rank       int      `json:"rank"`
	Batch      int64    `json:"batch"`
	Heads      int64    `json:"heads"`
	Shape      []int64  `json:"shape"`
	HeadDim    int64    `json:"head_dim"`
	KernelSize []int64  `json:"kernel_size"`
	Dilation   []int64  `json:"dilation"`
	IsCausal   []bool   `json:"is_causal"`
	HasRPB     bool     `json:"has_rpb"`
	Scale      float64  `json:"scale"`
	DType      string   `json:"dtype"`
	Tensors    []string `json:"tensors"`
}

// operators makes the jobs of ops/.
func operators(dir string, places []place) (jobs []job, skipped []string) {
	var index struct {
		Cases []json.RawMessage `json:"cases"`
	}
	listed := []string{"index.json", "windows.json", "rejected.json"}
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		jobs = append(jobs, broken("ops/index.json", err))
	} else if len(index.Cases) == 0 {
		jobs = append(jobs, broken("ops/index.json", fmt.Errorf("lists no cases")))
	}
	for i, text := range index.Cases {
		var c opCase
		if err := json.Unmarshal(text, &c); err != nil {
			jobs = append(jobs, broken(fmt.Sprintf("ops/index.json case %d", i), err))
			continue
		}
		listed = append(listed, c.File)
		for _, p := range places {
			jobs = append(jobs, job{fmt.Sprintf("ops/%s %v", trim(c.File), p), func(m *meter) error { return c.verify(m, dir, text, p) }})
		}
	}
	return append(jobs, tables(dir, places)...), append(skipped, unlisted(dir, listed)...)
}

// check looks for contradictions in the entry itself.
func (c *opCase) check() error {
	switch {
	case !plainName(c.File):
		return fmt.Errorf("file is %q, want a name without folders", c.File)
	case c.Rank < 1 || c.Rank > 3:
		return fmt.Errorf("rank is %d, want 1 to 3", c.Rank)
	case len(c.Shape) != c.Rank || len(c.KernelSize) != c.Rank || len(c.Dilation) != c.Rank || len(c.IsCausal) != c.Rank:
		return fmt.Errorf("shape, kernel_size, dilation and is_causal have %d, %d, %d and %d entries, want rank %d",
			len(c.Shape), len(c.KernelSize), len(c.Dilation), len(c.IsCausal), c.Rank)
	case c.DType != "F32" && c.DType != "F64":
		return fmt.Errorf("dtype is %q, want F32 or F64", c.DType)
	}
	return nil
}

// want are the file's tensors and their shapes.
func (c *opCase) want() map[string][]int64 {
	tensor := func(last int64) []int64 { return append(append([]int64{c.Batch, c.Heads}, c.Shape...), last) }
	slots, bias := int64(1), []int64{c.Heads}
	for _, k := range c.KernelSize {
		slots, bias = slots*k, append(bias, 2*k-1)
	}
	want := map[string][]int64{"logits": tensor(slots)}
	for _, name := range []string{"q", "k", "v", "dout", "out", "dq", "dk", "dv"} {
		want[name] = tensor(c.HeadDim)
	}
	if c.HasRPB {
		want["rpb"], want["drpb"] = bias, bias
	}
	return want
}

func (c *opCase) axes() []definition.Axis {
	var axes []definition.Axis
	for i := range c.Shape {
		axes = append(axes, definition.Axis{Length: int(c.Shape[i]), Kernel: int(c.KernelSize[i]),
			Dilation: int(c.Dilation[i]), Causal: c.IsCausal[i]})
	}
	return axes
}

func (c *opCase) verify(m *meter, dir string, entry []byte, p place) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	dtype, err := checkpoint.ParseDType(c.DType)
	if err != nil {
		return err
	}
	file, err := open(filepath.Join(dir, c.File), c.want(), dtype)
	if err != nil {
		return err
	}
	defer file.close()
	var index map[string]any
	if err := json.Unmarshal(entry, &index); err != nil {
		return err
	}
	if err := file.described(index); err != nil {
		return err
	}

	s := torch.NewScope()
	defer s.Close()
	in := inputs{q: file.load(s, "q", p), k: file.load(s, "k", p), v: file.load(s, "v", p), dout: file.load(s, "dout", p)}
	if c.HasRPB {
		in.rpb = file.load(s, "rpb", p)
	}
	if s.Err() != nil {
		return s.Err()
	}
	exact, limits, err := c.expected(file, in, p)
	if err != nil {
		return err
	}
	o := functional.Options{KernelSize: c.KernelSize, Dilation: c.Dilation, IsCausal: c.IsCausal, Scale: c.Scale}
	for _, layout := range []functional.Layout{functional.HeadsFirst, functional.HeadsLast} {
		for _, fuse := range []bool{true, false} {
			path := fmt.Sprintf("%s, %v", map[bool]string{true: "fused", false: "unfused"}[fuse], layout)
			found, err := in.run(layout, c.Rank, o, fuse)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			for name, got := range found {
				m.compare(name+", "+path, got, exact[name], limits[name])
			}
		}
	}
	return nil
}

// expected are the right results and the limit for each.
func (c *opCase) expected(file *reference, in inputs, p place) (exact results, limits map[string]limit, err error) {
	limits = map[string]limit{}
	if !p.low() {
		exact = results{}
		for name := range c.want() {
			if exact[name], err = file.values(name); err != nil {
				return nil, nil, err
			}
			limits[name] = p.limit(file.tensor[name].DType())
		}
		return exact, limits, nil
	}
	s := torch.NewScope()
	defer s.Close()
	d := newDense(s, c.axes(), c.Scale, p.device)
	if s.Err() != nil {
		return nil, nil, s.Err()
	}
	if exact, err = d.run(in, gotch.Double); err != nil {
		return nil, nil, err
	}
	theirs, err := d.run(in, p.dtype)
	if err != nil {
		return nil, nil, err
	}
	for name := range exact {
		limits[name] = halfLimit(p.dtype, theirs[name], exact[name])
	}
	return exact, limits, nil
}
