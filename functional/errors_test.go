package functional_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// call is a valid call of one function, for tests to break.
type call struct {
	s       *torch.Scope
	name    string // "NA2D"
	rank    int
	tensors map[string]*ts.Tensor
	o       functional.Options
	length  int64 // of every axis
}

func validCall(s *torch.Scope, kind string, rank int) *call {
	c := &call{s: s, rank: rank, length: 6, name: "NA" + string(rune('0'+rank)) + "D" + strings.TrimPrefix(kind, "NA")}
	shape := func(tail ...int64) []int64 {
		out := []int64{2}
		for i := 0; i < rank; i++ {
			out = append(out, c.length)
		}
		return append(out, tail...)
	}
	slots := int64(1)
	for i := 0; i < rank; i++ {
		slots *= 3
		c.o.KernelSize = append(c.o.KernelSize, 3)
		c.o.Dilation = append(c.o.Dilation, 2)
		c.o.Stride = append(c.o.Stride, 2)
		c.o.IsCausal = append(c.o.IsCausal, false)
	}
	draw := func(shape []int64) *ts.Tensor { return s.Randn(shape, gotch.Float, torch.CPU) }
	c.tensors = map[string]*ts.Tensor{}
	if kind == "AV" {
		c.tensors["attn"] = draw(shape(4, slots))
	} else {
		c.tensors["q"], c.tensors["k"] = draw(shape(4, 8)), draw(shape(2, 8))
	}
	if kind != "QK" {
		c.tensors["v"] = draw(shape(2, 8))
	}
	if kind != "AV" {
		bias := []int64{4}
		for i := 0; i < rank; i++ {
			bias = append(bias, 5)
		}
		c.tensors["rpb"] = draw(bias)
	}
	return c
}

// run calls the function that name stands for.
func (c *call) run() (*ts.Tensor, error) {
	o := c.o
	o.RPB = c.tensors["rpb"]
	switch {
	case strings.HasSuffix(c.name, "QK"):
		return qk[c.rank-1](c.tensors["q"], c.tensors["k"], o)
	case strings.HasSuffix(c.name, "AV"):
		return av[c.rank-1](c.tensors["attn"], c.tensors["v"], o)
	}
	return fused[c.rank-1](c.tensors["q"], c.tensors["k"], c.tensors["v"], o)
}

