package main

import (
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// flopsJSON runs natten flops and decodes its answer.
func flopsJSON[T any](t *testing.T, args ...string) T {
	t.Helper()
	var got T
	stdout, stderr, code := natten(t, append([]string{"flops", "--json", "--quiet"}, args...)...)
	require.Zero(t, code, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), &got), stdout)
	return got
}

type counted struct {
	Model, Convention   string
	Params, MACs, FLOPs int64
	Bytes               int64
	Activations         int64
	ByOperator          map[string]int64 `json:"by_operator"`
	ByModule            map[string]int64 `json:"by_module"`
	Unsupported         map[string]int
	Uncalled            []string
}

func TestFlopsOfAModel(t *testing.T) {
	r := flopsJSON[counted](t, "nat_mini")
	require.EqualValues(t, 2711119872, r.MACs, "fvcore's count")
	require.EqualValues(t, 19984174, r.Params)
	require.Equal(t, "natten-0.17.5", r.Convention)
	require.Equal(t, r.MACs, r.ByModule[""])
	require.Positive(t, r.ByModule["levels.0.blocks.0.attn"])
	require.Positive(t, r.ByOperator["na2d_qk"])
	require.NotNil(t, r.Unsupported)
	require.NotNil(t, r.Uncalled)
	require.Greater(t, r.FLOPs, 2*r.ByOperator["linear"])

	twice := flopsJSON[counted](t, "nat_mini", "--batch", "2")
	require.Equal(t, 2*r.MACs, twice.MACs)
	exact := flopsJSON[counted](t, "nat_mini", "--convention", "exact")
	require.Less(t, exact.MACs, r.MACs)
	require.Equal(t, r.FLOPs, exact.FLOPs)

	chart := filepath.Join(t.TempDir(), "nat_mini.png")
	stdout, stderr, code := natten(t, "flops", "nat_mini", "--depth", "2", "--chart", chart)
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "nat_mini: 2.711 GMACs (natten-0.17.5), ")
	require.Contains(t, stdout, "published: 2.7 GFLOPs, which are MACs\n")
	require.Contains(t, stdout, "no MACs by natten-0.17.5: aten::add")
	require.Regexp(t, `(?m)^na2d_qk +18 `, stdout)
	require.Regexp(t, `(?m)^    0 +`, stdout)
	require.NotContains(t, stdout, "      blocks")
	requirePicture(t, chart)

	stdout, _, _ = natten(t, "flops", "nat_mini", "--by", "operator")
	require.NotContains(t, stdout, "patch_embed")
	stdout, _, _ = natten(t, "flops", "nat_mini", "--by", "module")
	require.NotContains(t, stdout, "na2d_qk")
}

func requirePicture(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 300)
}

func TestFlopsTables(t *testing.T) {
	type row struct {
		Model         string
		Height, Width int64
		MACs          int64
		Kernel        int64   `json:"kernel_size"`
		IfDense       int64   `json:"macs_if_dense"`
		IfConvolution int64   `json:"macs_if_convolution"`
		Published     float64 `json:"published_gmacs"`
	}
	rows := flopsJSON[[]row](t, "dinat_s_*")
	require.Len(t, rows, 6)
	require.Equal(t, "dinat_s_tiny", rows[0].Model)
	require.EqualValues(t, 4509194496, rows[0].MACs)
	require.Equal(t, 4.5, rows[0].Published)

	chart := filepath.Join(t.TempDir(), "sizes.png")
	rows = flopsJSON[[]row](t, "nat_mini", "--size", "224,448x224", "--kernel", "7,9", "--chart", chart)
	require.Len(t, rows, 4)
	require.Equal(t, [2]int64{448, 224}, [2]int64{rows[2].Height, rows[2].Width})
	require.Greater(t, rows[1].MACs, rows[0].MACs, "a larger kernel costs more")
	require.Greater(t, rows[0].IfDense, rows[0].MACs)
	require.Greater(t, rows[0].IfConvolution, rows[0].IfDense, "at 224")
	// Neighborhood attention is linear in the picture's area, dense attention is not.
	require.InEpsilon(t, 2*float64(rows[0].MACs), float64(rows[2].MACs), 0.01)
	require.Greater(t, float64(rows[2].IfDense), 2.3*float64(rows[0].IfDense))
	requirePicture(t, chart)

	stdout, stderr, code := natten(t, "flops", "vitrpb_small", "nat_mini")
	require.Zero(t, code, stderr)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `^vitrpb_small +224x224 .* 4\.584 +4\.6 .* - +-$`, lines[2])
}

