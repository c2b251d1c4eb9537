package models_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// small is a model that builds in milliseconds.
var small = models.Config{Family: models.DiNAT, EmbedDim: 16, Depths: []int64{1, 2}, NumHeads: []int64{1, 2}, KernelSize: 3,
	Dilations: [][]int64{{2}, {1, 3}}, NumClasses: 5, LayerScale: 1e-5}

func build(t *testing.T, c models.Config) *models.Model {
	t.Helper()
	m, err := models.FromConfig(c, gotchnn.NewVarStore(gotch.CPU).Root())
	require.NoError(t, err)
	return m
}

func stateOf(t *testing.T, m *models.Model) *checkpoint.StateDict {
	t.Helper()
	state, err := m.StateDict()
	require.NoError(t, err)
	return state
}

func TestSavedModelsAreRebuilt(t *testing.T) {
	m := build(t, small)
	classes := []string{"a", "b", "c", "d", "e"}
	want := stateOf(t, m)
	dir := t.TempDir()
	for _, o := range []models.SaveOptions{{Classes: classes}, {Classes: classes, Layout: checkpoint.LayoutHuggingFace}} {
		path := filepath.Join(dir, "model-"+string(o.Layout))
		require.NoError(t, m.Save(path, o))
		read, info, report, err := models.Open(path, gotchnn.NewVarStore(gotch.CPU).Root(), nil)
		require.NoError(t, err)
		require.True(t, report.Complete(), report)
		require.Equal(t, classes, info.Classes)
		require.Equal(t, int64(224), info.Preprocess.ImageSize)
		require.Equal(t, 0.875, info.Preprocess.CropPct)
		require.Equal(t, m.Config, read.Config)
		require.True(t, want.Equal(stateOf(t, read)))
		require.Equal(t, want.Names(), stateOf(t, read).Names())
	}
	path := filepath.Join(dir, "model.pth")
	require.NoError(t, m.Save(path, models.SaveOptions{}))
	read := build(t, small)
	report, err := read.LoadFile(path, nil)
	require.NoError(t, err)
	require.True(t, report.Complete(), report)
	require.True(t, want.Equal(stateOf(t, read)))
	_, _, _, err = models.Open(path, gotchnn.NewVarStore(gotch.CPU).Root(), nil)
	require.ErrorIs(t, err, models.ErrUnnamed)
	require.ErrorContains(t, err, "no known variant fits it")
}

func TestIdentifyGoesByShapes(t *testing.T) {
	m := build(t, models.Config{Name: "x", NumClasses: 4})
	require.Equal(t, []string{"nat_mini", "dinat_mini"}, models.Identify(stateOf(t, m)))
}

func TestHeadAndBiasMayDiffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.safetensors")
	old := build(t, small)
	require.NoError(t, old.Save(path, models.SaveOptions{}))

	changed := small
	changed.NumClasses, changed.KernelSize = 3, 5
	m := build(t, changed)
	head := stateOf(t, m)
	report, err := m.LoadFile(path, nil)
	require.NoError(t, err)
	require.Equal(t, "loaded 56 of 58 tensors; head re-initialised (5 -> 3 classes); 3 rpb resized bicubically (5x5 -> 9x9)", report.String())
	before, _ := head.Get("head.weight")
	after, _ := stateOf(t, m).Get("head.weight")
	require.True(t, before.Equal(after), "the head keeps its fresh initialisation")
	rpb, _ := stateOf(t, m).Get("levels.0.blocks.0.attn.rpb")
	source, _ := stateOf(t, old).Get("levels.0.blocks.0.attn.rpb")
	resized, err := checkpoint.ResizeCubic(source, 9, 9)
	require.NoError(t, err)
	require.True(t, resized.Equal(rpb))

	// In strict mode both are errors and nothing is touched.
	fresh := build(t, changed)
	untouched := stateOf(t, fresh)
	_, err = fresh.LoadFile(path, &models.LoadOptions{Match: checkpoint.MatchOptions{Strict: true}})
	require.ErrorContains(t, err, `"levels.0.blocks.0.attn.rpb": the file has shape [1,5,5], the model [1,9,9]`)
	require.True(t, untouched.Equal(stateOf(t, fresh)))

	// The same through Open, for fine-tuning.
	tuned, _, report, err := models.Open(path, gotchnn.NewVarStore(gotch.CPU).Root(), nil, models.WithNumClasses(9))
	require.NoError(t, err)
	require.Equal(t, int64(9), tuned.Config.NumClasses)
	require.Len(t, report.Reinitialised, 2)
}