// Each breaker spoils a valid call in one way and returns what the message
// must say, or nil where it does not apply to this function.
var breakers = map[string]func(r *rand.Rand, c *call) []string{
	"nil tensor": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.tensors[name] = nil
		return []string{name + ": tensor is nil or was dropped"}
	},
	"undefined tensor": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.tensors[name] = c.s.Own(ts.NewTensor(), nil)
		return []string{name + ": tensor is undefined"}
	},
	"dropped tensor": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn", "rpb")
		t, err := torch.FromSlice([]float32{1}, 1)
		c.s.Fail(err)
		t.MustDrop()
		c.tensors[name] = t
		return []string{name + ": tensor ", "was dropped"}
	},
	"too many dimensions": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.reshape(name, func(shape []int64) []int64 { return append([]int64{1}, shape...) })
		return []string{name + " has ", " dimensions, want "}
	},
	"too few dimensions": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.tensors[name] = c.s.Select(c.tensors[name], 0, 0)
		return []string{name + " has ", " dimensions, want "}
	},
	"scalar": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.tensors[name] = c.s.Sum(c.tensors[name])
		return []string{name + " has 0 dimensions, want "}
	},
	"mixed dtypes": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "k", "v")
		c.tensors[name] = c.s.To(c.tensors[name], oneOf(r, gotch.Double, gotch.Half, gotch.BFloat16, gotch.Int64, gotch.Bool))
		return []string{name + " has dtype ", "want Float like "}
	},
	"bias dtype": func(r *rand.Rand, c *call) []string {
		if c.tensors["rpb"] == nil {
			return nil
		}
		c.tensors["rpb"] = c.s.To(c.tensors["rpb"], oneOf(r, gotch.Double, gotch.Half, gotch.Int))
		return []string{"rpb has dtype ", "want Float"}
	},
	"unsupported dtype": func(r *rand.Rand, c *call) []string {
		dtype := oneOf(r, gotch.Int64, gotch.Uint8, gotch.Bool, gotch.ComplexFloat)
		for name, t := range c.tensors {
			c.tensors[name] = c.s.To(t, dtype)
		}
		return []string{" has dtype ", "want float32, float64, float16 or bfloat16"}
	},
	"kernel below 1": func(r *rand.Rand, c *call) []string {
		return c.spoil(r, "kernel_size", c.o.KernelSize, oneOf[int64](r, 0, -1, -3, math.MinInt64), "want at least 1")
	},
	"kernel beyond the axis": func(r *rand.Rand, c *call) []string {
		return append(c.spoil(r, "kernel_size", c.o.KernelSize, oneOf[int64](r, 4, 7, 1<<31, 1<<62, math.MaxInt64), "exceeds the 6 tokens"), "dilation 2")
	},
	"dilation below 1": func(r *rand.Rand, c *call) []string {
		return c.spoil(r, "dilation", c.o.Dilation, oneOf[int64](r, 0, -1, math.MinInt64), "want at least 1")
	},
	"dilation beyond the axis": func(r *rand.Rand, c *call) []string {
		i := r.IntN(c.rank)
		c.o.Dilation[i] = oneOf[int64](r, 3, 100, 1<<62, math.MaxInt64)
		return []string{"kernel_size[" + string(rune('0'+i)) + "] is 3 at dilation ", "exceeds the 6 tokens"}
	},
	"stride out of range": func(r *rand.Rand, c *call) []string {
		return c.spoil(r, "stride", c.o.Stride, oneOf[int64](r, 0, -2, 4, math.MaxInt64), "want 1 to kernel_size 3")
	},
	"wrong number of entries": func(r *rand.Rand, c *call) []string {
		name := oneOf(r, "KernelSize", "Dilation", "Stride", "IsCausal")
		n := oneOf(r, c.rank+1, c.rank+2)
		ones := make([]int64, n)
		for i := range ones {
			ones[i] = 1
		}
		switch name {
		case "KernelSize":
			c.o.KernelSize = ones
		case "Dilation":
			c.o.Dilation = ones
		case "Stride":
			c.o.Stride = ones
		default:
			c.o.IsCausal = make([]bool, n)
		}
		return []string{name + " has " + string(rune('0'+n)) + " entries, want 1 or "}
	},
	"no kernel": func(_ *rand.Rand, c *call) []string {
		c.o.KernelSize = nil
		return []string{"KernelSize is empty"}
	},
	"heads do not divide": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "k", "v")
		t := c.tensors[name]
		c.tensors[name] = c.s.Cat([]*ts.Tensor{t, c.s.Narrow(t, -2, 0, 1)}, -2)
		if name == "v" && c.tensors["k"] != nil {
			return []string{"v has 3 heads"}
		}
		return []string{name + " has 3 heads, want a divisor of the 4 heads"}
	},
	"v heads unlike k": func(r *rand.Rand, c *call) []string {
		if c.tensors["q"] == nil || c.tensors["v"] == nil {
			return nil
		}
		c.tensors["v"] = c.s.Narrow(c.tensors["v"], -2, 0, 1)
		return []string{"v has 1 heads, want 2 like k"}
	},
	"no heads": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.tensors[name] = c.s.Narrow(c.tensors[name], -2, 0, 0)
		return []string{name + " has 0 heads"}
	},
	"no head dim": func(r *rand.Rand, c *call) []string {
		if c.tensors["q"] != nil {
			c.tensors["q"], c.tensors["k"] = c.s.Narrow(c.tensors["q"], -1, 0, 0), c.s.Narrow(c.tensors["k"], -1, 0, 0)
			return []string{"q has a last dimension of 0, want at least 1"}
		}
		c.tensors["v"] = c.s.Narrow(c.tensors["v"], -1, 0, 0)
		return []string{"v has a last dimension of 0, want at least 1"}
	},
	"head dim unlike q": func(r *rand.Rand, c *call) []string {
		if c.tensors["k"] == nil {
			return nil
		}
		c.tensors["k"] = c.s.Narrow(c.tensors["k"], -1, 0, 7)
		return []string{"k has head dim 7, want 8 like q"}
	},
	"batch unlike the first": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "k", "v")
		c.tensors[name] = c.s.Narrow(c.tensors[name], 0, 0, 1)
		return []string{name + " has size 1 in dimension 0, want 2 like the first argument"}
	},
	"axis unlike the first": func(r *rand.Rand, c *call) []string {
		name, axis := c.pick(r, "k", "v"), int64(1+r.IntN(c.rank))
		c.tensors[name] = c.s.Narrow(c.tensors[name], axis, 0, 5)
		return []string{name + " has size 5 in dimension " + string(rune('0'+axis)) + ", want 6 like the first argument"}
	},
	"weights unlike the kernel": func(r *rand.Rand, c *call) []string {
		if c.tensors["attn"] == nil {
			return nil
		}
		c.tensors["attn"] = c.s.Narrow(c.tensors["attn"], -1, 0, 2)
		return []string{"attn has 2 weights per query, want "}
	},
	"bias shape": func(r *rand.Rand, c *call) []string {
		if c.tensors["rpb"] == nil {
			return nil
		}
		c.tensors["rpb"] = c.s.Narrow(c.tensors["rpb"], int64(r.IntN(c.rank+1)), 0, 3)
		return []string{"rpb has shape [", "], want [4, 5"}
	},
	"bias rank": func(r *rand.Rand, c *call) []string {
		if c.tensors["rpb"] == nil {
			return nil
		}
		c.tensors["rpb"] = c.s.Select(c.tensors["rpb"], 1, 0)
		return []string{"rpb has shape [", "], want [4, 5"}
	},
	"bias with causal": func(r *rand.Rand, c *call) []string {
		if c.tensors["rpb"] == nil {
			return nil
		}
		c.o.IsCausal[r.IntN(c.rank)] = true
		return []string{"rpb and is_causal exclude each other"}
	},
	"scale": func(r *rand.Rand, c *call) []string {
		if c.tensors["q"] == nil {
			return nil
		}
		c.o.Scale = oneOf(r, math.NaN(), math.Inf(1), math.Inf(-1))
		return []string{"scale is ", "want a finite number"}
	},
	"layout": func(r *rand.Rand, c *call) []string {
		c.o.Layout = functional.Layout(oneOf(r, -1, 2, 99))
		return []string{"Layout is ", "want HeadsLast or HeadsFirst"}
	},
	"devices": func(r *rand.Rand, c *call) []string {
		name := c.pick(r, "q", "k", "v", "attn")
		c.tensors[name] = c.s.ToDevice(c.tensors[name], torch.Meta, gotch.Float)
		return []string{" is on ", "meta", "cpu"}
	},
	"sparse tensor": func(r *rand.Rand, c *call) []string {
		for name, t := range c.tensors {
			c.tensors[name] = c.s.Op(opToSparse, t)
		}
		return []string{"Sparse"}
	},
}

