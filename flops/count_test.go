package flops_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// net is somebody's model, written with gotch's nn alone.
type net struct {
	conv1, conv2 *gotchnn.Conv2D
	bn           *gotchnn.BatchNorm
	fc           *gotchnn.Linear
	spare        *gotchnn.Linear
}

func newNet(p *gotchnn.Path) *net {
	c := &gotchnn.Conv2DConfig{Stride: []int64{2, 2}, Padding: []int64{1, 1}, Dilation: []int64{1, 1}, Groups: 1, Bias: true,
		WsInit: gotchnn.NewKaimingUniformInit()}
	return &net{
		conv1: gotchnn.NewConv2D(p.Sub("conv1"), 3, 8, 3, c),
		conv2: gotchnn.NewConv2D(p.Sub("conv2"), 8, 16, 3, c),
		bn:    gotchnn.BatchNorm2D(p.Sub("bn"), 16, gotchnn.DefaultBatchNormConfig()),
		fc:    gotchnn.NewLinear(p.Sub("head").Sub("fc"), 16, 10, gotchnn.DefaultLinearConfig()),
		spare: gotchnn.NewLinear(p.Sub("spare"), 16, 10, gotchnn.DefaultLinearConfig()),
	}
}

func (n *net) ForwardT(x *ts.Tensor, train bool) *ts.Tensor {
	h := n.conv1.ForwardT(x, train).MustRelu(true)
	h2 := n.conv2.ForwardT(h, train)
	h.MustDrop()
	h3 := n.bn.ForwardT(h2, train)
	h2.MustDrop()
	h4 := h3.MustAdaptiveAvgPool2d([]int64{1, 1}, true).FlatView()
	y := n.fc.ForwardT(h4, train)
	h3.MustDrop()
	return y
}

func TestGotchModel(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	m := newNet(vs.Root())
	x := ts.MustRandn([]int64{2, 3, 32, 32}, gotch.Float, gotch.CPU)
	defer x.MustDrop()
	r, err := flops.Count(m, x, flops.WithVariables(vs), flops.WithName("net"))
	require.NoError(t, err)
	const conv1, conv2, fc = 2 * 16 * 16 * 8 * 27, 2 * 8 * 8 * 16 * 72, 2 * 16 * 10
	require.EqualValues(t, conv1+conv2+fc, r.MACs)
	require.EqualValues(t, conv1, r.Module("conv1").MACs)
	require.EqualValues(t, conv2, r.Module("conv2").MACs)
	require.EqualValues(t, fc, r.Module("head").MACs)
	require.EqualValues(t, fc, r.Module("head.fc").MACs)
	require.EqualValues(t, 2*16*64*2+6*16, r.Module("bn").FLOPs)
	require.EqualValues(t, 8*27+8+16*72+16+32+2*170, r.Parameters, "without the running statistics")
	require.EqualValues(t, 2*16*16*8+2*8*8*16+2*10, r.Activations)
	require.Equal(t, []string{"spare"}, r.Uncalled)
	require.Empty(t, r.Unsupported)

	// Without the store the names are those of the fields.
	r, err = flops.Count(m, x)
	require.NoError(t, err)
	require.EqualValues(t, conv2, r.Module("conv2").MACs)
	require.Equal(t, "*flops_test.net", r.Model)

	macs, err := flops.GetFLOPs(m, x)
	require.NoError(t, err)
	require.EqualValues(t, conv1+conv2+fc+2*2*16*64+2*16*64, macs, "batch_norm and pooling count, as in fvcore")
}

// Counting while training must not touch running statistics.
func TestCountLeavesTheModelAlone(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	m := newNet(vs.Root())
	before := m.bn.RunningMean.Float64Values()
	x, err := flops.Input(2, 3, 32, 32)
	require.NoError(t, err)
	defer x.MustDrop()
	_, err = flops.Count(m, x, flops.WithTraining())
	require.NoError(t, err)
	require.Equal(t, before, m.bn.RunningMean.Float64Values())
	require.False(t, m.bn.RunningMean.MustIsnan(false).MustAny(true).Int64Values()[0] != 0)
}