func TestAveragedWeightsAreLoadedOnRequest(t *testing.T) {
	g := goldens(t)["nat_ls_k7"]
	const file = "../checkpoint/testdata/models/nat_ls_k7/checkpoint_timm.pth.tar"
	m := build(t, g.config)
	_, err := m.LoadFile(file, nil)
	require.NoError(t, err)
	trained := stateOf(t, m)
	report, err := m.LoadFile(file, &models.LoadOptions{Open: checkpoint.Options{UseEMA: true}})
	require.NoError(t, err)
	require.True(t, report.Complete())
	require.False(t, trained.Equal(stateOf(t, m)))
}

func TestOtherElementTypesAreConverted(t *testing.T) {
	m := build(t, small)
	state := checkpoint.NewStateDict()
	for name, tensor := range stateOf(t, m).All() {
		double, err := tensor.ToFloat(checkpoint.F64)
		require.NoError(t, err)
		state.Set(name, double)
	}
	path := filepath.Join(t.TempDir(), "double.pth")
	require.NoError(t, checkpoint.SaveTorch(path, state))
	read := build(t, small)
	report, err := read.LoadFile(path, nil)
	require.NoError(t, err)
	require.True(t, report.Complete())
	require.True(t, stateOf(t, m).Equal(stateOf(t, read)))
	for _, named := range read.Tensors() {
		info, err := torch.InfoOf(named.Tensor)
		require.NoError(t, err)
		require.Equal(t, gotch.Float, info.DType)
		require.True(t, info.RequiresGrad)
	}
}

// A configuration in a file may lie: it must not decide how much is allocated.
func TestConfigurationsMustDescribeTheFile(t *testing.T) {
	m := build(t, small)
	state := stateOf(t, m)
	for name, change := range map[string]func(*models.Config){
		"wide": func(c *models.Config) { c.EmbedDim, c.NumHeads = 1<<16, nil },
		"deep": func(c *models.Config) { c.Depths, c.Dilations = []int64{1 << 16, 1 << 16}, nil },
		"more": func(c *models.Config) { c.Depths, c.Dilations = []int64{1, 3}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := small
			change(&c)
			config, err := json.Marshal(c)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "liar.safetensors")
			require.NoError(t, checkpoint.SaveSafetensors(path, state, map[string]string{"gonatten.config": string(config)}))
			_, _, _, err = models.Open(path, gotchnn.NewVarStore(gotch.CPU).Root(), nil)
			require.ErrorContains(t, err, "liar.safetensors: configuration: ")
		})
	}
}

func TestConfigRoundTripsThroughJSON(t *testing.T) {
	for _, name := range models.List("") {
		c, err := models.ConfigOf(name)
		require.NoError(t, err)
		data, err := json.Marshal(c)
		require.NoError(t, err)
		var read models.Config
		require.NoError(t, json.Unmarshal(data, &read))
		require.Equal(t, c, read)
	}
	for _, bad := range []string{`{"family":"Swin"}`, `{"family":"NAT","depths":[0,1]}`, `{"family":"NAT","num_heads":[3,4,8,16]}`,
		`{"family":"NAT","drop_path_rate":1}`, `{"family":"NAT","stem_stride":3}`, `{"family":"NATIsotropic","num_heads":1.5}`,
		`{"family":"DiNAT","dilations":[[1]]}`, `{"family":"NAT","out_indices":[4]}`, `{"family":"NAT","embed_dim":-64}`,
		`{"family":"NAT","depths":[2,2],"dilation":2}`, `{"family":"NATIsotropic","depths":[1000000000000000000],"dilation":2}`} {
		_, err := models.FromJSON([]byte(bad), gotchnn.NewVarStore(gotch.CPU).Root())
		require.ErrorContains(t, err, "models: ", bad)
	}
}