var opToSparse = torch.NewOp("aten::to_sparse")

// pick draws one of the names that this function has.
func (c *call) pick(r *rand.Rand, names ...string) string {
	var mine []string
	for _, n := range names {
		if c.tensors[n] != nil {
			mine = append(mine, n)
		}
	}
	return oneOf(r, mine...)
}

func (c *call) spoil(r *rand.Rand, name string, list []int64, value int64, message string) []string {
	i := r.IntN(len(list))
	list[i] = value
	return []string{name + "[" + string(rune('0'+i)) + "] is ", message}
}

func (c *call) reshape(name string, f func([]int64) []int64) {
	info, err := torch.InfoOf(c.tensors[name])
	c.s.Fail(err)
	if err == nil {
		c.tensors[name] = c.s.View(c.tensors[name], f(info.Shape)...)
	}
}

// Every way to spoil a call, for every function, several times over: one
// clear error each, and the next valid call works.
func TestBadInput(t *testing.T) {
	r := seeded(t)
	n := 0
	for what, spoil := range breakers {
		for _, kind := range []string{"NA", "QK", "AV"} {
			for rank := 1; rank <= 3; rank++ {
				for i := 0; i < 3; i++ {
					s := torch.NewScope()
					c := validCall(s, kind, rank)
					want := spoil(r, c)
					require.NoError(t, s.Err(), "%s: %s", what, c.name)
					if want == nil {
						s.Close()
						continue
					}
					out, err := c.run()
					require.Nil(t, out, "%s: %s", what, c.name)
					checkError(t, err, c.name, want)
					s.Close()
					n++
				}
				usable(t, kind, rank)
			}
		}
	}
	require.GreaterOrEqual(t, n, 700)
	t.Logf("%d bad inputs", n)
}

