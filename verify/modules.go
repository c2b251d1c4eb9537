package verify

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/definition"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
)

// moduleCase is an entry of modules/index.json.
type moduleCase struct {
	File       string  `json:"file"`
	Rank       int     `json:"rank"`
	Batch      int64   `json:"batch"`
	Dim        int64   `json:"dim"`
	NumHeads   int64   `json:"num_heads"`
	Shape      []int64 `json:"shape"`
	KernelSize []int64 `json:"kernel_size"`
	Dilation   []int64 `json:"dilation"`
	RelPosBias bool    `json:"rel_pos_bias"`
	QKVBias    bool    `json:"qkv_bias"`
	Scale      float64 `json:"scale"`
	Padded     []int64 `json:"padded_shape"`
}

// layers makes the jobs of modules/.
func layers(dir string, places []place) (jobs []job, skipped []string) {
	var index struct {
		Cases []json.RawMessage `json:"cases"`
	}
	listed := []string{"index.json"}
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		jobs = append(jobs, broken("modules/index.json", err))
	} else if len(index.Cases) == 0 {
		jobs = append(jobs, broken("modules/index.json", fmt.Errorf("lists no cases")))
	}
	for i, text := range index.Cases {
		var c moduleCase
		if err := json.Unmarshal(text, &c); err != nil {
			jobs = append(jobs, broken(fmt.Sprintf("modules/index.json case %d", i), err))
			continue
		}
		listed = append(listed, c.File)
		for _, p := range places {
			jobs = append(jobs, job{fmt.Sprintf("modules/%s %v", trim(c.File), p), func(m *meter) error { return c.verify(m, dir, text, p) }})
		}
	}
	return jobs, unlisted(dir, listed)
}

// check looks for contradictions in the entry itself.
func (c *moduleCase) check() error {
	switch {
	case !plainName(c.File):
		return fmt.Errorf("file is %q, want a name without folders", c.File)
	case c.Rank < 1 || c.Rank > 3:
		return fmt.Errorf("rank is %d, want 1 to 3", c.Rank)
	case len(c.Shape) != c.Rank || len(c.KernelSize) != c.Rank || len(c.Dilation) != c.Rank || len(c.Padded) != c.Rank:
		return fmt.Errorf("shape, kernel_size, dilation and padded_shape have %d, %d, %d and %d entries, want rank %d",
			len(c.Shape), len(c.KernelSize), len(c.Dilation), len(c.Padded), c.Rank)
	}
	for i := max(c.Rank-2, 0); i < c.Rank; i++ {
		if c.KernelSize[i] != c.KernelSize[c.Rank-1] || c.Dilation[i] != c.Dilation[c.Rank-1] {
			return fmt.Errorf("kernel_size %v and dilation %v differ between height and width", c.KernelSize, c.Dilation)
		}
	}
	for i := range c.Shape {
		if want := max(c.Shape[i], c.KernelSize[i]*c.Dilation[i]); c.Padded[i] != want {
			return fmt.Errorf("padded_shape[%d] is %d, want %d", i, c.Padded[i], want)
		}
	}
	return nil
}

// parameters are the layer's parameters and their shapes.
func (c *moduleCase) parameters() map[string][]int64 {
	shapes := map[string][]int64{
		"qkv.weight": {3 * c.Dim, c.Dim}, "proj.weight": {c.Dim, c.Dim}, "proj.bias": {c.Dim},
	}
	if c.QKVBias {
		shapes["qkv.bias"] = []int64{3 * c.Dim}
	}
	if c.RelPosBias {
		shapes["rpb"] = []int64{c.NumHeads}
		for _, k := range c.KernelSize {
			shapes["rpb"] = append(shapes["rpb"], 2*k-1)
		}
	}
	return shapes
}

func (c *moduleCase) want() map[string][]int64 {
	want := map[string][]int64{}
	for name, shape := range c.parameters() {
		want["param."+name], want["grad."+name] = shape, shape
	}
	for _, name := range []string{"input", "output", "grad_input", "grad_output"} {
		want[name] = append(append([]int64{c.Batch}, c.Shape...), c.Dim)
	}
	return want
}

func (c *moduleCase) verify(m *meter, dir string, entry []byte, p place) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	file, err := open(filepath.Join(dir, c.File), c.want(), checkpoint.F32)
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
	exact, limits, err := c.expected(file, p)
	if err != nil {
		return err
	}
	found, err := c.run(file, p)
	if err != nil {
		return err
	}
	for name, got := range found {
		m.compare(name, got, exact[name], limits[name])
	}
	return nil
}

// expected are the right results and the limit for each.
func (c *moduleCase) expected(file *reference, p place) (exact results, limits map[string]limit, err error) {
	limits = map[string]limit{}
	if !p.low() {
		exact = results{}
		for name := range c.want() {
			if exact[name], err = file.values(name); err != nil {
				return nil, nil, err
			}
			limits[name] = p.limit(checkpoint.F32)
		}
		return exact, limits, nil
	}
	if exact, err = c.dense(file, p, gotch.Double); err != nil {
		return nil, nil, err
	}
	theirs, err := c.dense(file, p, p.dtype)
	if err != nil {
		return nil, nil, err
	}
	for name := range exact {
		limits[name] = halfLimit(p.dtype, theirs[name], exact[name])
	}
	return exact, limits, nil
}

