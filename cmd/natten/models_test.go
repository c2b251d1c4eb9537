package main

import (
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// savedModel writes a small DiNAT with random weights.
func savedModel(t *testing.T) (*models.Model, string) {
	t.Helper()
	m, err := models.FromConfig(models.Config{Family: models.DiNAT, ImageSize: 64, EmbedDim: 16, Depths: []int64{2, 1},
		NumHeads: []int64{1, 2}, KernelSize: 3, Dilations: [][]int64{{1, 5}, {2}}, NumClasses: 3}, gotchnn.NewVarStore(gotch.CPU).Root())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "m.safetensors")
	require.NoError(t, m.Save(path, models.SaveOptions{Classes: []string{"cat", "dog", "emu"}}))
	return m, path
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// Every way through layouts and formats comes back to the same bytes.
func TestConvertRoundTrips(t *testing.T) {
	_, start := savedModel(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) {
		_, stderr, code := natten(t, append([]string{"convert"}, args...)...)
		require.Zero(t, code, stderr)
	}
	run(start, at("a.pth"))
	run(start, at("hf"), "--to", "hf")
	run(at("hf"), at("b.pth"))
	require.Equal(t, contents(t, at("a.pth")), contents(t, at("b.pth")), "official, HuggingFace, official")
	run(at("a.pth"), at("c.safetensors"))
	run(at("c.safetensors"), at("d.pth"))
	require.Equal(t, contents(t, at("a.pth")), contents(t, at("d.pth")), ".pth, safetensors, .pth")
	run(at("hf"), at("again.safetensors"))
	stdout, stderr, code := natten(t, "info", at("again.safetensors"), "--json")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, `"dilations"`, "what the folder said of the model went along")

	stdout, _, code = natten(t, "convert", at("a.pth"), at("e.safetensors"), "--json")
	require.Zero(t, code)
	var said convertResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &said))
	require.Equal(t, 52, said.Tensors)
	require.Equal(t, "torch", said.InFormat)

	for _, bad := range [][]string{
		{at("a.pth"), at("x"), "--to", "hf"},                        // which model?
		{at("a.pth"), at("x"), "--to", "hf", "--model", "nat_mini"}, // not this one
		{at("a.pth"), at("a.pth")},
		{at("nothing"), at("x")},
		{start, at("x"), "--to", "timm"},
	} {
		_, stderr, code := natten(t, append([]string{"convert"}, bad...)...)
		require.Equal(t, 1, code, bad)
		require.NotEmpty(t, stderr)
		require.NoFileExists(t, at("x"))
	}
}

func TestInfoOfAModel(t *testing.T) {
	stdout, stderr, code := natten(t, "info", "nat_mini", "--json")
	require.Zero(t, code, stderr)
	var r architecture
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.EqualValues(t, 19984174, r.Parameters)
	require.EqualValues(t, 2711119872, r.MACs)
	require.Equal(t, 253, r.Tensors)
	parameters, macs := int64(0), int64(0)
	for _, row := range r.Rows {
		parameters, macs = parameters+row.Parameters, macs+row.MACs
	}
	require.Equal(t, r.Parameters, parameters, "the parts are the whole")
	require.InDelta(t, r.MACs, macs, 1, "but for what stands between the parts")
	require.Equal(t, []int64{7, 7, 512}, []int64{r.Rows[7].Height, r.Rows[7].Width, r.Rows[7].Dim})

	stdout, _, code = natten(t, "info", "dinat_s_large_384")
	require.Zero(t, code)
	require.Contains(t, stdout, "1 13 ")
	require.Contains(t, stdout, "published: 197M parameters, 101.5 GMACs at 384")
	stdout, _, code = natten(t, "info", "nat_mini", "--size", "256x192")
	require.Zero(t, code)
	require.Contains(t, stdout, "64x48")
	require.Contains(t, stdout, " 2689.3", "golden: 2,689,265,664")
	_, stderr, code = natten(t, "info", "nat_maxi")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, `there is no variant "nat_maxi"; there are nat_mini, `)
}

func TestExportedScriptAgrees(t *testing.T) {
	m, path := savedModel(t)
	out := filepath.Join(t.TempDir(), "m.pt")
	stdout, stderr, code := natten(t, "export", "--checkpoint", path, out)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "traced at 64x64")
	script, err := ts.ModuleLoad(out)
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	images := s.Randn([]int64{2, 3, 64, 64}, gotch.Float, torch.CPU)
	want, err := torch.Slice[float64](s.Own(m.Apply(images, false)))
	require.NoError(t, err)
	got, err := torch.Slice[float64](s.Own(script.ForwardTs([]*ts.Tensor{images})))
	require.NoError(t, err)
	require.InDeltaSlice(t, want, got, 1e-5)
}

func TestPredictDrawsAttention(t *testing.T) {
	_, path := savedModel(t)
	picture := filepath.Join(folder(t), "val", "dark", "0.png")
	out := filepath.Join(t.TempDir(), "a.png")
	stdout, stderr, code := natten(t, "predict", "--checkpoint", path, "--attention", out, "--at", "0.2,0.9", picture)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "emu")
	f, err := os.Open(out)
	require.NoError(t, err)
	defer f.Close()
	drawn, err := png.Decode(f)
	require.NoError(t, err)
	require.Equal(t, 3*(224+18+8)+8, drawn.Bounds().Dy(), "the picture and two levels")

	_, stderr, code = natten(t, "predict", "--checkpoint", path, "--attention", out, "--at", "here", picture)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, `--at is "here", want ROW,COLUMN`)
	_, stderr, code = natten(t, "predict", "--checkpoint", path, "--attention", out, picture, picture)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "--attention draws one picture, 2 are given")
}

// A file in the published form: weights alone. Its model has to be named, its
// classes are ImageNet's.
func TestPublishedForm(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nat_mini.pth")
	m, err := models.New("nat_mini", gotchnn.NewVarStore(gotch.CPU).Root())
	require.NoError(t, err)
	require.NoError(t, m.Save(path, models.SaveOptions{}))
	picture := filepath.Join(folder(t), "val", "dark", "0.png")
	for _, command := range [][]string{{"predict", "--checkpoint", path, picture}, {"info", path}, {"eval", "--checkpoint", path},
		{"export", "--checkpoint", path, filepath.Join(dir, "x.pt")}, {"convert", path, filepath.Join(dir, "hf"), "--to", "hf"},
		{"flops", path}} {
		_, stderr, code := natten(t, command...)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "it fits nat_mini, dinat_mini (name it with --model)")
	}
	stdout, stderr, code := natten(t, "predict", "--json", "--checkpoint", path, "--model", "nat_mini", picture)
	require.Zero(t, code, stderr)
	var predicted struct {
		Pictures []struct {
			Guesses []struct {
				Class int
				Name  string
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &predicted))
	require.Len(t, predicted.Pictures[0].Guesses, 5)
	for _, guess := range predicted.Pictures[0].Guesses {
		require.Equal(t, data.ImageNetClasses()[guess.Class], guess.Name)
	}
	stdout, _, code = natten(t, "info", path, "--model", "dinat_mini")
	require.Zero(t, code)
	require.Contains(t, stdout, "dinat_mini (DiNAT)")
	_, stderr, code = natten(t, "convert", path, filepath.Join(dir, "x.onnx"))
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "want a name that ends in .safetensors, .pth, .pt or .bin")
}
