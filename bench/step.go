package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"time"

	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/optim"
)

// StepOptions of Step; the zero value means the defaults.
type StepOptions struct {
	Model string // variant; "": nat_mini
	Batch int    // images; 0: 8
	Size  int64  // height and width of an image; 0: the variant's
	Steps int    // timed training steps and evaluation steps, each after two that are not; 0: 5
	// Profile, where not empty, is a file for Go's CPU profile of the timed
	// training steps.
	Profile  string
	Progress func(done, total int, what string)
}

// tell reports so many of all batches, of training and evaluation.
func (o *StepOptions) tell(done int, what string) {
	if o.Progress != nil {
		o.Progress(done, 2*(untimed+o.Steps), what)
	}
}

// StepReport is how long a model takes in training and evaluation, by the
// trainer's own loop, on pictures of noise that are in memory.
type StepReport struct {
	Model          string  `json:"model"`
	Batch          int     `json:"batch"`
	Size           int64   `json:"size"`
	Steps          int     `json:"steps"`
	Threads        int     `json:"threads"`
	Libtorch       string  `json:"libtorch"`
	InstructionSet string  `json:"instruction_set"`
	Train          Timing  `json:"train"`      // forward, backward, clipping and AdamW
	Evaluate       Timing  `json:"evaluate"`   // forward
	GFLOPs         float64 `json:"step_gflop"` // work of a training step, 10^9 operations
	// CgoCalls is the calls into C of a training step, CgoNanoseconds what an empty
	// one costs.
	CgoCalls       float64 `json:"cgo_calls"`
	CgoNanoseconds float64 `json:"cgo_nanoseconds"`
}

// Step measures a model. It stays on one OS thread.
func Step(ctx context.Context, o StepOptions) (*StepReport, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if o.Batch < 0 || o.Size < 0 || o.Steps < 0 {
		return nil, fmt.Errorf("bench: batch is %d, size %d and steps %d, want none below 0", o.Batch, o.Size, o.Steps)
	}
	if o.Model == "" {
		o.Model = "nat_mini"
	}
	if o.Batch == 0 {
		o.Batch = 8
	}
	if o.Steps == 0 {
		o.Steps = 5
	}
	if o.Profile != "" {
		if err := atomicfile.Check(o.Profile); err != nil {
			return nil, fmt.Errorf("bench: profile: %w", err)
		}
	}
	m, err := models.New(o.Model, gotchnn.NewVarStore(torch.CPU.Gotch()).Root())
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() {
		for _, p := range m.Tensors() {
			p.Tensor.MustDrop()
		}
	}()
	if o.Size == 0 {
		o.Size = m.Config.ImageSize
	}
	if side := float64(o.Size); float64(o.Batch)*float64(m.Config.InChans)*side*side > maxPixels {
		return nil, fmt.Errorf("bench: batch %d of pictures %d wide is more than 2^31 values", o.Batch, o.Size)
	}
	r := &StepReport{Model: o.Model, Batch: o.Batch, Size: o.Size, Steps: o.Steps, Threads: torch.Threads(),
		Libtorch: torch.LibtorchVersion(), InstructionSet: torch.CPUInstructionSet()}
	if err := r.train(ctx, m, o); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", o.Model, err)
	}
	if err := r.evaluate(ctx, m, o); err != nil {
		return nil, fmt.Errorf("bench: %s: %w", o.Model, err)
	}
	return r, nil
}

// maxPixels is how many values the pictures of a batch may have.
const maxPixels = 1 << 31

// untimed steps come before those that are timed.
const untimed = 2

