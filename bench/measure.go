package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

// Options of a run; the zero value means the defaults.
type Options struct {
	Shapes   []Shape       // nil: the set "core"
	DType    gotch.DType   // 0 (uint8) means float32
	Rounds   int           // at least so many rounds of each shape; 0: 7
	Duration time.Duration // and at least so long; 0: 500 ms
	Block    time.Duration // a contender's turn in a round, after its first call; 0: 20 ms
	Cold     bool          // no blocks: single calls, each after all the others
	Progress func(done, total int, what string)
}

// Timing is one contender's seconds per call, over rounds: of a block's mean,
// or with Options.Cold of single calls. First is the median of the first calls
// of its turns, when the others have swept the caches.
type Timing struct {
	Name   string  `json:"name"`
	Median float64 `json:"median_seconds"`
	Min    float64 `json:"min_seconds"`
	Max    float64 `json:"max_seconds"`
	First  float64 `json:"first_call_median_seconds,omitempty"`
	GFLOPS float64 `json:"useful_gflops"` // of the neighborhood's work, or of the product for sgemm
}

// Row is one shape in one pass ("forward" or "forward+backward").
type Row struct {
	Shape   Shape    `json:"shape"`
	Pass    string   `json:"pass"`
	Rounds  int      `json:"rounds"`
	Timings []Timing `json:"timings"`
	// Share is the fused operator's rate over sgemm's: the median of the rounds' ratios, since what slows a machine down
	// for a while slows down both.
	Share float64 `json:"share_of_sgemm"`
	// Speedup is each peer's time over the fused operator's, likewise.
	Speedup map[string]float64 `json:"speedup"`
}

// Report is a whole run with the machine it ran on.
type Report struct {
	DType          string  `json:"dtype"`
	Cold           bool    `json:"single_calls"`
	Threads        int     `json:"threads"`
	InstructionSet string  `json:"instruction_set"`
	Libtorch       string  `json:"libtorch"`
	Block          float64 `json:"block_seconds"` // without meaning for single calls
	Rows           []Row   `json:"rows"`
}

// Run measures every shape forward and forward+backward. It stays on one OS
// thread, because libtorch keeps a pool of workers per calling thread. A run that
// ends early returns the rows that it has beside the error.
func Run(ctx context.Context, o Options) (*Report, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if o.Rounds < 0 || o.Duration < 0 || o.Block < 0 {
		return nil, fmt.Errorf("bench: rounds is %d, duration %v and block %v, want none below 0", o.Rounds, o.Duration, o.Block)
	}
	if o.Shapes == nil {
		o.Shapes = Shapes["core"]
	}
	if o.DType == 0 {
		o.DType = gotch.Float
	}
	if o.Rounds == 0 {
		o.Rounds = 7
	}
	if o.Duration == 0 {
		o.Duration = 500 * time.Millisecond
	}
	if o.Block == 0 {
		o.Block = 20 * time.Millisecond
	}
	for _, shape := range o.Shapes {
		if err := shape.check(); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	report := &Report{DType: torch.DTypeName(o.DType), Cold: o.Cold, Threads: torch.Threads(),
		InstructionSet: torch.CPUInstructionSet(), Libtorch: torch.LibtorchVersion(), Block: o.Block.Seconds(), Rows: []Row{}}
	for i, shape := range o.Shapes {
		for j, train := range []bool{false, true} {
			if o.Progress != nil {
				o.Progress(2*i+j, 2*len(o.Shapes), shape.String())
			}
			row, err := measureShape(ctx, shape, train, o)
			if err != nil {
				return report, fmt.Errorf("bench: %s: %w", shape, err)
			}
			report.Rows = append(report.Rows, *row)
		}
	}
	return report, nil
}

func measureShape(ctx context.Context, shape Shape, train bool, o Options) (*Row, error) {
	s := torch.NewScope()
	defer s.Close()
	list := contenders(s, shape, o.DType, train)
	list = slices.Insert(list, 1, gemm(s)) // next to the fused operator, so that both meet the same moments
	if s.Err() != nil {
		return nil, s.Err()
	}
	return measure(ctx, shape, list, train, o)
}

// measure times contenders, of which the first is the fused operator.
func measure(ctx context.Context, shape Shape, list []contender, train bool, o Options) (*Row, error) {
	row := &Row{Shape: shape, Pass: "forward", Speedup: map[string]float64{}}
	flops := shape.ForwardFLOPs()
	if train {
		row.Pass = "forward+backward"
		flops += shape.BackwardFLOPs()
	}
	seconds, first := make([][]float64, len(list)), make([][]float64, len(list))
	// The round before the first warms caches and pools and is not counted.
	for start := time.Now(); row.Rounds <= o.Rounds || time.Since(start) < o.Duration; row.Rounds++ {
		for i, c := range list {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			single, mean, err := turn(c, train, o, row.Rounds > 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if row.Rounds > 0 {
				seconds[i], first[i] = append(seconds[i], mean), append(first[i], single)
			}
		}
	}
	row.Rounds--
	for i, c := range list {
		times := pairedRatio(seconds[i], seconds[0])
		work := flops
		if c.name == "sgemm" {
			work = gemmFLOPs
		}
		switch c.name {
		case "fused":
		case "sgemm":
			row.Share = times * flops / work
		default:
			row.Speedup[c.name] = times
		}
		t := summarise(c.name, slices.Clone(seconds[i]), work)
		t.First = median(first[i])
		row.Timings = append(row.Timings, t)
	}
	return row, nil
}

// turn times a first call and, with blocks, the mean of the calls that follow.
func turn(c contender, train bool, o Options, counted bool) (single, mean float64, err error) {
	start := time.Now()
	err = call(c, train)
	single = time.Since(start).Seconds()
	if err != nil || o.Cold || !counted {
		return single, single, err
	}
	calls := 0
	start = time.Now()
	for calls == 0 || time.Since(start) < o.Block {
		if err := call(c, train); err != nil {
			return 0, 0, err
		}
		calls++
	}
	return single, time.Since(start).Seconds() / float64(calls), nil
}

// call makes one pass and frees what it made.
func call(c contender, train bool) error {
	if !train || len(c.leaves) == 0 {
		return torch.NoGrad(func() error {
			out, err := c.forward()
			if out != nil {
				out.MustDrop()
			}
			return err
		})
	}
	out, err := c.forward()
	if err != nil {
		return err
	}
	err = torch.BackwardWith(out, out)
	out.MustDrop()
	for _, leaf := range c.leaves {
		if err == nil {
			err = torch.ZeroGrad(leaf)
		}
	}
	return err
}

// pairedRatio is the median of the rounds' ratios.
func pairedRatio(these, those []float64) float64 {
	ratios := make([]float64, len(these))
	for i := range these {
		ratios[i] = these[i] / those[i]
	}
	return median(ratios)
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func summarise(name string, seconds []float64, flops float64) Timing {
	middle := median(seconds)
	return Timing{Name: name, Median: middle, Min: seconds[0], Max: seconds[len(seconds)-1], GFLOPS: flops / middle / 1e9}
}