// A checkpoint and the script exported from it count alike, with the same names.
func TestFlopsOfFiles(t *testing.T) {
	folder := filepath.Join("..", "..", "checkpoint", "testdata", "hf", "hf_nat")
	weights := flopsJSON[counted](t, folder, "--size", "224")
	script := filepath.Join(t.TempDir(), "model.pt")
	_, stderr, code := natten(t, "export", "--checkpoint", folder, "--size", "224", script)
	require.Zero(t, code, stderr)
	for _, how := range [][]string{{"--size", "224"}, {"--input", "1x3x224x224:float32"}} {
		traced := flopsJSON[counted](t, append([]string{script}, how...)...)
		require.Equal(t, weights.MACs, traced.MACs)
		require.Equal(t, weights.ByOperator, traced.ByOperator)
		require.Equal(t, weights.Params, traced.Params)
		require.Equal(t, weights.ByModule["levels.0.blocks.0.attn.qkv"], traced.ByModule["levels.0.blocks.0.attn.qkv"])
	}
}

func TestFlopsErrors(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.pt")
	require.NoError(t, os.WriteFile(broken, []byte("nothing"), 0o666))
	for want, args := range map[string][]string{
		`there is no variant "nat_tiney"; there are nat_mini`:       {"nat_tiney"},
		`no model's name matches "swin*"`:                           {"swin*"},
		`--batch is 0, want at least 1`:                             {"nat_mini", "--batch", "0"},
		`--convention: flops: convention "fvcore" is none of exact`: {"nat_mini", "--convention", "fvcore"},
		`--size is "big", want a number`:                            {"nat_mini", "--size", "big"},
		`--by is "layer", want operator, module or all`:             {"nat_mini", "--by", "layer"},
		`--chart-kind is "pie"`:                                     {"nat_mini", "--chart-kind", "pie"},
		`--kernel is [-1], want 1 to 16384`:                         {"nat_mini", "--kernel", "-1"},
		`--dilation is [0], want 1 to 16384`:                        {"nat_mini", "--dilation", "0"},
		`is more than can be counted`:                               {"nat_mini", "--size", "100000000"},
		`nat_mini, dilation 16384 at 224x224, batch 1, is more`:     {"nat_mini", "--dilation", "16384"},
		`batch 99999999999999, is more`:                             {"nat_mini", "--batch", "99999999999999"},
		`--chart: x.txt: want a name that ends in`:                  {"nat_mini", "--chart", "x.txt"},
		`absent.pt: no such file or directory`:                      {"absent.pt"},
		`--kernel and --dilation do not apply to vitrpb_small`:      {"vitrpb_small", "--kernel", "3"},
		`--size is 224x192, want a square for vitrpb_small`:         {"vitrpb_small", "--size", "224x192"},
		`--input is for TorchScript files, nat_mini takes --size`:   {"nat_mini", "--input", "1x3x8x8"},
		`broken.pt: not a checkpoint of a known format`:             {broken},
		`requires at least 1 arg(s)`:                                {},
	} {
		stdout, stderr, code := natten(t, append([]string{"flops"}, args...)...)
		require.Equal(t, 1, code, "%v: %s", args, stdout)
		require.Contains(t, stderr, want)
		require.Empty(t, stdout)
	}
}
