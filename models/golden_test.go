package models_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/nn"
)

// golden is one reference model: where its numbers are, and every file that
// holds its weights.
type golden struct {
	folder  string
	weights []string
	config  models.Config // for files that do not say it
}

// goldens are the committed references. Those of checkpoint's tests are shared.
func goldens(t *testing.T) map[string]golden {
	t.Helper()
	const shared = "../checkpoint/testdata"
	list := map[string]golden{}
	for _, name := range []string{"nat_ls_k7", "dinat_ls_k5", "dinat_s_a", "nat_iso", "dinat_iso", "vitrpb"} {
		g := golden{folder: filepath.Join("testdata/golden/models", name)}
		for _, folder := range []string{g.folder, filepath.Join(shared, "models", name)} {
			files, err := filepath.Glob(filepath.Join(folder, "*[hr]*")) // weights*, checkpoint*
			require.NoError(t, err)
			for _, file := range files {
				switch filepath.Base(file) {
				case "weights.safetensors", "weights.pth", "weights_dataparallel.pth", "checkpoint_timm.pth.tar":
					g.weights = append(g.weights, file)
				}
			}
		}
		require.NotEmpty(t, g.weights, name)
		var description struct {
			Family models.Family   `json:"family"`
			Kwargs json.RawMessage `json:"kwargs"`
		}
		readJSON(t, filepath.Join(g.folder, "config.json"), &description)
		var err error
		g.config, err = models.FromOfficial(description.Family, description.Kwargs)
		require.NoError(t, err)
		list[name] = g
	}
	for _, name := range []string{"hf_nat", "hf_dinat_ls"} {
		old := filepath.Join(t.TempDir(), "bin") // a folder as transformers wrote them before safetensors
		require.NoError(t, os.Mkdir(old, 0o755))
		for _, file := range []string{"config.json", "pytorch_model.bin"} {
			data, err := os.ReadFile(filepath.Join(shared, "hf", name, file))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(old, file), data, 0o644))
		}
		list[name] = golden{folder: filepath.Join("testdata/golden/hf", name), weights: []string{filepath.Join(shared, "hf", name), old}}
	}
	return list
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// load builds the golden's model from one of its files.
func (g golden) load(t *testing.T, file string) *models.Model {
	t.Helper()
	vs := gotchnn.NewVarStore(gotch.CPU)
	if g.config.Family == "" {
		m, _, report, err := models.Open(file, vs.Root(), nil)
		require.NoError(t, err)
		require.True(t, report.Complete(), report)
		return m
	}
	m, err := models.FromConfig(g.config, vs.Root())
	require.NoError(t, err)
	report, err := m.LoadFile(file, &models.LoadOptions{Match: checkpoint.MatchOptions{Strict: true}})
	require.NoError(t, err)
	require.True(t, report.Complete(), report)
	return m
}

// input reads a tensor of the reference in a dtype.
func input(t *testing.T, s *torch.Scope, c *checkpoint.Checkpoint, name string, dtype gotch.DType) *ts.Tensor {
	t.Helper()
	tensor, ok := c.Tensors.Get(name)
	require.True(t, ok, name)
	if tensor.DType() == checkpoint.I64 {
		values, err := tensor.Int64s()
		require.NoError(t, err)
		return s.Own(torch.FromSlice(values, tensor.Shape()...))
	}
	values, err := tensor.Float64s()
	require.NoError(t, err)
	return s.To(s.Own(torch.FromSlice(values, tensor.Shape()...)), dtype)
}

// distance is the largest difference of two tensors.
func distance(t *testing.T, a, b *ts.Tensor) float64 {
	t.Helper()
	x, err := torch.Slice[float64](a)
	require.NoError(t, err)
	y, err := torch.Slice[float64](b)
	require.NoError(t, err)
	require.Len(t, x, len(y))
	worst := 0.0
	for i := range x {
		worst = math.Max(worst, math.Abs(x[i]-y[i]))
	}
	return worst
}

// TestLogitsAndGradientsAreTheReferences runs every reference model from each
// of its files, in float64 and float32. The float64 limits are tight enough to
// see a GELU by tanh (1e-4) or another norm epsilon (3e-6).
func TestLogitsAndGradientsAreTheReferences(t *testing.T) {
	limits := []struct {
		dtype            gotch.DType
		logits, gradient float64
	}{{gotch.Double, 1e-9, 1e-6}, {gotch.Float, 1e-5, 1e-4}}
	for name, g := range goldens(t) {
		for _, file := range g.weights {
			for _, limit := range limits {
				t.Run(name+"/"+filepath.Base(file)+"/"+limit.dtype.String(), func(t *testing.T) {
					m := g.load(t, file)
					require.NoError(t, m.ToDType(limit.dtype))
					compare(t, g.folder, m, limit.dtype, limit.logits, limit.gradient)
				})
			}
		}
	}
}

