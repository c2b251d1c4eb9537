package schedule_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train/schedule"
)

func reference(t *testing.T) map[string][]float64 {
	t.Helper()
	data, err := os.ReadFile("../testdata/reference.json")
	require.NoError(t, err)
	var all struct {
		Schedules map[string][]float64 `json:"schedules"`
	}
	require.NoError(t, json.Unmarshal(data, &all))
	return all.Schedules
}

// TestAgainstTimm compares with what timm's schedulers and torch's OneCycleLR
// give (testdata/reference.py).
func TestAgainstTimm(t *testing.T) {
	warm := schedule.Settings{LR: 1e-3, MinLR: 5e-6, WarmupLR: 1e-6, Warmup: 7, Steps: 50}
	with := func(name string, edit func(*schedule.Settings)) schedule.Settings {
		s := warm
		s.Name = name
		if edit != nil {
			edit(&s)
		}
		return s
	}
	cases := map[string]schedule.Settings{
		"cosine":        with("cosine", nil),
		"cosine_prefix": with("cosine", func(s *schedule.Settings) { s.WarmupPrefix = true }),
		"cosine_cycles": {Name: "cosine", LR: 1e-3, MinLR: 5e-6, Steps: 10, Cycles: 2, CycleMul: 2, CycleDecay: 0.5},
		"cosine_k":      {Name: "cosine", LR: 1e-3, MinLR: 5e-6, Steps: 50, KDecay: 1.5},
		"poly":          with("poly", nil),
		"step":          with("step", func(s *schedule.Settings) { s.DecaySteps = 20 }),
		"multistep":     with("multistep", func(s *schedule.Settings) { s.Milestones = []int{20, 40} }),
		"onecycle":      {Name: "onecycle", LR: 1e-3, Steps: 60},
	}
	want := reference(t)
	require.Len(t, want, len(cases), "every reference is used")
	for name, settings := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := schedule.New(settings)
			require.NoError(t, err)
			for i, w := range want[name] {
				require.InDelta(t, w, got(i), 1e-12, "t = %d", i)
			}
		})
	}
}

func TestClosedForms(t *testing.T) {
	linear, err := schedule.New(schedule.Settings{Name: "linear", LR: 1, MinLR: 0.1, Steps: 10})
	require.NoError(t, err)
	require.Equal(t, 1.0, linear(0))
	require.InDelta(t, 0.55, linear(5), 1e-12)
	require.Equal(t, 0.1, linear(10))
	require.Equal(t, 0.1, linear(1000), "cooldown")

	constant, err := schedule.New(schedule.Settings{Name: "constant", LR: 0.3, Steps: 1})
	require.NoError(t, err)
	require.Equal(t, 0.3, constant(99))

	one, err := schedule.New(schedule.Settings{Name: "onecycle", LR: 1, WarmupLR: 0.1, MinLR: 0.01, Warmup: 20, Steps: 101})
	require.NoError(t, err)
	require.InDelta(t, 0.1, one(0), 1e-12)
	require.InDelta(t, 0.55, one(10), 1e-12)
	require.InDelta(t, 1, one(20), 1e-12)
	require.InDelta(t, 0.505, one(60), 1e-12)
	require.InDelta(t, 0.01, one(100), 1e-12)
	require.InDelta(t, 0.01, one(500), 1e-12)
	highest := 0.0
	for i := range 101 {
		highest = math.Max(highest, one(i))
	}
	require.InDelta(t, 1, highest, 1e-12)
}

func TestLength(t *testing.T) {
	require.Equal(t, 50, schedule.Settings{Name: "cosine", Steps: 50, Warmup: 5}.Length())
	require.Equal(t, 55, schedule.Settings{Name: "cosine", Steps: 50, Warmup: 5, WarmupPrefix: true}.Length())
	require.Equal(t, 30, schedule.Settings{Name: "cosine", Steps: 10, Cycles: 2, CycleMul: 2}.Length())
	require.Equal(t, 30, schedule.Settings{Name: "poly", Steps: 10, Cycles: 3}.Length())
}

func TestBadSettings(t *testing.T) {
	for want, s := range map[string]schedule.Settings{
		"no schedule \"cosin\"":                  {Name: "cosin", Steps: 1},
		"steps is 0, want at least 1":            {Name: "cosine"},
		"warm-up is -1":                          {Name: "cosine", Steps: 1, Warmup: -1},
		"want none below 0":                      {Name: "cosine", Steps: 1, LR: -1},
		"step needs decay steps above 0, have 0": {Name: "step", Steps: 1},
	} {
		_, err := schedule.New(s)
		require.ErrorContains(t, err, want)
	}
}

func ExampleNew() {
	lr, err := schedule.New(schedule.Settings{
		Name: "cosine", LR: 1e-3, MinLR: 5e-6, WarmupLR: 1e-6, Warmup: 20, Steps: 300,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range []int{0, 10, 20, 160, 300, 309} {
		fmt.Printf("%3d %.6f\n", t, lr(t))
	}
	// Output:
	//   0 0.000001
	//  10 0.000501
	//  20 0.000989
	// 160 0.000450
	// 300 0.000005
	// 309 0.000005
}
