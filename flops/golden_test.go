package flops_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/blocks"
	"github.com/gonatten/gonatten/nn"
)

// counts are MACs by fvcore under one convention.
type counts struct {
	Total      int64            `json:"total"`
	ByOperator map[string]int64 `json:"by_operator"`
	ByModule   map[string]int64 `json:"by_module"`
}

// golden is a count by fvcore, see testdata.
type golden struct {
	Name       string         `json:"name"`
	Input      []int64        `json:"input"`
	Parameters int64          `json:"parameters"`
	N0175      counts         `json:"natten_0_17_5"`
	N0151      counts         `json:"natten_0_15_1"`
	Uncounted  map[string]int `json:"uncounted_operator_calls"`
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// ourName is our name of an operator that fvcore calls by NATTEN's autograd function.
func ourName(fvcore string) string {
	name, ok := strings.CutPrefix(fvcore, "PythonOp.NeighborhoodAttention")
	if !ok {
		return fvcore
	}
	rank, kind := name[:1], strings.TrimSuffix(name[2:], "AutogradFunction")
	return "na" + rank + "d_" + strings.ToLower(kind)
}

// requireCounts compares operator by operator and module by module.
func requireCounts(t *testing.T, want counts, r *flops.Report) {
	t.Helper()
	require.Equal(t, want.Total, r.MACs, "total")
	got := map[string]int64{}
	for _, op := range r.Operators {
		if op.MACs != 0 {
			got[op.Name] = op.MACs
		}
	}
	named := map[string]int64{}
	for name, n := range want.ByOperator {
		named[ourName(name)] = n
	}
	require.Equal(t, named, got, "by operator")
	for name, n := range want.ByModule {
		if m := r.Module(name); m != nil {
			require.Equal(t, n, m.MACs, "module %q", name)
		} else {
			require.Zero(t, n, "module %q is missing", name)
		}
	}
	require.Empty(t, r.Unsupported)
}

// module is a function as a module.
type module func(s *torch.Scope, x *ts.Tensor) *ts.Tensor

func (m module) Apply(x *ts.Tensor, _ bool) (*ts.Tensor, error) {
	s := torch.NewScope()
	defer s.Close()
	return s.Return(m(s, x))
}

var adaptivePool = torch.NewOp("aten::adaptive_avg_pool1d")

// modules build the modules of testdata/flops.json.
var modules = map[string]func(path *gotchnn.Path) (nn.Layer, error){
	"linear": func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewLinear(p, 16, 32, nn.LinearConfig{}) },
	"linear_no_bias": func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewLinear(p, 16, 32, nn.LinearConfig{NoBias: true})
	},
	"conv_3x3_s2": func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewConv2d(p, 3, 8, 3, nn.Conv2dConfig{Stride: 2, Padding: 1})
	},
	"conv_4x4_s4": func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewConv2d(p, 3, 12, 4, nn.Conv2dConfig{Stride: 4})
	},
	"conv_no_bias": func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewConv2d(p, 6, 12, 3, nn.Conv2dConfig{Stride: 2, Padding: 1, NoBias: true})
	},
	"layernorm": func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewLayerNorm(p, 16) },
	"layernorm_not_affine": func(*gotchnn.Path) (nn.Layer, error) {
		return module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
			return s.LayerNorm(x, []int64{16}, nil, nil, 1e-5)
		}), nil
	},
	"gelu": func(*gotchnn.Path) (nn.Layer, error) { return module((*torch.Scope).GELU), nil },
	"softmax": func(*gotchnn.Path) (nn.Layer, error) {
		return module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor { return s.Softmax(x, -1) }), nil
	},
	"avgpool1d": func(*gotchnn.Path) (nn.Layer, error) {
		return module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor { return s.Op(adaptivePool, x, []int64{1}) }), nil
	},
	"mlp":               func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewMLP(p, 16, 48, 0, nn.LinearConfig{}) },
	"conv_tokenizer":    func(p *gotchnn.Path) (nn.Layer, error) { return blocks.NewConvTokenizer(p, 3, 16, 4) },
	"conv_downsampler":  func(p *gotchnn.Path) (nn.Layer, error) { return blocks.NewConvDownsampler(p, 16) },
	"patch_merging_odd": func(p *gotchnn.Path) (nn.Layer, error) { return blocks.NewPatchMerging(p, 16, 0) },
	"patch_embed_pad":   func(p *gotchnn.Path) (nn.Layer, error) { return blocks.NewPatchEmbed(p, 3, 16, 4) },
	"mhsa_rpb": func(p *gotchnn.Path) (nn.Layer, error) {
		return blocks.NewGlobalAttention(p, blocks.BlockConfig{Dim: 32, NumHeads: 4, GlobalSize: 6})
	},
	"na1d":        newNA1D(nn.AttentionConfig{KernelSize: 7, Dilation: 2}),
	"na1d_padded": newNA1D(nn.AttentionConfig{KernelSize: 7, Dilation: 2}),
	"na1d_no_rpb": newNA1D(nn.AttentionConfig{KernelSize: 7, Dilation: 2, NoRPB: true}),
	"na2d":        newNA2D(nn.AttentionConfig{KernelSize: 5, Dilation: 2}),
	"na2d_padded": newNA2D(nn.AttentionConfig{KernelSize: 5, Dilation: 2}),
	"na3d": func(p *gotchnn.Path) (nn.Layer, error) {
		return nn.NewNeighborhoodAttention3D(p, 16, 2, nn.AttentionConfig{KernelSize: 3, KernelSizeD: 5})
	},
	"na2d_0175_causal": newCausal,
	"nat_layer": func(p *gotchnn.Path) (nn.Layer, error) {
		return blocks.NewBlock(p, blocks.BlockConfig{Dim: 32, NumHeads: 2, KernelSize: 3, Dilation: 2, MLPRatio: 3, LayerScale: 1e-5})
	},
}