func TestConcurrentCounts(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	shared := newNet(vs.Root())
	names := []string{"nat_mini", "dinat_s_tiny", "nat_isotropic_small"}
	want := map[string]int64{"nat_mini": 2711119872, "dinat_s_tiny": 0, "nat_isotropic_small": 0}
	stores := map[string]*gotchnn.VarStore{}
	built := map[string]*models.Model{}
	for _, name := range names {
		stores[name] = gotchnn.NewVarStore(gotch.CPU)
		require.NoError(t, torch.MakeOnMeta(func() (err error) {
			built[name], err = models.New(name, stores[name].Root())
			return err
		}))
		r := count(t, built[name], stores[name], flops.NATTEN0175, 1, 3, 224, 224)
		if want[name] != 0 {
			require.Equal(t, want[name], r.MACs)
		}
		want[name] = r.MACs
	}
	var group sync.WaitGroup
	failures := make(chan string, 100)
	for i := range 16 {
		group.Go(func() {
			name := names[i%len(names)]
			x, err := flops.Input(1, 3, 224, 224)
			if err != nil {
				failures <- err.Error()
				return
			}
			defer x.MustDrop()
			r, err := flops.Count(built[name], x, flops.WithVariables(stores[name]), flops.WithConvention(flops.NATTEN0175))
			if err != nil || r.MACs != want[name] || len(r.Uncalled) > 0 {
				failures <- fmt.Sprint(name, err)
			}
			r, err = flops.Count(shared, x, flops.WithVariables(vs))
			if err != nil || r.Module("conv1").MACs != 112*112*8*27 {
				failures <- fmt.Sprint("net", err)
			}
		})
	}
	group.Wait()
	close(failures)
	for failure := range failures {
		t.Error(failure)
	}
}

var (
	opCumprod = torch.NewOp("aten::cummax")
	opMedian  = torch.NewOp("aten::median")
)

func TestUnknownOperator(t *testing.T) {
	m := module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
		return s.Add(s.Call(opCumprod, x, 0)[0].(*ts.Tensor), s.Op(opMedian, x))
	})
	x, err := flops.Input(4, 5)
	require.NoError(t, err)
	defer x.MustDrop()
	for _, c := range []flops.Convention{flops.Exact, flops.NATTEN0175} {
		r, err := flops.Count(m, x, flops.WithConvention(c))
		require.NoError(t, err)
		require.Equal(t, map[string]int{"aten::cummax": 1, "aten::median": 1}, r.Unsupported)
		require.Contains(t, r.String(), "NOT COUNTED, no formula known: the totals lack these operators: aten::cummax (1), aten::median (1)")
	}
	registry := flops.NewRegistry()
	registry.Handle("aten::cummax", func(op *flops.Op) flops.Cost {
		return flops.Cost{MACs: 1, FLOPs: op.Numel(0) * op.Int(1, -1) * 100, Label: "mine"}
	})
	registry.Handle("aten::median", nil)
	for _, c := range []flops.Convention{flops.Exact, flops.NATTEN0151} {
		r, err := flops.Count(m, x, flops.WithRegistry(registry), flops.WithConvention(c))
		require.NoError(t, err)
		require.Empty(t, r.Unsupported)
		require.EqualValues(t, 1, r.MACs)
		require.EqualValues(t, 1, r.Operator("mine").MACs)
	}
}

// Somebody's own counter learns NATTEN's operators.
func TestAddHandlers(t *testing.T) {
	registry := flops.NewRegistry()
	flops.AddHandlers(registry, flops.NATTEN0151)
	q := shape{1, 9, 2, 4}
	s := torch.NewScope()
	defer s.Close()
	arguments := materialise(s, []any{q, q, q, nil, ints(3), ints(1), []bool{true}})
	r, err := flops.CountFunc(func(...*ts.Tensor) error {
		inner := torch.NewScope()
		defer inner.Close()
		inner.Call(torch.NewOp("natten::na"), arguments...)
		return inner.Err()
	}, nil, flops.WithRegistry(registry))
	require.NoError(t, err)
	require.EqualValues(t, 9*2*3*(4+1), r.Operator("na1d_qk").MACs)
	require.EqualValues(t, 9*2*3*4, r.Operator("na1d_av").MACs)
}