// The extractor's parameters are those of the official detection backbone.
func TestFeatureExtractor(t *testing.T) {
	c := small
	c.OutIndices = []int64{0, 1}
	m := build(t, c)
	names := stateOf(t, m).Names()
	require.Equal(t, []string{"norm0.weight", "norm0.bias", "norm1.weight", "norm1.bias"}, names[len(names)-4:])

	// A classifier's file fits it but for the norms, and the maps are the
	// classifier's, normalised.
	path := filepath.Join(t.TempDir(), "c.safetensors")
	classifier := build(t, small)
	require.NoError(t, classifier.Save(path, models.SaveOptions{}))
	report, err := m.LoadFile(path, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"norm0.weight", "norm0.bias", "norm1.weight", "norm1.bias"}, report.Missing)
	s := torch.NewScope()
	defer s.Close()
	images := s.Randn([]int64{2, 3, 37, 50}, gotch.Float, torch.CPU) // any size
	maps, err := m.Features(images, false)
	require.NoError(t, err)
	plain, err := classifier.Features(images, false)
	require.NoError(t, err)
	require.Len(t, maps, 2)
	for _, f := range append(maps, plain...) {
		s.Own(f, nil)
	}
	require.Equal(t, []int64{2, 16, 10, 13}, maps[0].MustSize())
	require.Equal(t, []int64{2, 32, 5, 7}, maps[1].MustSize())
	last := s.Own(m.Apply(images, false))
	require.Equal(t, 0.0, distance(t, last, maps[1]))
	require.Less(t, distance(t, maps[1], plain[1]), 1e-6, "fresh norms are equal")
}

func TestFilesFromElsewhereAreErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pth")
	require.NoError(t, os.WriteFile(path, []byte("not a checkpoint"), 0o644))
	_, err := build(t, small).LoadFile(path, nil)
	require.ErrorContains(t, err, "x.pth")
	other := checkpoint.NewStateDict()
	tensor, err := checkpoint.FromFloat32s([]float32{1}, 1)
	require.NoError(t, err)
	other.Set("conv1.weight", tensor)
	require.NoError(t, checkpoint.SaveTorch(path, other))
	_, err = build(t, small).LoadFile(path, nil)
	require.ErrorContains(t, err, "another architecture?")
}

// A timm training checkpoint names its model in arch; one that does not fit the
// weights is no name.
func TestInfoFromArch(t *testing.T) {
	m, err := models.New("nat_nano_28", gotchnn.NewVarStore(gotch.CPU).Root(), models.With(func(c *models.Config) { c.NumClasses = 7 }))
	require.NoError(t, err)
	state, err := m.StateDict()
	require.NoError(t, err)
	c := &checkpoint.Checkpoint{Path: "x", Tensors: state, Extra: map[string]any{"arch": "nat_nano_28", "epoch": int64(3)}}
	info, err := models.InfoOf(c)
	require.NoError(t, err)
	require.Equal(t, "nat_nano_28", info.Config.Name)
	require.EqualValues(t, 7, info.Config.NumClasses)
	require.EqualValues(t, 28, info.Preprocess.ImageSize)
	for _, arch := range []any{"nat_mini", "resnet50", int64(5), nil} {
		c.Extra["arch"] = arch
		_, err = models.InfoOf(c)
		require.ErrorIs(t, err, models.ErrUnnamed)
	}
}
