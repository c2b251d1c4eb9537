package bench

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var small = Shape{Name: "small", Batch: 2, Heads: 2, Spatial: []int64{6, 5}, Dim: 8, KernelSize: []int64{3, 3}, Dilation: []int64{1, 1}, RPB: true}

// TestRatesAndRatios gives contenders known times.
func TestRatesAndRatios(t *testing.T) {
	calls := map[string]int{}
	takes := func(name string, d time.Duration) contender {
		return contender{name: name, forward: func() (*ts.Tensor, error) {
			calls[name]++
			time.Sleep(d)
			return nil, nil
		}}
	}
	list := []contender{takes("fused", 4*time.Millisecond), takes("sgemm", 8*time.Millisecond), takes("unfused", 20*time.Millisecond)}
	o := Options{Rounds: 3, Block: 30 * time.Millisecond}
	row, err := measure(context.Background(), small, list, false, o)
	require.NoError(t, err)
	require.Equal(t, 3, row.Rounds)
	require.Greater(t, calls["fused"], calls["unfused"], "a block has as many calls as it has time for")
	work := 4.0 * 2 * 2 * 30 * 8 * 9
	fused := row.Timings[0].Median
	assert.InDelta(t, 4e-3, fused, 3e-3)
	assert.InEpsilon(t, work/fused/1e9, row.Timings[0].GFLOPS, 1e-9)
	assert.InDelta(t, 5, row.Speedup["unfused"], 2.5)
	assert.NotContains(t, row.Speedup, "sgemm")
	assert.InEpsilon(t, 2*work/(2*1024*1024*1024), row.Share, 0.5)

	clear(calls)
	o.Cold = true
	row, err = measure(context.Background(), small, list, true, o)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"fused": 4, "sgemm": 4, "unfused": 4}, calls, "one that warms up, and three")
	assert.InEpsilon(t, 3.5*work/row.Timings[0].Median/1e9, row.Timings[0].GFLOPS, 1e-9)
}

// TestContendersComputeTheSame compares what is timed side by side.
func TestContendersComputeTheSame(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	for _, train := range []bool{false, true} {
		outs := map[string]*ts.Tensor{}
		for _, c := range contenders(s, small, gotch.Float, train) {
			outs[c.name] = s.Own(c.forward())
			for _, leaf := range c.leaves {
				require.Equal(t, train, leaf.MustRequiresGrad(), c.name)
			}
		}
		require.NoError(t, s.Err())
		want, got := outs["fused"].Float64Values(), outs["unfused"].Float64Values()
		require.Len(t, want, 2*30*2*8)
		assert.InDeltaSlice(t, want, got, 1e-5)
		require.Equal(t, []int64{2, 2, 30, 8}, outs["dense"].MustSize(), "all tokens of each head")
	}
}

func TestRunFreesWhatItMakes(t *testing.T) {
	run := func() {
		_, err := Run(context.Background(), Options{Shapes: []Shape{small}, Rounds: 1, Duration: time.Nanosecond, Block: time.Millisecond})
		require.NoError(t, err)
	}
	run() // libtorch's own
	before := torch.TensorsAlive()
	run()
	require.LessOrEqual(t, torch.TensorsAlive(), before)
}

func TestTable(t *testing.T) {
	r := Report{DType: "float32", Threads: 2, InstructionSet: "avx2", Libtorch: "2.11.0", Rows: []Row{{
		Shape: small, Pass: "forward", Share: 0.5, Speedup: map[string]float64{"unfused": 2, "dense": 30},
		Timings: []Timing{{Name: "fused", Median: 1e-3, Min: 0.9e-3, Max: 1.5e-3, First: 2e-3, GFLOPS: 50}},
	}}}
	var text bytes.Buffer
	require.NoError(t, r.Write(&text))
	require.Equal(t, "float32, 2 threads, avx2 kernels, libtorch 2.11.0, blocks of calls\n"+
		"                       shape     pass  fused ms      min-max  cold ms  GFLOP/s  of sgemm  unfused  dense\n"+
		"  B2 H2 6x5 D8 K3x3 d1x1 rpb  forward     1.000  0.900-1.500    2.000     50.0       50%     2.0x  30.0x\n", text.String())
}

func TestShapesThatNoOperatorTakes(t *testing.T) {
	for _, shape := range []Shape{{Name: "none"}, square("zero", 1, 1, 8, 0, 3, 1), square("less", -1, 1, 8, 8, 3, 1)} {
		report, err := Run(context.Background(), Options{Shapes: []Shape{shape}})
		require.ErrorContains(t, err, shape.Name)
		require.Nil(t, report)
	}
}
