package verify

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/nn"
)

// modelFolder is one model's reference: a configuration, weights in one or more
// formats, io.safetensors and grads.json.
type modelFolder struct {
	dir, name string // "models/nat_a"
	hf        bool   // the configuration and the gradients' names are transformers'
	weights   string // the file that is run in every place
	others    []string
}

// classifiers makes the jobs of models/, which has an index.
func classifiers(dir string, places []place) (jobs []job, skipped []string) {
	var index struct {
		Models []struct {
			Name  string   `json:"name"`
			Files []string `json:"files"`
		} `json:"models"`
	}
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		return []job{broken("models/index.json", err)}, nil
	}
	if len(index.Models) == 0 {
		return []job{broken("models/index.json", fmt.Errorf("lists no models"))}, nil
	}
	listed := []string{"index.json"}
	for _, m := range index.Models {
		if !plainName(m.Name) {
			jobs = append(jobs, broken("models/index.json", fmt.Errorf("name is %q, want one without folders", m.Name)))
			continue
		}
		listed = append(listed, m.Name)
		f := modelFolder{dir: filepath.Join(dir, m.Name), name: "models/" + m.Name, weights: "weights.safetensors"}
		for _, file := range m.Files {
			if file != f.weights && strings.Contains(file, ".pth") {
				f.others = append(f.others, file)
			}
		}
		jobs = append(jobs, f.jobs(places)...)
	}
	return jobs, unlisted(dir, listed)
}

// transformers makes the jobs of hf/, where every folder is a model.
func transformers(dir string, places []place) (jobs []job, skipped []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []job{broken("hf", err)}, nil
	}
	found := false
	for _, entry := range entries {
		if !entry.IsDir() {
			skipped = append(skipped, "hf/"+entry.Name()+": not a folder")
			continue
		}
		found = true
		f := modelFolder{dir: filepath.Join(dir, entry.Name()), name: "hf/" + entry.Name(), hf: true, weights: "model.safetensors"}
		if _, err := os.Stat(filepath.Join(f.dir, "pytorch_model.bin")); err == nil {
			f.others = append(f.others, "pytorch_model.bin")
		}
		jobs = append(jobs, f.jobs(places)...)
	}
	if !found {
		jobs = append(jobs, broken("hf", fmt.Errorf("has no models")))
	}
	return jobs, skipped
}

// jobs are one whole run for each place in float32 or float64, and for every
// other file of weights the logits alone, in the first of them.
func (f modelFolder) jobs(places []place) (jobs []job) {
	first := true
	for _, p := range places {
		if p.low() {
			continue
		}
		jobs = append(jobs, job{fmt.Sprintf("%s %v", f.name, p), func(m *meter) error { return f.verify(m, f.weights, p, true) }})
		if first {
			for _, file := range f.others {
				jobs = append(jobs, job{fmt.Sprintf("%s %s %v", f.name, file, p), func(m *meter) error { return f.verify(m, file, p, false) }})
			}
			first = false
		}
	}
	return jobs
}

// build makes the model of the folder's configuration.
func (f modelFolder) build(path *gotchnn.Path) (*models.Model, error) {
	if f.hf {
		m, _, _, err := models.Open(f.dir, path, nil)
		return m, err
	}
	var config struct {
		Family models.Family   `json:"family"`
		Kwargs json.RawMessage `json:"kwargs"`
	}
	if err := readJSON(filepath.Join(f.dir, "config.json"), &config); err != nil {
		return nil, err
	}
	c, err := models.FromOfficial(config.Family, config.Kwargs)
	if err != nil {
		return nil, err
	}
	return models.FromConfig(c, path)
}

// modelIO is io.safetensors.
type modelIO struct {
	*reference
	features []string
}

