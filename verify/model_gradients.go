package verify

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// gradientsFile is grads.json.
type gradientsFile struct {
	Loss  float64 `json:"loss"`
	Grads map[string]struct {
		Shape  []int64 `json:"shape"`
		Sum    float64 `json:"sum"`
		Norm   float64 `json:"norm"`
		AbsMax float64 `json:"absmax"`
	} `json:"grads"`
}

// gradients compares the loss, the image's gradient, and of each parameter's
// gradient the norm, sum and largest magnitude; all elements where the folder
// has grads.safetensors.
func (f modelFolder) gradients(m *meter, s *torch.Scope, io *modelIO, model *models.Model, image, logits *ts.Tensor, p place) error {
	var want gradientsFile
	if err := readJSON(filepath.Join(f.dir, "grads.json"), &want); err != nil {
		return err
	}
	labels := io.load(s, "label", place{p.device, gotch.Int64})
	loss := s.CrossEntropy(logits, labels, 0)
	if s.Err() != nil {
		return s.Err()
	}
	value, err := torch.Scalar(loss)
	if err != nil {
		return err
	}
	logitsLimit, _, l := modelLimits(p)
	m.compare("loss", []float64{value}, []float64{want.Loss}, logitsLimit)
	if err := torch.Backward(loss); err != nil {
		return err
	}
	imageGradient := s.Own(torch.Grad(image))
	if imageGradient == nil {
		return fmt.Errorf("the image has no gradient")
	}
	if err := compareTensor(m, s, io.reference, "grad_image", imageGradient, l); err != nil {
		return err
	}
	found, err := f.collect(s, model)
	if err != nil {
		return err
	}
	if found.Len() != len(want.Grads) {
		return fmt.Errorf("the model has %d gradients, grads.json %d", found.Len(), len(want.Grads))
	}
	// Gradients that are next to nothing (that of a key's bias is zero in exact
	// arithmetic) are judged by a thousandth of the largest.
	floor := 0.0
	for _, g := range want.Grads {
		floor = max(floor, 1e-3*g.Norm)
	}
	for name, tensor := range found.All() {
		g, ok := want.Grads[name]
		if !ok {
			return fmt.Errorf("grads.json: %s is missing", name)
		}
		if !slices.Equal(g.Shape, tensor.Shape()) {
			return fmt.Errorf("grads.json: %s has shape %v, want %v", name, g.Shape, tensor.Shape())
		}
		values, err := tensor.Float64s()
		if err != nil {
			return err
		}
		sum, norm, largest := summary(values)
		m.number("norm of the gradient of "+name, norm, g.Norm, max(g.Norm, floor), l)
		m.number("largest gradient of "+name, largest, g.AbsMax, max(g.AbsMax, floor), l)
		m.number("sum of the gradient of "+name, sum, g.Sum, max(g.Norm, floor)*math.Sqrt(float64(len(values))), l)
	}
	return f.elements(m, found, l)
}

// collect are the parameters' gradients under the reference's names.
func (f modelFolder) collect(s *torch.Scope, model *models.Model) (*checkpoint.StateDict, error) {
	gradients := checkpoint.NewStateDict()
	for _, named := range model.Tensors() {
		info, err := torch.InfoOf(named.Tensor)
		if err != nil {
			return nil, err
		}
		if !info.RequiresGrad {
			continue
		}
		g := s.Own(torch.Grad(named.Tensor))
		if s.Err() != nil || g == nil {
			return nil, fmt.Errorf("%s has no gradient: %w", named.Name, s.Err())
		}
		values, err := torch.Slice[float64](g)
		if err != nil {
			return nil, err
		}
		tensor, err := checkpoint.FromFloat64s(values, info.Shape...)
		if err != nil {
			return nil, err
		}
		gradients.Set(named.Name, tensor)
	}
	if f.hf {
		return checkpoint.ToHuggingFace(gradients, strings.ToLower(string(model.Config.Family)))
	}
	return gradients, nil
}

// elements compares whole gradients with grads.safetensors, where there is one.
func (f modelFolder) elements(m *meter, found *checkpoint.StateDict, l limit) error {
	file, err := checkpoint.OpenSafetensors(filepath.Join(f.dir, "grads.safetensors"))
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if file.Tensors.Len() != found.Len() {
		return fmt.Errorf("grads.safetensors has %d tensors, want %d", file.Tensors.Len(), found.Len())
	}
	for name, want := range file.Tensors.All() {
		got, ok := found.Get(name)
		if !ok {
			return fmt.Errorf("grads.safetensors: unexpected tensor %s", name)
		}
		wantValues, err := want.Float64s()
		if err != nil {
			return err
		}
		gotValues, err := got.Float64s()
		if err != nil {
			return err
		}
		m.compare("gradient of "+name, gotValues, wantValues, l)
	}
	return nil
}

// summary is what grads.json says of a gradient.
func summary(values []float64) (sum, norm, largest float64) {
	for _, v := range values {
		sum, norm, largest = sum+v, norm+v*v, max(largest, math.Abs(v))
	}
	return sum, math.Sqrt(norm), largest
}
