package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/bench"
)

func TestOptionsOutOfRange(t *testing.T) {
	for _, o := range []bench.Options{{Rounds: -1}, {Duration: -1}, {Block: -1}} {
		_, err := bench.Run(context.Background(), o)
		require.ErrorContains(t, err, "want none below 0")
	}
	for _, o := range []bench.StepOptions{{Batch: -1}, {Steps: -1}, {Size: -1}} {
		_, err := bench.Step(context.Background(), o)
		require.ErrorContains(t, err, "want none below 0")
	}
	_, err := bench.Step(context.Background(), bench.StepOptions{Model: "nat_nano_28", Batch: 1 << 40})
	require.ErrorContains(t, err, "is more than 2^31 values")
}

func TestRunMeasuresEveryContender(t *testing.T) {
	shapes := []bench.Shape{
		{Name: "a", Batch: 1, Heads: 2, Spatial: []int64{9, 8}, Dim: 8, KernelSize: []int64{3, 3}, Dilation: []int64{1, 2}, RPB: true},
		{Name: "b", Batch: 2, Heads: 1, Spatial: []int64{20}, Dim: 4, KernelSize: []int64{5}, Dilation: []int64{1}},
	}
	report, err := bench.Run(context.Background(), bench.Options{Shapes: shapes, Rounds: 3, Duration: time.Millisecond})
	require.NoError(t, err)
	require.Len(t, report.Rows, 4)
	for _, row := range report.Rows {
		require.Len(t, row.Timings, 4)
		for _, timing := range row.Timings {
			require.Positive(t, timing.GFLOPS, timing.Name)
			require.LessOrEqual(t, timing.Min, timing.Median)
			require.Positive(t, timing.First)
		}
		require.Len(t, row.Speedup, 2)
	}
	var table bytes.Buffer
	require.NoError(t, report.Write(&table))
	require.Contains(t, table.String(), "B1 H2 9x8 D8 K3x3 d1x2 rpb")
	_, err = json.Marshal(report)
	require.NoError(t, err)
	require.NoError(t, report.Plot(filepath.Join(t.TempDir(), "bench.png")))
}

func TestColdRunCountsSingleCalls(t *testing.T) {
	shape := bench.Shape{Name: "a", Batch: 1, Heads: 1, Spatial: []int64{20}, Dim: 4, KernelSize: []int64{5}, Dilation: []int64{1}}
	report, err := bench.Run(context.Background(), bench.Options{Shapes: []bench.Shape{shape}, Rounds: 3, Duration: time.Millisecond, Cold: true})
	require.NoError(t, err)
	for _, timing := range report.Rows[0].Timings {
		require.Equal(t, timing.First, timing.Median, timing.Name)
	}
	var table bytes.Buffer
	require.NoError(t, report.Write(&table))
	require.Contains(t, table.String(), "single calls")
}

func TestStep(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "cpu.pprof")
	r, err := bench.Step(context.Background(), bench.StepOptions{Model: "nat_nano_28", Batch: 2, Steps: 3, Profile: profile})
	require.NoError(t, err)
	require.Equal(t, []any{2, int64(28)}, []any{r.Batch, r.Size})
	require.Positive(t, r.Train.Median)
	require.Positive(t, r.Evaluate.Median)
	require.Greater(t, r.GFLOPs*1e9, 2*r.Evaluate.GFLOPS*1e9*r.Evaluate.Median, "backward computes more than forward")
	require.Greater(t, r.CgoCalls, 100.0)
	require.Greater(t, r.CgoNanoseconds, 5.0)
	require.FileExists(t, profile)
	var text bytes.Buffer
	require.NoError(t, r.Write(&text))
	require.Contains(t, text.String(), "training step")
	_, err = bench.Step(context.Background(), bench.StepOptions{Model: "nat_minni"})
	require.ErrorContains(t, err, "nat_minni")
}

func TestUsefulWork(t *testing.T) {
	s := bench.Shapes["core"][0]
	require.Equal(t, 4.0*8*2*56*56*32*49, s.ForwardFLOPs())
	require.Equal(t, 10.0*8*2*56*56*32*49, s.BackwardFLOPs())
	_, err := bench.Select("none")
	require.ErrorContains(t, err, `no set of shapes "none"`)
}