func TestCountFails(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x, err := flops.Input(4, 5)
	require.NoError(t, err)
	defer x.MustDrop()
	_, err = flops.Count(42, x)
	require.EqualError(t, err, "flops: Count: model is a int, want a ts.Module, a ts.ModuleT or a type with Apply")

	cause := errors.New("too small")
	_, err = flops.Count(module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor { s.Fail(cause); return nil }), x, flops.WithName("m"))
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, "flops: Count: m: too small")
	_, err = flops.Count(module(func(*torch.Scope, *ts.Tensor) *ts.Tensor { panic(cause) }), x)
	require.ErrorIs(t, err, cause)
	require.Panics(t, func() {
		_, _ = flops.Count(module(func(*torch.Scope, *ts.Tensor) *ts.Tensor { var n *net; return n.fc.Ws }), x)
	})
	_, err = flops.Count(module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor { return s.Linear(x, x, nil) }), x)
	require.NoError(t, err, "an earlier panic left nothing behind")
	_, err = flops.Count(module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor { return s.Matmul(x, x) }), x)
	require.Error(t, err, "shapes are checked")
	image := s.Zeros([]int64{1, 1, 5, 5}, gotch.Float, torch.CPU)
	_, err = flops.Count(module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
		return s.Op(torch.NewOp("aten::conv2d"), x, s.Zeros([]int64{1, 1, 3, 3}, gotch.Float, torch.CPU), nil,
			[]int64{1, 0}, []int64{0, 0}, []int64{1, 1}, 1)
	}), image)
	require.ErrorContains(t, err, "stride is 0 on axis 1")
	for _, op := range []string{"aten::scaled_dot_product_attention", "aten::instance_norm"} {
		vector := s.Zeros([]int64{4}, gotch.Float, torch.CPU)
		_, err = flops.Count(module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
			if op == "aten::instance_norm" {
				return s.Op(torch.NewOp(op), x, nil, nil, nil, nil, true, 0.1, 1e-5, false)
			}
			return s.Op(torch.NewOp(op), x, x, x, nil, 0.0, false, nil, false)
		}), vector)
		require.ErrorContains(t, err, "has shape [4], want [", op)
	}
	_, err = flops.Count(module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
		return s.Op(torch.NewOp("aten::nonzero"), x)
	}), x)
	require.Error(t, err, "the shape depends on values")
	_, err = flops.CountFile("testdata/missing.pt", nil)
	require.ErrorContains(t, err, "flops: CountFile: testdata/missing.pt: ")
}

// A model and the script exported from it count alike, module by module, and a
// script of other origin is counted too.
func TestCountFile(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	m, err := models.FromConfig(models.Config{Family: models.DiNAT, ImageSize: 64, EmbedDim: 16, Depths: []int64{2, 1},
		NumHeads: []int64{1, 2}, KernelSize: 3, Dilations: [][]int64{{1, 5}, {2}}, NumClasses: 3}, vs.Root())
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "m.pt")
	require.NoError(t, m.Export(file, models.Info{}, 64, 64))
	want := count(t, m, vs, flops.NATTEN0175, 2, 3, 64, 64)
	x, err := flops.Input(2, 3, 64, 64)
	require.NoError(t, err)
	defer x.MustDrop()
	got, err := flops.CountFile(file, []*ts.Tensor{x}, flops.WithConvention(flops.NATTEN0175))
	require.NoError(t, err)
	require.Equal(t, "m.pt", got.Model)
	require.Equal(t, want.Totals.FLOPs, got.Totals.FLOPs)
	require.Equal(t, want.Operators, got.Operators)
	require.Equal(t, want.Parameters, got.Parameters)
	for _, module := range want.Modules() {
		require.Equal(t, module.MACs, got.Module(module.Name).MACs, module.Name)
	}

	y, err := flops.Input(1, 3, 8, 8)
	require.NoError(t, err)
	defer y.MustDrop()
	got, err = flops.CountFile("../checkpoint/testdata/python/script.pt", []*ts.Tensor{y})
	require.NoError(t, err)
	require.EqualValues(t, 6*6*4*27, got.Module("stem").MACs, "Conv2d(3, 4, 3)")
	require.EqualValues(t, 6*6*2*4, got.Module("body.1").MACs, "Conv2d(4, 2, 1)")
	_, err = flops.CountFile("../checkpoint/testdata/python/script.pt", nil)
	require.ErrorContains(t, err, "flops: CountFile: script.pt: ")
}