func newNA1D(c nn.AttentionConfig) func(*gotchnn.Path) (nn.Layer, error) {
	return func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewNeighborhoodAttention1D(p, 32, 4, c) }
}

func newNA2D(c nn.AttentionConfig) func(*gotchnn.Path) (nn.Layer, error) {
	return func(p *gotchnn.Path) (nn.Layer, error) { return nn.NewNeighborhoodAttention2D(p, 32, 2, c) }
}

// newCausal is the 0.17.5 module with another kernel, dilation and mask on each axis.
func newCausal(p *gotchnn.Path) (nn.Layer, error) {
	proj, err := nn.NewLinear(p.Sub("proj"), 32, 32, nn.LinearConfig{})
	if err != nil {
		return nil, err
	}
	qkv, err := nn.NewLinear(p.Sub("qkv"), 32, 96, nn.LinearConfig{})
	return module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
		heads := s.Unbind(s.View(s.Own(qkv.Apply(x, false)), 1, 9, 7, 3, 2, 16), 3)
		y := s.Own(functional.NA2D(heads[0], heads[1], heads[2], functional.Options{
			KernelSize: []int64{3, 5}, Dilation: []int64{2, 1}, IsCausal: []bool{true, false},
		}))
		return s.Own(proj.Apply(s.Reshape(y, 1, 9, 7, 32), false))
	}), err
}

func TestGoldenModules(t *testing.T) {
	var file struct {
		Modules []golden `json:"modules"`
	}
	readJSON(t, "testdata/flops.json", &file)
	require.Len(t, file.Modules, len(modules))
	for _, g := range file.Modules {
		t.Run(g.Name, func(t *testing.T) {
			vs := gotchnn.NewVarStore(gotch.CPU)
			m, err := modules[g.Name](vs.Root())
			require.NoError(t, err)
			for _, r := range bothConventions(t, m, vs, g.N0175, g.N0151, g.Input...) {
				require.Equal(t, g.Parameters, r.Parameters)
			}
		})
	}
}

func TestGoldenModels(t *testing.T) {
	var file struct {
		Models []golden `json:"models"`
	}
	readJSON(t, "testdata/flops.json", &file)
	var configs map[string]struct {
		Family models.Family   `json:"family"`
		Kwargs json.RawMessage `json:"kwargs"`
	}
	readJSON(t, "testdata/models.json", &configs)
	for _, g := range file.Models {
		t.Run(g.Name, func(t *testing.T) {
			c, err := models.FromOfficial(configs[g.Name].Family, configs[g.Name].Kwargs)
			require.NoError(t, err)
			vs := gotchnn.NewVarStore(gotch.CPU)
			m, err := models.FromConfig(c, vs.Root())
			require.NoError(t, err)
			for _, r := range bothConventions(t, m, vs, g.N0175, g.N0151, g.Input...) {
				require.Equal(t, g.Uncounted["aten::gelu"], r.Uncounted["aten::gelu"])
				require.Empty(t, r.Uncalled)
			}
		})
	}
}

