package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// hfInfo is info.json of a golden HuggingFace folder.
type hfInfo struct {
	ModelType      string         `json:"model_type"`
	OfficialKwargs map[string]any `json:"official_kwargs"`
	// HFToOfficial gives the place of each tensor in the official layout: "name", "name[a:b]" for a range of rows, or
	// two names for two rows.
	HFToOfficial map[string][]string `json:"hf_to_official"`
}

var hfFolders = []string{"testdata/hf/hf_nat", "testdata/hf/hf_dinat_ls"}

func readInfo(t *testing.T, dir string) (info hfInfo) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "info.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &info))
	return info
}

// TestFromHuggingFace compares every tensor with the place that the golden file gives it.
func TestFromHuggingFace(t *testing.T) {
	rowRange := regexp.MustCompile(`^(.*)\[(\d+):(\d+)\]$`)
	for _, dir := range hfFolders {
		info := readInfo(t, dir)
		hf := open(t, dir, &Options{KeepLayout: true})
		require.Equal(t, LayoutOfficial, hf.Layout)
		c := open(t, dir, nil)
		require.Equal(t, LayoutHuggingFace, c.Layout)
		require.Equal(t, len(info.HFToOfficial), hf.Tensors.Len())
		covered := make(map[string]int64)
		for name, places := range info.HFToOfficial {
			want, ok := hf.Tensors.Get(name)
			require.True(t, ok, name)
			for i, place := range places {
				part := want
				if len(places) > 1 {
					part = must(want.rows(int64(i), int64(i+1), want.shape[1:]))
				}
				m := rowRange.FindStringSubmatch(place)
				if m == nil {
					got, ok := c.Tensors.Get(place)
					require.True(t, ok, place)
					require.True(t, part.Equal(got), place)
					covered[place] += got.NumBytes()
					continue
				}
				whole, ok := c.Tensors.Get(m[1])
				require.True(t, ok, place)
				begin, end := must(strconv.ParseInt(m[2], 10, 64)), must(strconv.ParseInt(m[3], 10, 64))
				require.True(t, part.Equal(must(whole.rows(begin, end, part.shape))), place)
				covered[m[1]] += part.NumBytes()
			}
		}
		for name, tensor := range c.Tensors.All() {
			require.Equal(t, tensor.NumBytes(), covered[name], name)
		}
	}
}

// TestHuggingFaceRoundTrips goes HuggingFace -> official -> HuggingFace and official -> HuggingFace -> official through
// files: names, order and bits stay.
func TestHuggingFaceRoundTrips(t *testing.T) {
	for _, dir := range hfFolders {
		info := readInfo(t, dir)
		hf := open(t, dir, &Options{KeepLayout: true})
		official, err := FromHuggingFace(hf.Tensors)
		require.NoError(t, err)
		back, err := ToHuggingFace(official, info.ModelType)
		require.NoError(t, err)
		requireSame(t, hf.Tensors, back)

		// The .bin file has the order of transformers' state dict, safetensors the alphabet's.
		bin := open(t, filepath.Join(dir, "pytorch_model.bin"), &Options{KeepLayout: true})
		requireSame(t, hf.Tensors, bin.Tensors)
		official, err = FromHuggingFace(bin.Tensors)
		require.NoError(t, err)
		back, err = ToHuggingFace(official, info.ModelType)
		require.NoError(t, err)
		require.Equal(t, bin.Tensors.Names(), back.Names())
	}
	for path, modelType := range map[string]string{
		"testdata/models/nat_ls_k7/weights.pth": "nat", "testdata/models/dinat_ls_k5/weights.safetensors": "dinat",
	} {
		in := open(t, path, nil)
		model := &ModelConfig{
			ModelType: modelType, EmbedDim: 16, MLPRatio: 2, Depths: []int{1, 2, 1}, NumHeads: []int{2, 2, 4},
			KernelSize: 7, QKVBias: true, LayerScale: 1e-5, InChans: 3, NumClasses: 10,
		}
		dir := filepath.Join(t.TempDir(), "model")
		require.NoError(t, SaveHuggingFace(dir, in.Tensors, model, map[string]string{"source": "test"}))
		out := open(t, dir, nil)
		require.Equal(t, LayoutHuggingFace, out.Layout)
		require.Equal(t, map[string]string{"format": "pt", "source": "test"}, out.Metadata)
		requireSame(t, in.Tensors, out.Tensors)
		got, err := out.Config.Model()
		require.NoError(t, err)
		if modelType == "dinat" {
			require.Equal(t, [][]int{{1}, {1, 1}, {1}}, got.Dilations)
			got.Dilations = nil
		}
		require.Equal(t, "LABEL_9", got.Labels[9])
		got.Labels = nil
		got.LayerNormEps = 0
		require.Equal(t, model, got)
	}
}

func TestHuggingFaceOfficialOrder(t *testing.T) {
	official := open(t, "testdata/models/dinat_ls_k5/weights_dataparallel.pth", nil) // torch.save keeps the order
	hf, err := ToHuggingFace(official.Tensors, "dinat")
	require.NoError(t, err)
	back, err := FromHuggingFace(hf)
	require.NoError(t, err)
	require.Equal(t, official.Tensors.Names(), back.Names())
}