// build makes the layer under test.
func (c *moduleCase) build(path *gotchnn.Path) (layer nn.Layer, parameters map[string]*ts.Tensor, err error) {
	last := c.Rank - 1
	config := nn.AttentionConfig{KernelSize: c.KernelSize[last], Dilation: c.Dilation[last],
		NoQKVBias: !c.QKVBias, NoRPB: !c.RelPosBias}
	// The default is tested by leaving it out.
	if math.Abs(c.Scale*math.Sqrt(float64(c.Dim)/float64(c.NumHeads))-1) > 1e-12 {
		config.QKScale = c.Scale
	}
	var qkv, proj *nn.Linear
	var rpb *ts.Tensor
	switch c.Rank {
	case 1:
		l, e := nn.NewNeighborhoodAttention1D(path, c.Dim, c.NumHeads, config)
		if err = e; err == nil {
			layer, qkv, proj, rpb = l, l.QKV, l.Proj, l.RPB
		}
	case 2:
		l, e := nn.NewNeighborhoodAttention2D(path, c.Dim, c.NumHeads, config)
		if err = e; err == nil {
			layer, qkv, proj, rpb = l, l.QKV, l.Proj, l.RPB
		}
	default:
		config.KernelSizeD, config.DilationD = c.KernelSize[0], c.Dilation[0]
		l, e := nn.NewNeighborhoodAttention3D(path, c.Dim, c.NumHeads, config)
		if err = e; err == nil {
			layer, qkv, proj, rpb = l, l.QKV, l.Proj, l.RPB
		}
	}
	if err != nil {
		return nil, nil, err
	}
	parameters = map[string]*ts.Tensor{"qkv.weight": qkv.Weight, "proj.weight": proj.Weight, "proj.bias": proj.Bias}
	if qkv.Bias != nil {
		parameters["qkv.bias"] = qkv.Bias
	}
	if rpb != nil {
		parameters["rpb"] = rpb
	}
	return layer, parameters, nil
}

// run computes the output and gradients through package nn.
func (c *moduleCase) run(file *reference, p place) (results, error) {
	store := gotchnn.NewVarStore(p.device.Gotch())
	defer store.Destroy()
	layer, parameters, err := c.build(store.Root())
	if err != nil {
		return nil, err
	}
	s := torch.NewScope()
	defer s.Close()
	if len(parameters) != len(c.parameters()) {
		return nil, fmt.Errorf("the layer has %d parameters, want %d", len(parameters), len(c.parameters()))
	}
	for name, parameter := range parameters {
		s.Call(opSetData, parameter, file.load(s, "param."+name, p))
	}
	return c.differentiate(s, file, p, p.dtype, parameters, func(x *ts.Tensor) *ts.Tensor {
		return s.Own(layer.Apply(x, false))
	})
}

var opSetData = torch.NewOp("aten::set_data")

// differentiate runs forward on the file's input and backward from its
// grad_output. The inputs are rounded to the place's dtype first, whatever the
// dtype of the computation.
func (c *moduleCase) differentiate(s *torch.Scope, file *reference, p place, dtype gotch.DType,
	parameters map[string]*ts.Tensor, forward func(*ts.Tensor) *ts.Tensor) (results, error) {
	x := s.To(file.load(s, "input", p), dtype)
	s.RequiresGrad(x, true)
	leaves := map[string]*ts.Tensor{"grad_input": x}
	for name, parameter := range parameters {
		leaves["grad."+name] = parameter
	}
	y := forward(x)
	if s.Err() == nil {
		s.Fail(torch.BackwardWith(y, s.To(file.load(s, "grad_output", p), dtype)))
	}
	found := results{}
	read := func(name string, t *ts.Tensor) {
		if s.Err() == nil {
			values, err := torch.Slice[float64](t)
			s.Fail(err)
			found[name] = values
		}
	}
	read("output", y)
	for name, leaf := range leaves {
		if s.Err() != nil {
			break
		}
		g := s.Own(torch.Grad(leaf))
		if g == nil {
			s.Fail(fmt.Errorf("%s: no gradient", name))
		}
		read(name, g)
	}
	return found, s.Err()
}

// dense computes the same by PyTorch's operators alone.
func (c *moduleCase) dense(file *reference, p place, dtype gotch.DType) (results, error) {
	s := torch.NewScope()
	defer s.Close()
	parameters := map[string]*ts.Tensor{}
	for name := range c.parameters() {
		parameters[name] = s.Clone(s.To(file.load(s, "param."+name, p), dtype))
		s.RequiresGrad(parameters[name], true)
	}
	var axes []definition.Axis
	pad := []int64{0, 0}
	for i := range c.Shape {
		axes = append(axes, definition.Axis{Length: int(c.Padded[i]), Kernel: int(c.KernelSize[i]), Dilation: int(c.Dilation[i])})
		j := c.Rank - 1 - i // constant_pad_nd counts axes from the last
		pad = append(pad, 0, c.Padded[j]-c.Shape[j])
	}
	d := newDense(s, axes, c.Scale, p.device)
	return c.differentiate(s, file, p, dtype, parameters, func(x *ts.Tensor) *ts.Tensor {
		h := s.Linear(s.Pad(x, pad...), parameters["qkv.weight"], parameters["qkv.bias"])
		heads := append(append([]int64{c.Batch}, c.Padded...), 3, c.NumHeads, c.Dim/c.NumHeads)
		qkv := s.Unbind(s.View(h, heads...), int64(c.Rank+1))
		if len(qkv) != 3 {
			return nil
		}
		for i := range qkv {
			qkv[i] = s.Movedim(qkv[i], -2, 1)
		}
		out, _ := d.attend(s, qkv[0], qkv[1], qkv[2], parameters["rpb"], dtype)
		out = s.Movedim(out, 1, -2)
		for i, length := range c.Shape {
			out = s.Narrow(out, int64(i+1), 0, length)
		}
		out = s.Reshape(out, append(append([]int64{c.Batch}, c.Shape...), c.Dim)...)
		return s.Linear(out, parameters["proj.weight"], parameters["proj.bias"])
	})
}