func compare(t *testing.T, folder string, m *models.Model, dtype gotch.DType, logitsLimit, gradientLimit float64) {
	io, err := checkpoint.OpenSafetensors(filepath.Join(folder, "io.safetensors"))
	require.NoError(t, err)
	defer io.Close()
	s := torch.NewScope()
	defer s.Close()
	images := input(t, s, io, "image", dtype)
	s.RequiresGrad(images, true)
	logits := s.Own(m.Apply(images, false))
	require.NoError(t, s.Err())
	require.LessOrEqual(t, distance(t, logits, input(t, s, io, "logits", gotch.Double)), logitsLimit, "logits")

	loss := s.CrossEntropy(logits, input(t, s, io, "label", gotch.Int64), 0)
	require.NoError(t, s.Err())
	require.NoError(t, torch.Backward(loss))
	var want struct {
		Loss  float64 `json:"loss"`
		Grads map[string]struct {
			Norm float64 `json:"norm"`
			Sum  float64 `json:"sum"`
		} `json:"grads"`
	}
	readJSON(t, filepath.Join(folder, "grads.json"), &want)
	value, err := torch.Scalar(loss)
	require.NoError(t, err)
	require.InDelta(t, want.Loss, value, logitsLimit, "loss")

	gradients := checkpoint.NewStateDict()
	for _, named := range m.Tensors() {
		if info, err := torch.InfoOf(named.Tensor); err != nil || !info.RequiresGrad {
			require.NoError(t, err)
			continue
		}
		grad := s.Own(torch.Grad(named.Tensor))
		require.NoError(t, s.Err(), named.Name)
		values, err := torch.Slice[float64](grad)
		require.NoError(t, err)
		g, err := checkpoint.FromFloat64s(values, grad.MustSize()...)
		require.NoError(t, err)
		gradients.Set(named.Name, g)
	}
	if strings.HasPrefix(filepath.Base(folder), "hf_") {
		gradients, err = checkpoint.ToHuggingFace(gradients, strings.ToLower(string(m.Config.Family)))
		require.NoError(t, err)
	}
	require.Equal(t, len(want.Grads), gradients.Len())
	for name, g := range gradients.All() {
		reference, ok := want.Grads[name]
		require.True(t, ok, name)
		norm, sum := l2AndSum(t, g)
		require.InDelta(t, reference.Norm, norm, gradientLimit*math.Max(1, reference.Norm), "norm of the gradient of %s", name)
		require.InDelta(t, reference.Sum, sum, 10*gradientLimit*math.Max(1, reference.Norm), "sum of the gradient of %s", name)
	}
	grad := s.Own(torch.Grad(images))
	require.LessOrEqual(t, distance(t, grad, input(t, s, io, "grad_image", gotch.Double)), gradientLimit, "gradient of the image")
}

func l2AndSum(t *testing.T, x *checkpoint.Tensor) (norm, sum float64) {
	t.Helper()
	values, err := x.Float64s()
	require.NoError(t, err)
	for _, v := range values {
		norm += v * v
		sum += v
	}
	return math.Sqrt(norm), sum
}

// TestFeatureMapsAreTheReferences compares what the tokenizer and each level
// (each block, where there is one level) give, and Features with both.
func TestFeatureMapsAreTheReferences(t *testing.T) {
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			m := g.load(t, g.weights[0])
			require.NoError(t, m.ToDType(gotch.Double))
			io, err := checkpoint.OpenSafetensors(filepath.Join(g.folder, "io.safetensors"))
			require.NoError(t, err)
			defer io.Close()
			s := torch.NewScope()
			defer s.Close()
			images := input(t, s, io, "image", gotch.Double)
			stages := []nn.Layer{m.PatchEmbed}
			names := []string{"patch_embed"}
			for i, level := range m.Levels {
				switch m.Config.Family {
				case models.Isotropic:
					for j, block := range level.Blocks {
						stages, names = append(stages, block), append(names, fmt.Sprintf("layers.%d", j))
					}
				case models.DiNATs:
					stages, names = append(stages, level), append(names, fmt.Sprintf("layers.%d", i))
				default:
					stages, names = append(stages, level), append(names, fmt.Sprintf("levels.%d", i))
				}
			}
			x := images
			for i, stage := range stages {
				x = s.Own(stage.Apply(x, false))
				require.NoError(t, s.Err())
				if io.Tensors.Has("feature." + names[i]) { // stored as float32
					require.Less(t, distance(t, x, input(t, s, io, "feature."+names[i], gotch.Double)), 2e-6, names[i])
				}
			}
			maps, err := m.Features(images, false)
			require.NoError(t, err)
			for _, f := range maps {
				s.Own(f, nil)
			}
			last := s.Permute(s.Own(m.Norm.Apply(x, false)), 0, 3, 1, 2)
			require.Equal(t, 0.0, distance(t, last, maps[len(maps)-1]))
			if m.Config.Family != models.Isotropic {
				require.Len(t, maps, len(m.Levels))
			}
		})
	}
}