// A model that reads values is counted by computing.
func TestWithCompute(t *testing.T) {
	m := module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
		sum, err := torch.Scalar(s.Sum(x))
		s.Fail(err)
		if sum > 5 {
			return s.Add(x, x)
		}
		return x
	})
	x := ts.MustOnes([]int64{2, 5}, gotch.Float, gotch.CPU)
	defer x.MustDrop()
	r, err := flops.Count(m, x, flops.WithCompute())
	require.NoError(t, err)
	require.EqualValues(t, 9+10, r.FLOPs)
	_, err = flops.Count(m, x)
	require.Error(t, err)
}

// A mask made in the forward pass keeps its values while it meets only its like.
func TestConstantsKeepTheirValues(t *testing.T) {
	m := module(func(s *torch.Scope, x *ts.Tensor) *ts.Tensor {
		ones := s.Full([]int64{3}, 1, gotch.Float, torch.CPU)
		sum, err := torch.Scalar(s.Sum(s.MulScalar(ones, 2)))
		s.Fail(err)
		if sum != 6 {
			s.Fail(fmt.Errorf("sum is %v", sum))
		}
		return s.Mul(x, ones)
	})
	x, err := flops.Input(2, 3)
	require.NoError(t, err)
	defer x.MustDrop()
	r, err := flops.Count(m, x)
	require.NoError(t, err)
	require.EqualValues(t, 3+2+6, r.FLOPs)
}

func TestJSON(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	r := count(t, newNet(vs.Root()), vs, flops.NATTEN0175, 1, 3, 32, 32)
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var got struct {
		Model, Convention   string
		Params, MACs, FLOPs int64
		ByOperator          map[string]int64 `json:"by_operator"`
		ByModule            map[string]int64 `json:"by_module"`
		Unsupported         map[string]int
	}
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, "natten-0.17.5", got.Convention)
	require.Equal(t, [3]int64{r.Parameters, r.MACs, r.FLOPs}, [3]int64{got.Params, got.MACs, got.FLOPs})
	require.Equal(t, r.MACs, got.ByModule[""])
	require.EqualValues(t, 16*16*8*27, got.ByModule["conv1"])
	var sum int64
	for _, n := range got.ByOperator {
		sum += n
	}
	require.Equal(t, r.MACs, sum)
	require.NotNil(t, got.Unsupported)
}

func TestTree(t *testing.T) {
	vs := gotchnn.NewVarStore(gotch.CPU)
	r := count(t, newNet(vs.Root()), vs, flops.Exact, 1, 3, 32, 32)
	lines := strings.Split(r.Tree(0), "\n")
	require.Contains(t, lines[0], "module")
	require.Regexp(t, `^    fc +170 `, lines[len(lines)-3], "nested names are indented")
	require.NotContains(t, r.Tree(1), "    fc")
}

func TestConventionNames(t *testing.T) {
	for _, c := range []flops.Convention{flops.Exact, flops.NATTEN0175, flops.NATTEN0151} {
		parsed, err := flops.ParseConvention(c.String())
		require.NoError(t, err)
		require.Equal(t, c, parsed)
	}
	_, err := flops.ParseConvention("fvcore")
	require.EqualError(t, err, `flops: convention "fvcore" is none of exact, natten-0.17.5, natten-0.15.1`)
}
