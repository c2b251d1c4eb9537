package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/optim"
)

var shapes = [][]int64{{7}, {3, 4}, {2, 3, 5}}

// parameters are the weights that testdata/reference.py starts from.
func parameters(t testing.TB) []optim.Parameter {
	t.Helper()
	names := []string{"norm.weight", "fc.weight", "attn.rpb"}
	list := make([]optim.Parameter, len(shapes))
	s := torch.NewScope()
	for i, shape := range shapes {
		values := make([]float32, numel(shape))
		for j := range values {
			values[j] = float32(math.Sin(1 + 3*float64(i) + 0.7*float64(j)))
		}
		p := s.Own(torch.FromSlice(values, shape...))
		s.RequiresGrad(p, true)
		list[i] = optim.Parameter{Name: names[i], Tensor: p}
	}
	require.NoError(t, s.Err())
	t.Cleanup(s.Close)
	return list
}

func numel(shape []int64) int {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return int(n)
}

func setGradients(t testing.TB, list []optim.Parameter, step int) {
	t.Helper()
	for i, p := range list {
		values := make([]float32, numel(shapes[i]))
		for j := range values {
			values[j] = float32(math.Cos(0.3*float64(step) + float64(i) + 1.1*float64(j)))
		}
		g, err := torch.FromSlice(values, shapes[i]...)
		require.NoError(t, err)
		require.NoError(t, torch.SetGrad(p.Tensor, g))
		g.MustDrop()
	}
}

func values(t testing.TB, x *ts.Tensor) []float64 {
	t.Helper()
	v, err := torch.Slice[float64](x)
	require.NoError(t, err)
	return v
}

type trajectory struct {
	Norms  []float64   `json:"norms"`
	Values [][]float64 `json:"values"`
}

type referenceFile struct {
	Optimizers map[string]trajectory `json:"optimizers"`
	Scaler     struct {
		Scales []float64   `json:"scales"`
		Values [][]float64 `json:"values"`
	} `json:"scaler"`
	EMA map[string][][]float64 `json:"ema"`
}

func reference(t *testing.T) (r referenceFile) {
	t.Helper()
	data, err := os.ReadFile("../testdata/reference.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r))
	return r
}

// TestAgainstTorch runs 20 steps beside torch.optim's AdamW and SGD and timm's
// LAMB (testdata/reference.py).
func TestAgainstTorch(t *testing.T) {
	want := reference(t).Optimizers
	require.Len(t, want, 5)
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			list := parameters(t)
			groups, err := optim.Groups(list, optim.Grouping{WeightDecay: 0.05})
			require.NoError(t, err)
			algorithm, clip := strings.CutSuffix(name, "_clip")
			opt, err := optim.New(algorithm, groups, optim.Options{Momentum: 0.9})
			require.NoError(t, err)
			defer opt.Close()
			for step := range 20 {
				setGradients(t, list, step)
				if clip {
					norm, err := optim.ClipNorm(opt.Parameters(), 2)
					require.NoError(t, err)
					require.InEpsilon(t, w.Norms[step], values(t, norm)[0], 1e-6)
					norm.MustDrop()
				}
				require.NoError(t, opt.Step(0.01*(1+0.1*float64(step))))
			}
			for i, p := range list {
				require.InDeltaSlice(t, w.Values[i], values(t, p.Tensor), 1e-6, p.Name)
			}
		})
	}
}

// TestSGDWithoutMomentum is a step along the gradient, and has no state.
func TestSGDWithoutMomentum(t *testing.T) {
	list := parameters(t)
	opt, err := optim.New("sgd", []optim.Group{{Parameters: list}}, optim.Options{})
	require.NoError(t, err)
	defer opt.Close()
	require.Empty(t, opt.Slots())
	var want [][]float64
	setGradients(t, list, 0)
	for _, p := range list {
		want = append(want, values(t, p.Tensor))
		g, err := torch.Grad(p.Tensor)
		require.NoError(t, err)
		for i, v := range values(t, g) {
			want[len(want)-1][i] -= 0.5 * v
		}
		g.MustDrop()
	}
	require.NoError(t, opt.Step(0.5))
	for i, p := range list {
		require.InDeltaSlice(t, want[i], values(t, p.Tensor), 1e-6, p.Name)
	}
}

