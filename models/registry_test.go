package models_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// official is what the official code says of a variant (testdata/zoo.json).
type official struct {
	Family          models.Family   `json:"family"`
	Resolution      int64           `json:"resolution"`
	Parameters      int64           `json:"parameters"`
	Tensors         int             `json:"tensors"`
	KeyShapeSHA256  string          `json:"key_shape_sha256"`
	DropPath        []float64       `json:"drop_path_per_block"`
	EffectiveKwargs json.RawMessage `json:"effective_kwargs"`
	Published       *struct {
		ParamsM float64 `json:"params_m"`
		GFLOPs  float64 `json:"gflops"`
	} `json:"published"`
}

func readZoo(t *testing.T) map[string]official {
	t.Helper()
	data, err := os.ReadFile("testdata/zoo.json")
	require.NoError(t, err)
	zoo := map[string]official{}
	require.NoError(t, json.Unmarshal(data, &zoo))
	return zoo
}

// readKeys is the lines "name sizes dtype kind" in state dict order, by the
// checksum of their names and shapes.
func readKeys(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/keys.json.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	keys := map[string]string{}
	require.NoError(t, json.NewDecoder(z).Decode(&keys))
	return keys
}

// onMeta builds a model whose parameters have shapes and no memory.
func onMeta(t *testing.T, c models.Config) *models.Model {
	t.Helper()
	vs := gotchnn.NewVarStore(torch.Meta.Gotch())
	m, err := models.FromConfig(c, vs.Root())
	require.NoError(t, err)
	require.Equal(t, vs.Len(), len(m.Tensors()), "Tensors() shows every variable of the VarStore")
	return m
}

// keyLines writes a model's tensors as testdata/keys.json.gz does.
func keyLines(t *testing.T, m *models.Model) string {
	t.Helper()
	var b strings.Builder
	for _, named := range m.Tensors() {
		info, err := torch.InfoOf(named.Tensor)
		require.NoError(t, err)
		dtype, kind := "float32", "param"
		if info.DType == gotch.Int64 {
			dtype, kind = "int64", "buffer"
		}
		require.Equal(t, kind == "param", info.RequiresGrad, named.Name)
		fmt.Fprintf(&b, "%s %s %s %s\n", named.Name, joined(info.Shape), dtype, kind)
	}
	return b.String()
}

func joined(shape []int64) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(shape), "[]"), " ", ",")
}

func TestVariantsAreTheOfficialOnes(t *testing.T) {
	zoo, keys := readZoo(t), readKeys(t)
	for name, want := range zoo {
		t.Run(name, func(t *testing.T) {
			variant, ok := models.Lookup(name)
			require.True(t, ok)
			c, err := models.ConfigOf(name)
			require.NoError(t, err)
			require.Equal(t, want.Family, c.Family)
			require.Equal(t, want.Resolution, c.ImageSize)
			if want.Published != nil {
				require.Equal(t, want.Published.ParamsM, variant.Published.ParamsM)
				require.Equal(t, want.Published.GFLOPs, variant.Published.GMACs)
			}
			require.InDeltaSlice(t, want.DropPath, c.DropPathRates(), 1e-7)

			m := onMeta(t, c)
			parameters, err := m.NumParameters()
			require.NoError(t, err)
			require.Equal(t, want.Parameters, parameters)
			require.Len(t, m.Tensors(), want.Tensors)
			lines := keyLines(t, m)
			require.Equal(t, keys[want.KeyShapeSHA256], lines)
			require.Equal(t, want.KeyShapeSHA256, keyShapeSHA256(lines))

			// The official arguments give the same model.
			read, err := models.FromOfficial(want.Family, want.EffectiveKwargs)
			require.NoError(t, err)
			read.Name, read.ImageSize = c.Name, c.ImageSize
			require.Equal(t, c, read)
		})
	}
	for _, name := range models.List("") {
		if _, ok := zoo[name]; !ok {
			require.Equal(t, "nat_nano_28", name, "the only variant of this project's own")
		}
	}
}