func (r *StepReport) train(ctx context.Context, m *models.Model, o StepOptions) (err error) {
	var parameters []optim.Parameter
	for _, p := range m.Trainable() {
		parameters = append(parameters, optim.Parameter(p))
	}
	groups, err := optim.Groups(parameters, optim.Grouping{WeightDecay: 0.05})
	if err != nil {
		return err
	}
	opt, err := optim.New("adamw", groups, optim.Options{})
	if err != nil {
		return err
	}
	defer opt.Close()
	l := &train.Loop{
		Model: m, Optimizer: opt, Source: noise(m, o), Loss: train.CrossEntropy(0.1), ClipNorm: 5,
		Schedule: func(int) float64 { return 1e-4 }, Epochs: 1, Cost: new(train.StepCost),
	}
	var seconds []float64
	var calls int64
	var last time.Time
	stop := func() error { return nil }
	defer func() { err = errors.Join(err, stop()) }()
	l.On(train.StepEnd, func(context.Context, *train.Loop) error {
		now := time.Now()
		o.tell(l.State.Step, "training steps")
		if l.State.Step > untimed {
			seconds = append(seconds, now.Sub(last).Seconds())
		} else if l.State.Step == untimed {
			if o.Profile != "" {
				if stop, err = startProfile(o.Profile); err != nil {
					return err
				}
			}
			calls = runtime.NumCgoCall()
		}
		last = time.Now()
		return nil
	})
	if err := l.Run(ctx); err != nil {
		return err
	}
	end := stop
	stop = func() error { return nil }
	if err := end(); err != nil {
		return err
	}
	if len(seconds) == 0 {
		return context.Cause(ctx)
	}
	operations, _ := l.Cost.Of(int64(o.Batch), 1)
	r.GFLOPs = operations / 1e9
	r.CgoCalls = float64(runtime.NumCgoCall()-calls) / float64(len(seconds))
	r.CgoNanoseconds = emptyCall()
	r.Train = summarise("train", seconds, r.GFLOPs*1e9)
	return nil
}

func (r *StepReport) evaluate(ctx context.Context, m *models.Model, o StepOptions) error {
	var seconds []float64
	last := time.Now()
	e := train.Evaluator{Model: m, Source: noise(m, o), OnBatch: func(b *data.Batch, _ [][]int64, _ []float64) {
		o.tell(untimed+o.Steps+b.Number+1, "evaluation")
		if b.Number >= untimed {
			seconds = append(seconds, time.Since(last).Seconds())
		}
		last = time.Now()
	}}
	if _, err := e.Run(ctx); err != nil {
		return err
	}
	counted, err := forwardFLOPs(m, o)
	if err != nil {
		return err
	}
	r.Evaluate = summarise("evaluate", seconds, counted)
	return nil
}

// emptyCall is the nanoseconds of a call into C that does next to nothing.
func emptyCall() float64 {
	const n = 200_000
	start := time.Now()
	for range n {
		torch.GradEnabled()
	}
	return float64(time.Since(start).Nanoseconds()) / n
}

// startProfile profiles until it is stopped, which writes the file.
func startProfile(path string) (stop func() error, err error) {
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		return func() error { return nil }, err
	}
	return func() error {
		pprof.StopCPUProfile()
		return atomicfile.WriteFile(path, profile.Bytes())
	}, nil
}

// noiseSource yields the same pictures again and again.
type noiseSource struct {
	batches, images, channels, size, classes int
}

func noise(m *models.Model, o StepOptions) noiseSource {
	return noiseSource{untimed + o.Steps, o.Batch, int(m.Config.InChans), int(o.Size), int(m.Config.NumClasses)}
}

func (s noiseSource) Len() int { return s.batches }

func (s noiseSource) Epoch(ctx context.Context, _, from int) iter.Seq2[*data.Batch, error] {
	rng := rand.New(rand.NewPCG(1, 2))
	images, labels := make([]float32, s.images*s.channels*s.size*s.size), make([]int64, s.images)
	for i := range images {
		images[i] = float32(rng.NormFloat64())
	}
	for i := range labels {
		labels[i] = rng.Int64N(int64(s.classes))
	}
	return func(yield func(*data.Batch, error) bool) {
		for n := from; n < s.batches; n++ {
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			b := &data.Batch{Number: n, Images: images, Labels: labels, Channels: s.channels, Height: s.size, Width: s.size}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Write prints the report.
func (r *StepReport) Write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, batch %d at %d, %d threads, %s\n"+
		"training step  %8.1f ms (%.1f-%.1f)  %5.1f images/s  %5.1f GFLOP/s\n"+
		"evaluation     %8.1f ms (%.1f-%.1f)  %5.1f images/s  %5.1f GFLOP/s\n"+
		"calls into C   %8.0f a step of %.0f ns: %.3f%% of it\n",
		r.Model, r.Batch, r.Size, r.Threads, r.InstructionSet,
		1e3*r.Train.Median, 1e3*r.Train.Min, 1e3*r.Train.Max, float64(r.Batch)/r.Train.Median, r.Train.GFLOPS,
		1e3*r.Evaluate.Median, 1e3*r.Evaluate.Min, 1e3*r.Evaluate.Max, float64(r.Batch)/r.Evaluate.Median, r.Evaluate.GFLOPS,
		r.CgoCalls, r.CgoNanoseconds, 100*r.CgoCalls*r.CgoNanoseconds*1e-9/r.Train.Median)
	return err
}