func TestEMAAgainstTimm(t *testing.T) {
	for name, want := range reference(t).EMA {
		t.Run(name, func(t *testing.T) {
			list := parameters(t)
			average, err := optim.NewEMA(list, 0.9, name == "warmup")
			require.NoError(t, err)
			defer average.Close()
			for step := 1; step <= 20; step++ {
				require.NoError(t, torch.NoGrad(func() error {
					for _, p := range list {
						_, err := torch.NewOp("aten::add_.Scalar").Call(p.Tensor, 0.1*math.Sin(float64(step)))
						require.NoError(t, err)
					}
					return nil
				}))
				require.NoError(t, average.Update())
			}
			weights := values(t, list[1].Tensor)
			for i, p := range average.Parameters() {
				require.Equal(t, list[i].Name, p.Name)
				require.InDeltaSlice(t, want[i], values(t, p.Tensor), 1e-6, p.Name)
			}
			require.NoError(t, average.Swap())
			require.InDeltaSlice(t, want[1], values(t, list[1].Tensor), 1e-6, "the model computes with the average")
			require.NoError(t, average.Swap())
			require.Equal(t, weights, values(t, list[1].Tensor))
		})
	}
}

func TestGroups(t *testing.T) {
	list := parameters(t)
	list[1].Name = "levels.1.fc.weight"
	groups, err := optim.Groups(list, optim.Grouping{WeightDecay: 0.05})
	require.NoError(t, err)
	require.Len(t, groups, 2)
	require.Equal(t, []float64{0, 0.05}, []float64{groups[0].WeightDecay, groups[1].WeightDecay})
	require.Equal(t, "attn.rpb", groups[1].Parameters[1].Name, "rpb is decayed")

	groups, err = optim.Groups(list, optim.Grouping{WeightDecay: 0.05, NoDecay: []string{"attn.rpb"}})
	require.NoError(t, err)
	require.Len(t, groups[0].Parameters, 2)

	layer := func(name string) int { return strings.Count(name, "levels") }
	groups, err = optim.Groups(list, optim.Grouping{WeightDecay: 0.05, LayerDecay: 0.5, Layer: layer, Layers: 3})
	require.NoError(t, err)
	scales := map[string]float64{}
	for _, g := range groups {
		for _, p := range g.Parameters {
			scales[p.Name] = g.LRScale
		}
	}
	require.Equal(t, map[string]float64{"norm.weight": 0.25, "levels.1.fc.weight": 0.5, "attn.rpb": 0.25}, scales)

	_, err = optim.Groups(list, optim.Grouping{LayerDecay: 0.5})
	require.ErrorContains(t, err, "layer decay 0.5 needs the number of layers")
	_, err = optim.Groups(list, optim.Grouping{LayerDecay: 0.5, Layers: 1, Layer: layer})
	require.ErrorContains(t, err, "levels.1.fc.weight: layer 1, want 0 to 0")
}

// TestScaledGroups: a group at half the rate moves as the whole at half the rate.
func TestScaledGroups(t *testing.T) {
	run := func(scale, lr float64) [][]float64 {
		list := parameters(t)
		opt, err := optim.New("adamw", []optim.Group{{Parameters: list, WeightDecay: 0.1, LRScale: scale}}, optim.Options{})
		require.NoError(t, err)
		defer opt.Close()
		for step := range 3 {
			setGradients(t, list, step)
			require.NoError(t, opt.Step(lr))
		}
		var all [][]float64
		for _, p := range list {
			all = append(all, values(t, p.Tensor))
		}
		return all
	}
	require.Equal(t, run(0, 0.01), run(0.5, 0.02))
}