func checkError(t *testing.T, err error, name string, want []string) {
	t.Helper()
	var typed *functional.Error
	require.ErrorAs(t, err, &typed)
	require.Equal(t, name, typed.Func)
	require.True(t, strings.HasPrefix(err.Error(), "functional: "+name+": "), "%v", err)
	require.NotContains(t, err.Error(), "\n", "one line")
	for _, text := range want {
		require.ErrorContains(t, err, text)
	}
}

func usable(t *testing.T, kind string, rank int) {
	t.Helper()
	s := torch.NewScope()
	defer s.Close()
	s.Own(validCall(s, kind, rank).run())
	require.NoError(t, s.Err())
}

// The functions that return errors have twins that panic with them.
func TestMustPanicsWithTheError(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Randn([]int64{1, 5, 5, 5, 1, 2}, gotch.Float, torch.CPU)
	o := functional.K(9)
	for name, f := range map[string]func(){
		"NA1D": func() { functional.MustNA1D(x, x, x, o) }, "NA1DQK": func() { functional.MustNA1DQK(x, x, o) }, "NA1DAV": func() { functional.MustNA1DAV(x, x, o) },
		"NA2D": func() { functional.MustNA2D(x, x, x, o) }, "NA2DQK": func() { functional.MustNA2DQK(x, x, o) }, "NA2DAV": func() { functional.MustNA2DAV(x, x, o) },
		"NA3D": func() { functional.MustNA3D(x, x, x, o) }, "NA3DQK": func() { functional.MustNA3DQK(x, x, o) }, "NA3DAV": func() { functional.MustNA3DAV(x, x, o) },
	} {
		func() {
			defer func() {
				err, ok := recover().(error)
				require.True(t, ok, name)
				var typed *functional.Error
				require.True(t, errors.As(err, &typed), name)
				require.Equal(t, name, typed.Func)
			}()
			f()
		}()
	}
	functional.MustNA3D(x, x, x, functional.K(3)).MustDrop()
}

// The message of the documentation's example, word for word.
func TestErrorNamesArgumentValueAndLimit(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Zeros([]int64{1, 7, 9, 2, 8}, gotch.Float, torch.CPU)
	_, err := functional.NA2D(x, x, x, functional.K(9))
	require.EqualError(t, err, "functional: NA2D: kernel_size[0] is 9 at dilation 1, which exceeds the 7 tokens of spatial axis 0")
	require.EqualError(t, errors.Unwrap(err), "kernel_size[0] is 9 at dilation 1, which exceeds the 7 tokens of spatial axis 0")
}