// readIO opens io.safetensors. Feature maps are optional, the rest is not.
func (f modelFolder) readIO() (*modelIO, error) {
	file, err := checkpoint.OpenSafetensors(filepath.Join(f.dir, "io.safetensors"))
	if err != nil {
		return nil, err
	}
	io := &modelIO{reference: &reference{file: file, tensor: map[string]*checkpoint.Tensor{}}}
	stored := map[string]checkpoint.DType{"image": checkpoint.F32, "label": checkpoint.I64, "logits": checkpoint.F64, "grad_image": checkpoint.F32}
	for name, t := range file.Tensors.All() {
		dtype, known := stored[name]
		if strings.HasPrefix(name, "feature.") {
			dtype, known = checkpoint.F32, true
			io.features = append(io.features, name)
		}
		if !known || t.DType() != dtype {
			file.Close()
			return nil, fmt.Errorf("io.safetensors: unexpected tensor %s %v", name, t)
		}
		io.tensor[name] = t
		delete(stored, name)
	}
	for name := range stored {
		file.Close()
		return nil, fmt.Errorf("io.safetensors: tensor %s is missing", name)
	}
	return io, nil
}

// modelLimits are those of a place: of the logits and the loss, of feature
// maps, and of gradients.
func modelLimits(p place) (logits, features, gradients limit) {
	if p.dtype == gotch.Float {
		return limit{largest: 1e-5}, limit{largest: 1e-5}, limit{largest: 1e-4}
	}
	return limit{largest: 1e-9}, limit{largest: 2e-7}, limit{largest: 1e-6}
}

// verify runs the model with the weights of one file. whole asks for feature
// maps and gradients, too.
func (f modelFolder) verify(m *meter, weights string, p place, whole bool) error {
	store := gotchnn.NewVarStore(p.device.Gotch())
	defer store.Destroy()
	model, err := f.build(store.Root())
	if err != nil {
		return err
	}
	options := &models.LoadOptions{Match: checkpoint.MatchOptions{Strict: true}}
	if _, err := model.LoadFile(filepath.Join(f.dir, weights), options); err != nil {
		return err
	}
	if err := model.ToDType(p.dtype); err != nil {
		return err
	}
	io, err := f.readIO()
	if err != nil {
		return err
	}
	defer io.close()

	s := torch.NewScope()
	defer s.Close()
	image := io.load(s, "image", p)
	s.RequiresGrad(image, whole)
	logits := s.Own(model.Apply(image, false))
	logitsLimit, _, _ := modelLimits(p)
	if err := compareTensor(m, s, io.reference, "logits", logits, logitsLimit); err != nil || !whole {
		return err
	}
	if err := features(m, s, io, model, image, p); err != nil {
		return err
	}
	return f.gradients(m, s, io, model, image, logits, p)
}

// compareTensor compares a computed tensor with the one of that name in the file.
func compareTensor(m *meter, s *torch.Scope, r *reference, name string, got *ts.Tensor, l limit) error {
	if s.Err() != nil {
		return s.Err()
	}
	values, err := torch.Slice[float64](got)
	if err != nil {
		return err
	}
	want, err := r.values(name)
	if err != nil {
		return err
	}
	m.compare(name, values, want, l)
	return nil
}

// features compares what leaves the tokenizer and each level, or each block of
// an isotropic model, in channels-last layout.
func features(m *meter, s *torch.Scope, io *modelIO, model *models.Model, image *ts.Tensor, p place) error {
	if len(io.features) == 0 {
		return nil
	}
	stages, folder := []nn.Layer{}, "levels"
	if model.Config.Family == models.DiNATs || model.Config.Family == models.Isotropic {
		folder = "layers"
	}
	for _, level := range model.Levels {
		if model.Config.Family != models.Isotropic {
			stages = append(stages, level)
			continue
		}
		for _, block := range level.Blocks {
			stages = append(stages, block)
		}
	}
	_, l, _ := modelLimits(p)
	names := []string{"feature.patch_embed"}
	for i := range stages {
		names = append(names, fmt.Sprintf("feature.%s.%d", folder, i))
	}
	for _, name := range io.features {
		if !slices.Contains(names, name) {
			return fmt.Errorf("io.safetensors: the model has no %s", name)
		}
	}
	return torch.NoGrad(func() error {
		x := s.Own(model.PatchEmbed.Apply(image, false))
		for i, name := range names {
			if i > 0 {
				x = s.Own(stages[i-1].Apply(x, false))
			}
			if io.tensor[name] == nil {
				return fmt.Errorf("io.safetensors: tensor %s is missing", name)
			}
			if err := compareTensor(m, s, io.reference, name, x, l); err != nil {
				return err
			}
		}
		return nil
	})
}