// TestMissingGradients: a parameter without gradient rests, and its count of
// updates with it, as if it had been optimized alone.
func TestMissingGradients(t *testing.T) {
	for _, name := range optim.Names() {
		t.Run(name, func(t *testing.T) {
			list, alone := parameters(t), parameters(t)
			before := values(t, list[0].Tensor)
			opt, err := optim.New(name, []optim.Group{{Parameters: list, WeightDecay: 0.1}}, optim.Options{Momentum: 0.9})
			require.NoError(t, err)
			defer opt.Close()
			other, err := optim.New(name, []optim.Group{{Parameters: alone[:1], WeightDecay: 0.1}}, optim.Options{Momentum: 0.9})
			require.NoError(t, err)
			defer other.Close()

			setGradients(t, list, 0)
			require.NoError(t, torch.ZeroGrad(list[0].Tensor))
			require.NoError(t, opt.Step(0.01))
			require.Equal(t, before, values(t, list[0].Tensor))
			for step := 1; step < 4; step++ {
				setGradients(t, list, step)
				setGradients(t, alone, step)
				require.NoError(t, opt.Step(0.01))
				require.NoError(t, other.Step(0.01))
			}
			require.Equal(t, values(t, alone[0].Tensor), values(t, list[0].Tensor))

			require.NoError(t, opt.ZeroGrad())
			defined, err := torch.HasGradients(opt.Parameters())
			require.NoError(t, err)
			require.Equal(t, []bool{false, false, false}, defined)
		})
	}
}

func TestClipping(t *testing.T) {
	list := parameters(t)
	leaves := optim.Tensors(list)
	setGradients(t, list, 0)
	norm := func() float64 {
		n, err := optim.ClipNorm(leaves, 0)
		require.NoError(t, err)
		defer n.MustDrop()
		return values(t, n)[0]
	}
	before := norm()
	require.Greater(t, before, 4.0)
	n, err := optim.ClipNorm(leaves, 100)
	require.NoError(t, err)
	n.MustDrop()
	require.Equal(t, before, norm(), "small gradients stay")
	n, err = optim.ClipNorm(leaves, 0.5)
	require.NoError(t, err)
	require.Equal(t, before, values(t, n)[0], "the norm before clipping")
	n.MustDrop()
	require.InDelta(t, 0.5, norm(), 1e-6)

	require.NoError(t, torch.ZeroGrad(leaves[1]))
	require.NoError(t, optim.ClipValue(leaves, 0.01))
	g, err := torch.Grad(leaves[0])
	require.NoError(t, err)
	defer g.MustDrop()
	for _, v := range values(t, g) {
		require.LessOrEqual(t, math.Abs(v), 0.0100001)
	}
	_, err = optim.ClipNorm(leaves, -1)
	require.ErrorContains(t, err, "max_norm is -1")
	_, err = optim.New("adam", nil, optim.Options{})
	require.ErrorContains(t, err, `no optimizer "adam", have [adamw lamb momentum sgd]`)
	_, err = optim.NewEMA(list, 1.5, false)
	require.ErrorContains(t, err, "decay is 1.5")
}

func ExampleNew() {
	s := torch.NewScope()
	defer s.Close()
	w := s.Own(torch.FromSlice([]float32{3, -2}, 1, 2))
	s.RequiresGrad(w, true)
	groups, err := optim.Groups([]optim.Parameter{{Name: "weight", Tensor: w}}, optim.Grouping{WeightDecay: 0.05})
	if err != nil {
		fmt.Println(err)
		return
	}
	opt, err := optim.New("adamw", groups, optim.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer opt.Close()
	for range 200 {
		loss := s.Sum(s.Mul(w, w))
		s.Fail(torch.Backward(loss))
		s.Fail(opt.Step(0.05))
		s.Fail(opt.ZeroGrad())
	}
	v, err := torch.Slice[float32](w)
	fmt.Println(v[0]*v[0]+v[1]*v[1] < 1e-3, err, s.Err())
	// Output: true <nil> <nil>
}