func TestGoldenZoo(t *testing.T) {
	type variant struct {
		Variant    string `json:"variant"`
		Parameters int64  `json:"parameters"`
		Resolution int64  `json:"resolution"`
		Image      []int64
		N0175      *counts `json:"natten_0_17_5"`
		N0151      counts  `json:"natten_0_15_1"`
		Published  *struct {
			GFLOPs float64 `json:"gflops"`
		}
	}
	var file struct {
		Variants map[string]variant `json:"variants"`
		Others   []variant          `json:"other_image_sizes"`
	}
	readJSON(t, "testdata/zoo.json", &file)
	for name, v := range file.Variants {
		v.Variant = name
		file.Others = append(file.Others, v)
	}
	for _, v := range file.Others {
		t.Run(v.Variant, func(t *testing.T) {
			if v.Image == nil {
				v.Image = []int64{v.Resolution, v.Resolution}
			}
			vs := gotchnn.NewVarStore(gotch.CPU)
			var m *models.Model
			require.NoError(t, torch.MakeOnMeta(func() (err error) {
				m, err = models.New(v.Variant, vs.Root())
				return err
			}))
			if v.N0175 == nil {
				r := count(t, m, vs, flops.NATTEN0175, 1, 3, v.Image[0], v.Image[1])
				require.Equal(t, v.Parameters, r.Parameters)
				return
			}
			for _, r := range bothConventions(t, m, vs, *v.N0175, v.N0151, 1, 3, v.Image[0], v.Image[1]) {
				if v.Parameters != 0 {
					require.Equal(t, v.Parameters, r.Parameters)
				}
			}
		})
	}
}

// Published figures are reproduced to their printed digit but for those that
// docs/flops.md explains.
func TestPublishedFigures(t *testing.T) {
	exceptions := map[string]float64{ // what is counted
		"dinat_s_small": 8.769, "dinat_s_base": 15.468, "nat_isotropic_base": 16.960, "dinat_isotropic_base": 16.960,
		"dinat_large": 30.525, "dinat_large_384_11x11": 92.282,
	}
	seen := 0
	for _, name := range models.List("") {
		v, _ := models.Lookup(name)
		if v.Published.GMACs == 0 {
			continue
		}
		c, err := models.ConfigOf(name)
		require.NoError(t, err)
		vs := gotchnn.NewVarStore(torch.Meta.Gotch())
		m, err := models.FromConfig(c, vs.Root())
		require.NoError(t, err)
		counted := float64(count(t, m, vs, flops.NATTEN0175, 1, 3, c.ImageSize, c.ImageSize).MACs) / 1e9
		if want, ok := exceptions[name]; ok {
			require.InDelta(t, want, counted, 5e-4, name)
			require.NotEqual(t, fmt.Sprintf("%.1f", v.Published.GMACs), fmt.Sprintf("%.1f", counted), "%s is no exception", name)
		} else {
			require.Equal(t, fmt.Sprintf("%.1f", v.Published.GMACs), fmt.Sprintf("%.1f", counted), name)
		}
		seen++
	}
	require.Equal(t, 22, seen)
}

func bothConventions(t *testing.T, m nn.Layer, vs *gotchnn.VarStore, n0175, n0151 counts, input ...int64) []*flops.Report {
	t.Helper()
	a := count(t, m, vs, flops.NATTEN0175, input...)
	requireCounts(t, n0175, a)
	b := count(t, m, vs, flops.NATTEN0151, input...)
	requireCounts(t, n0151, b)
	require.Equal(t, a.FLOPs, b.FLOPs, "FLOPs do not depend on the convention")
	return []*flops.Report{a, b}
}

func count(t *testing.T, m any, vs *gotchnn.VarStore, c flops.Convention, input ...int64) *flops.Report {
	t.Helper()
	x, err := flops.Input(input...)
	require.NoError(t, err)
	defer x.MustDrop()
	r, err := flops.Count(m, x, flops.WithConvention(c), flops.WithVariables(vs))
	require.NoError(t, err)
	return r
}
