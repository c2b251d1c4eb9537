package functional_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/definition"
)

// coverage counts how often each value of each dimension of the matrix was drawn.
type coverage map[string]map[string]int

func (v coverage) add(c *configuration) {
	some := func(has func(a definition.Axis) bool) bool { return slices.ContainsFunc(c.Axes, has) }
	count := func(dimension string, value any) {
		if v[dimension] == nil {
			v[dimension] = map[string]int{}
		}
		v[dimension][fmt.Sprint(value)]++
	}
	rank := len(c.Axes)
	count("rank", rank)
	count("dtype", dtypeName(c.dtype))
	count("layout", c.layout)
	count("memory", int(c.memory))
	count("mode", c.mode)
	count("rank, dtype and mode", fmt.Sprint(rank, dtypeName(c.dtype), c.mode))
	count("even kernel", some(func(a definition.Axis) bool { return a.Kernel%2 == 0 }))
	count("kernel of 1", some(func(a definition.Axis) bool { return a.Kernel == 1 }))
	count("axis of length 1", some(func(a definition.Axis) bool { return a.Length == 1 }))
	count("window as large as the axis", some(func(a definition.Axis) bool { return a.Length == a.Kernel }))
	count("dilated", some(func(a definition.Axis) bool { return a.Dilation > 1 }))
	count("strided", some(func(a definition.Axis) bool { return a.Stride > 1 }))
	count("causal", some(func(a definition.Axis) bool { return a.Causal }))
	count("kernels differ", some(func(a definition.Axis) bool { return a.Kernel != c.Axes[0].Kernel }))
	count("bias", c.rpb)
	count("bias in float32 for half", c.rpb && c.rpbDType != c.dtype)
	count("grouped heads", c.Heads > c.KVHeads)
	count("head dim of 1", c.Dim == 1)
	count("value dim of its own", c.ValueDim != c.Dim)
	count("empty batch", c.Batch == 0)
	count("default scale", c.defaultScale)
	for i, name := range []string{"dq", "dk", "dv", "drpb"} {
		count(name+" wanted", c.wanted[i])
	}
}

// require fails where a value came up too rarely for the matrix to be called one.
func (v coverage) require(t *testing.T) {
	t.Helper()
	values := map[string]int{"rank": 3, "dtype": 4, "layout": 2, "memory": 5, "mode": int(modes), "rank, dtype and mode": 3 * 4 * int(modes)}
	var lines []string
	for dimension, counts := range v {
		want, least := values[dimension], 20
		if want == 0 {
			want = 2 // yes and no
		}
		if want > 6 {
			least = 1
		}
		require.Len(t, counts, want, "%s took other values: %v", dimension, counts)
		for value, n := range counts {
			require.GreaterOrEqual(t, n, least, "%s %s came up %d times", dimension, value, n)
		}
		if want <= 6 {
			lines = append(lines, fmt.Sprintf("%s %v", dimension, counts))
		}
	}
	slices.Sort(lines)
	t.Log(strings.Join(lines, "\n"))
}