func TestHFConfigGolden(t *testing.T) {
	for _, dir := range hfFolders {
		info := readInfo(t, dir)
		c := open(t, dir, nil)
		model, err := c.Config.Model()
		require.NoError(t, err)
		got := map[string]any{
			"embed_dim": model.EmbedDim, "mlp_ratio": model.MLPRatio, "depths": model.Depths, "num_heads": model.NumHeads,
			"kernel_size": model.KernelSize, "dilations": model.Dilations, "qkv_bias": model.QKVBias,
			"layer_scale": model.LayerScale, "num_classes": model.NumClasses,
		}
		if model.LayerScale == 0 {
			got["layer_scale"] = nil
		}
		want, err := json.Marshal(info.OfficialKwargs)
		require.NoError(t, err)
		have, err := json.Marshal(got)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(have))

		// Writing the configuration gives the golden file again, but for transformers' version and the name of classes.
		written, err := model.HFConfig()
		require.NoError(t, err)
		written.TransformersVersion = c.Config.TransformersVersion
		require.Equal(t, c.Config, written)
		golden, err := os.ReadFile(filepath.Join(dir, "config.json"))
		require.NoError(t, err)
		raw, err := json.Marshal(written)
		require.NoError(t, err)
		require.JSONEq(t, string(golden), string(raw))
	}
}

func TestHFConfigRejects(t *testing.T) {
	for text, want := range map[string]string{
		`{"model_type":"swin"}`:                             `model_type "swin" is neither`,
		`{"model_type":"nat","patch_size":8}`:               "patch_size 8",
		`{"model_type":"nat","hidden_act":"relu"}`:          `hidden_act "relu"`,
		`{"model_type":"nat","depths":[1]}`:                 "1 depths and 4 num_heads",
		`{"model_type":"nat","embed_dim":0}`:                "embed_dim 0",
		`{"model_type":"dinat"}`:                            "0 lists of dilations",
		`{"model_type":"nat","id2label":{"0":"a","7":"b"}}`: `number "7"`,
	} {
		c, err := ParseHFConfig([]byte(text))
		require.NoError(t, err, text)
		_, err = c.Model()
		require.ErrorContains(t, err, want, text)
	}
	_, err := ParseHFConfig([]byte(`{"depths":"many"}`))
	require.Error(t, err)
	for _, m := range []ModelConfig{
		{ModelType: "swin"},
		{ModelType: "nat", Depths: []int{1}, NumHeads: []int{1, 2}, EmbedDim: 8, NumClasses: 1},
		{ModelType: "nat", Depths: []int{1}, NumHeads: []int{1}, EmbedDim: 8, NumClasses: 2, Labels: []string{"a"}},
	} {
		_, err := m.HFConfig()
		require.Error(t, err)
	}
}

func TestHuggingFaceRejects(t *testing.T) {
	vec := must(FromFloat32s([]float32{1, 2}, 2))
	mat := must(FromFloat32s([]float32{1, 2, 3, 4}, 2, 2))
	const block = "nat.encoder.levels.0.layers.0."
	for name, c := range map[string]struct {
		set  map[string]*Tensor
		want string
	}{
		"unknown":        {map[string]*Tensor{"nat.encoder.levels.0.other": vec}, "has no counterpart"},
		"missing value":  {map[string]*Tensor{block + "attention.self.query.bias": vec}, "is missing"},
		"odd scale":      {map[string]*Tensor{block + "layer_scale_parameters": vec}, "[2,C]"},
		"other official": {map[string]*Tensor{"head.weight": vec}, "has no counterpart"},
	} {
		s := NewStateDict()
		for n, v := range c.set {
			s.Set(n, v)
		}
		_, err := FromHuggingFace(s)
		require.ErrorContains(t, err, c.want, name)
	}
	shapes := NewStateDict()
	for _, part := range []string{"query", "key", "value"} {
		shapes.Set(block+"attention.self."+part+".weight", mat)
	}
	shapes.Set(block+"attention.self.value.weight", vec)
	_, err := FromHuggingFace(shapes)
	require.ErrorContains(t, err, "do not join")

	for name, tensor := range map[string]*Tensor{
		"layers.0.blocks.0.norm1.weight":    vec, // DiNAT_s has no counterpart
		"levels.0.blocks.0.gamma1":          vec,
		"levels.0.blocks.0.attn.qkv.weight": mat, // two rows have no thirds
		"levels.0.blocks.0.attn.other":      vec,
		"patch_embed.other":                 vec,
	} {
		s := NewStateDict()
		s.Set(name, tensor)
		_, err := ToHuggingFace(s, "nat")
		require.ErrorContains(t, err, name)
	}
	_, err = ToHuggingFace(NewStateDict(), "swin")
	require.Error(t, err)
}

func TestSaveHuggingFaceLeavesNoEmptyFolder(t *testing.T) {
	in := open(t, "testdata/models/nat_ls_k7/weights.pth", nil)
	model := &ModelConfig{
		ModelType: "nat", EmbedDim: 16, MLPRatio: 2, Depths: []int{1, 2, 1}, NumHeads: []int{2, 2, 4},
		KernelSize: 7, QKVBias: true, LayerScale: 1e-5, InChans: 3, NumClasses: 10,
	}
	// So long that the folder has a path and the files in it have none.
	parent := t.TempDir()
	for len(parent) < 3900 {
		parent = filepath.Join(parent, strings.Repeat("d", 99))
	}
	require.NoError(t, os.MkdirAll(parent, 0o755))
	dir := filepath.Join(parent, strings.Repeat("d", 4090-len(parent)-1))
	require.ErrorIs(t, SaveHuggingFace(dir, in.Tensors, model, nil), syscall.ENAMETOOLONG)
	require.NoDirExists(t, dir)
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.ErrorIs(t, SaveHuggingFace(dir, in.Tensors, model, nil), syscall.ENAMETOOLONG)
	require.DirExists(t, dir, "it was there before")
}
