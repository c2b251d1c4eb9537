package functional_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/byrank"
	"github.com/gonatten/gonatten/internal/torch"
)

// Every test runs for 1D, 2D and 3D.
var fused, qk, av = byrank.NA, byrank.QK, byrank.AV

const seedVariable = "NATTEN_TEST_SEED"

// seeded gives a test its generator. The seed is new in each run and printed;
// the variable repeats a run.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("%s=%d repeats this run", seedVariable, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// normal draws n standard normal values.
func normal(r *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	return x
}

// between draws from low to high, both included.
func between(r *rand.Rand, low, high int) int { return low + r.IntN(high-low+1) }

// oneOf draws an element.
func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// roundoff is the largest relative error of rounding to a dtype.
func roundoff(dtype gotch.DType) float64 {
	switch dtype {
	case gotch.Half:
		return 0x1p-11
	case gotch.BFloat16:
		return 0x1p-8
	case gotch.Float:
		return 0x1p-24
	}
	return 0x1p-53
}

// farthest is the largest distance of got from want; infinities must be in the
// same places. A NaN or a wrong length gives +Inf.
func farthest(got, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	distance := 0.0
	for i, w := range want {
		switch {
		case math.IsInf(w, 0) && got[i] == w:
		case math.IsInf(w, 0) || math.IsNaN(got[i]) || math.IsNaN(w):
			return math.Inf(1)
		default:
			distance = max(distance, math.Abs(got[i]-w))
		}
	}
	return distance
}

// largest is the largest finite magnitude.
func largest(x []float64) float64 {
	m := 0.0
	for _, v := range x {
		if !math.IsInf(v, 0) {
			m = max(m, math.Abs(v))
		}
	}
	return m
}

// absolute is every value's magnitude; nil stays nil.
func absolute(x []float64) []float64 {
	if x == nil {
		return nil
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = math.Abs(v)
	}
	return y
}

// values reads a tensor as float64, failing the test where it cannot.
func values(t *testing.T, x *ts.Tensor) []float64 {
	t.Helper()
	v, err := torch.Slice[float64](x)
	require.NoError(t, err)
	return v
}

// gradient reads a leaf's gradient; a leaf without one fails the test.
func gradient(t *testing.T, s *torch.Scope, leaf *ts.Tensor) *ts.Tensor {
	t.Helper()
	g := s.Own(torch.Grad(leaf))
	require.NoError(t, s.Err())
	require.NotNil(t, g, "leaf has no gradient")
	return g
}

func dtypeName(d gotch.DType) string {
	switch d {
	case gotch.Double:
		return "float64"
	case gotch.Float:
		return "float32"
	case gotch.Half:
		return "float16"
	case gotch.BFloat16:
		return "bfloat16"
	}
	return fmt.Sprint(d)
}