// keyShapeSHA256 is over the lines "name sizes\n", sorted.
func keyShapeSHA256(lines string) string {
	var rows []string
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		rows = append(rows, fields[0]+" "+fields[1]+"\n")
	}
	slices.Sort(rows)
	sum := sha256.Sum256([]byte(strings.Join(rows, "")))
	return hex.EncodeToString(sum[:])
}

// reduced keeps a variant's structure at a size that runs in milliseconds.
func reduced(c *models.Config) {
	heads := int64(1)
	c.EmbedDim, c.KernelSize, c.NumClasses = 16, 3, 7
	c.NumHeads = nil
	for level, depth := range c.Depths {
		c.Depths[level] = min(depth, 2)
		c.NumHeads = append(c.NumHeads, heads<<level)
		if c.Dilations != nil {
			c.Dilations[level] = c.Dilations[level][:c.Depths[level]]
		}
	}
	c.ImageSize = 64
}

// step runs a variant forward and backward once and checks that everything
// trainable got a finite gradient.
func step(t *testing.T, name string, size int64, opts ...models.Option) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	m, err := models.New(name, vs.Root(), opts...)
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	require.NoError(t, torch.ManualSeed(1))
	images := s.Randn([]int64{2, m.Config.InChans, size, size}, gotch.Float, torch.CPU)
	labels := s.Own(torch.FromSlice([]int64{1, 3}, 2))
	logits := s.Own(m.Apply(images, true))
	loss := s.CrossEntropy(logits, labels, 0)
	require.NoError(t, s.Err())
	require.Equal(t, []int64{2, m.Config.NumClasses}, logits.MustSize())
	require.NoError(t, torch.Backward(loss))
	for _, named := range m.Tensors() {
		info, err := torch.InfoOf(named.Tensor)
		require.NoError(t, err)
		if !info.RequiresGrad {
			continue
		}
		grad, err := torch.Grad(named.Tensor)
		require.NoError(t, err)
		require.NotNil(t, grad, "%s has no gradient", named.Name)
		sum := s.Sum(s.Own(grad, nil))
		value, err := torch.Scalar(sum)
		require.NoError(t, err)
		require.False(t, value != value, "%s has a gradient that is not a number", named.Name)
	}
}

func TestEveryVariantTrainsAtReducedSize(t *testing.T) {
	for _, name := range models.List("") {
		t.Run(name, func(t *testing.T) {
			step(t, name, 64, models.With(reduced), models.WithDropPath(0))
		})
	}
}

func TestFullSizeModelsTrain(t *testing.T) {
	if testing.Short() {
		t.Skip("full-size models take seconds")
	}
	for _, name := range []string{"nat_mini", "dinat_s_tiny"} {
		t.Run(name, func(t *testing.T) { step(t, name, 224, models.WithDropPath(0)) })
	}
}

func TestListTakesPatterns(t *testing.T) {
	require.Equal(t, []string{"nat_mini", "dinat_mini"}, models.List("*nat_mini"))
	require.Len(t, models.List("dinat_s_*"), 6)
	_, err := models.New("nat_minii", gotchnn.NewVarStore(gotch.CPU).Root())
	require.ErrorContains(t, err, `models: New: there is no variant "nat_minii"; there are nat_mini, nat_tiny`)
	require.ErrorContains(t, err, "did you mean nat_mini?")
}

func TestModelsAreGotchModules(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	m, err := models.New("nat_nano_28", vs.Root())
	require.NoError(t, err)
	var module ts.ModuleT = m
	x := ts.MustZeros([]int64{1, 1, 28, 28}, gotch.Float, gotch.CPU)
	defer x.MustDrop()
	y := module.ForwardT(x, false)
	defer y.MustDrop()
	require.Equal(t, []int64{1, 10}, y.MustSize())
	bad := ts.MustZeros([]int64{1, 3, 28, 28}, gotch.Float, gotch.CPU)
	defer bad.MustDrop()
	_, err = m.Apply(bad, false)
	require.ErrorContains(t, err, "nn: Conv2d patch_embed.proj.0: ")
}
