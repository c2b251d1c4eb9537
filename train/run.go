package train

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/dist"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/progress"
	"github.com/gonatten/gonatten/train/record"
	"github.com/gonatten/gonatten/train/schedule"
	"github.com/gonatten/gonatten/train/state"
)

// Files in a run's folder.
const (
	ConfigFile  = "config.yaml"
	MetricsFile = record.JSONFile
	CurveFile   = "curve.png"
	BestFile    = "best.safetensors"
	LastFile    = "last.safetensors"
	SummaryFile = "summary.json"
	SamplesDir  = "samples" // a few evaluation pictures, to try the model on
)

// RunOptions are what a run takes besides its configuration.
type RunOptions struct {
	Progress *progress.Bar // nil: silent
	Log      *slog.Logger  // nil: silent
	// Prepare is called with the loop before it starts, to add hooks. nil: none.
	Prepare func(*Loop) error
}

// Summary is the outcome of a run.
type Summary struct {
	Model      string `json:"model"`
	Parameters int64  `json:"parameters"`
	Folder     string `json:"folder"`
	Checkpoint string `json:"checkpoint"` // the weights to use: the best, or the last where nothing was evaluated
	Curve      string `json:"curve"`
	Samples    string `json:"samples,omitempty"`
	// TestAccuracy is the top-1 accuracy of Checkpoint in percent, BestEpoch the
	// number of epochs behind it.
	TestAccuracy    float64 `json:"test_accuracy"`
	TestTop5        float64 `json:"test_top5"`
	BestEpoch       int     `json:"best_epoch"`
	Epochs          int     `json:"epochs"` // completed
	Steps           int     `json:"steps"`
	ImagesPerSecond float64 `json:"images_per_second"` // of training, evaluation apart
	FLOPsPerImage   float64 `json:"flops_per_image"`   // of training: forward, backward, recomputation
	Seconds         float64 `json:"seconds"`           // all in all
	ResidentBytes   int64   `json:"resident_bytes"`
	Skipped         int     `json:"skipped_steps"` // whose loss was no finite number
	Processes       int     `json:"processes"`
	Reductions      int     `json:"gradient_reductions"` // buckets averaged over the processes
	Rank            int     `json:"rank"`                // of this process; rank 0 has written the files
	Interrupted     bool    `json:"interrupted"`
	StopReason      string  `json:"stop_reason,omitempty"`
}

// Run does a whole training run as configured: data, model, optimizer, loop,
// evaluation after epochs, and a folder with weights, metrics, curve and
// configuration. When the context ends, it saves and returns a summary that
// says so. It holds its OS thread.
func Run(ctx context.Context, c *config.Config, o RunOptions) (*Summary, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	own := *c // what the environment decides is not the caller's to see
	r := &run{config: &own, options: o, started: time.Now()}
	defer r.close()
	s, err := r.all(ctx)
	r.leave(err)
	return s, err
}

// all is the run, from meeting the other processes to the summary.
func (r *run) all(ctx context.Context) (*Summary, error) {
	for _, step := range []func() error{func() error { return r.join(ctx) }, r.findResume, r.openData, r.buildModel, r.buildLoop, r.makeFolder, r.buildEvaluator, r.addHooks, r.restore} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
	}
	if r.options.Prepare != nil {
		if err := r.options.Prepare(r.loop); err != nil {
			return nil, err
		}
	}
	if err := r.loop.Run(ctx); err != nil {
		return nil, err
	}
	return r.finish()
}

// run is a run while it is going on.
type run struct {
	config  *config.Config
	options RunOptions
	started time.Time

	train, val data.Dataset
	classes    []string
	input      models.Preprocess
	device     torch.Device
	precision  gotch.DType

	model      *models.Model
	parameters int64
	optimizer  *optim.Optimizer
	ema        *optim.EMA
	loop       *Loop
	evaluator  *Evaluator

	group   *dist.Group    // nil: one process
	replica *dist.Replica  // nil: one process
	shards  map[string]int // who keeps the optimizer's state for which parameter; nil: all for all

	folder    string
	metrics   *record.Book
	rows      []record.Row
	best      *Evaluation
	bestEpoch int
	evaluated int // epoch of the last evaluation, counted as completed
	trained   time.Duration
	images    int64
	clock     *stepClock

	restarted bool            // the launcher has started the job again
	resumed   bool            // folder is that of an earlier process
	from      *state.Snapshot // to be restored
	saved     int             // step of the last checkpoint
	restored  int             // step that the run went on from
	before    time.Duration   // that earlier processes took
}

func (r *run) close() {
	if r.from != nil {
		r.from.Close()
	}
	if r.ema != nil {
		r.ema.Close()
	}
	if r.optimizer != nil {
		r.optimizer.Close()
	}
	if r.loop != nil && r.loop.Scaler != nil {
		r.loop.Scaler.Close()
	}
	dropModel(r.model)
	if r.metrics != nil {
		r.metrics.Close()
	}
	for _, d := range []data.Dataset{r.train, r.val} {
		if c, ok := d.(interface{ Close() error }); ok {
			c.Close()
		}
	}
}

// fetching shows the progress of data.Open.
func (r *run) fetching() data.Progress {
	bar, title := r.options.Progress, ""
	return func(what string, done, total int64) {
		if what != title {
			title = what
			bar.Start(what)
		}
		bar.Update(done, total, progress.Bytes(done))
	}
}

func (r *run) openData() error {
	if r.group == nil {
		return r.openSplits()
	}
	return r.group.Once("data", r.openSplits)
}

func (r *run) openSplits() (err error) {
	if r.train, err = openSplit(r.config, r.config.TrainSplit, r.fetching()); err != nil {
		return err
	}
	if r.config.ValSplit != "" {
		if r.val, err = openSplit(r.config, r.config.ValSplit, r.fetching()); err != nil {
			return err
		}
	}
	r.options.Progress.Clear()
	r.classes = r.train.Classes()
	return nil
}

func (r *run) buildModel() (err error) {
	c := r.config
	if c.Threads > 0 {
		if err := torch.SetThreads(c.Threads); err != nil {
			return err
		}
	}
	var reduced bool
	if r.precision, reduced = precision(c, r.device); reduced {
		r.options.Log.Info("training in float32: this processor has no bfloat16 instructions")
	}
	if err := torch.ManualSeed(uint64(c.Seed)); err != nil {
		return err
	}
	classes := len(r.classes)
	if c.NumClasses > 0 {
		if c.NumClasses < classes {
			return fmt.Errorf("train: num_classes is %d, and the data has %d classes", c.NumClasses, classes)
		}
		classes = c.NumClasses
	}
	r.model, err = models.New(c.Model, gotchnn.NewVarStore(r.device.Gotch()).Root(), models.With(func(m *models.Config) {
		m.NumClasses = int64(classes)
		if c.ImgSize > 0 && int64(c.ImgSize) != m.ImageSize {
			models.WithImageSize(int64(c.ImgSize))(m)
		}
		m.DropRate, m.AttnDropRate = c.Drop, c.AttnDrop
		if c.DropPath >= 0 {
			m.DropPathRate = c.DropPath
		}
	}))
	if err != nil {
		return err
	}
	if r.parameters, err = r.model.NumParameters(); err != nil {
		return err
	}
	if r.input, err = preprocessing(c, &r.model.Config); err != nil {
		return err
	}
	if c.InitialCheckpoint != "" && r.from == nil {
		if err := r.initialWeights(); err != nil {
			return err
		}
	}
	return r.freeze()
}

// chooseDevice resolves the configured device; "" is CUDA where the operators
// run there.
func chooseDevice(name string) (torch.Device, error) {
	switch {
	case name == "cuda" && !functional.HasCUDA():
		return torch.CPU, fmt.Errorf("train: device is cuda, and the operators do not run there (natten info says why)")
	case name == "cuda", name == "" && functional.HasCUDA():
		return torch.CUDAIndex(0), nil
	}
	return torch.CPU, nil
}

func (r *run) buildLoop() (err error) {
	c := r.config
	transform, err := trainTransform(c, r.input, int(r.model.Config.InChans))
	if err != nil {
		return err
	}
	loader, err := data.NewLoader(r.train, transform, data.LoaderOptions{
		BatchSize: c.BatchSize, Workers: c.Workers, Seed: uint64(c.Seed), Shuffle: true, DropLast: true, Rank: r.rank(), WorldSize: r.world(),
		Repeats: c.AugRepeats, MaxBad: c.MaxBad, OnBad: r.skipped,
	})
	if err != nil {
		return err
	}
	parameters := trainable(r.model)
	groups, err := optim.Groups(parameters, r.grouping())
	if err != nil {
		return err
	}
	if r.shards, err = r.owners(parameters); err != nil {
		return err
	}
	if err := r.replicate(parameters); err != nil {
		return err
	}
	options := optim.Options{Eps: c.OptEps, Momentum: c.Momentum}
	if r.shards != nil {
		options.Owned = func(name string) bool { return r.shards[name] == r.rank() }
	}
	if len(c.OptBetas) == 2 {
		options.Beta1, options.Beta2 = c.OptBetas[0], c.OptBetas[1]
	}
	if r.optimizer, err = optim.New(c.Opt, groups, options); err != nil {
		return err
	}
	if c.ModelEMA {
		if r.ema, err = optim.NewEMA(parameters, c.ModelEMADecay, c.ModelEMAWarmup); err != nil {
			return err
		}
	}
	r.loop = &Loop{
		Model: r.model, Optimizer: r.optimizer, Source: loader, MaxSteps: c.MaxSteps,
		Accumulate: c.AccumSteps, EMA: r.ema, Precision: r.precision, Device: r.device, Recompute: c.GradCheckpointing,
		MaxSkipped: c.MaxSkipped, OnNonFinite: r.saveInputs,
	}
	if r.precision == gotch.Half {
		if r.loop.Scaler, err = optim.NewScaler(r.device, optim.ScalerOptions{}); err != nil {
			return err
		}
		r.loop.Parts = map[string]state.Part{"scaler": scalerPart{r.loop.Scaler, &r.loop.State}}
	}
	if r.replica != nil {
		r.loop.Peers = r.replica
	}
	r.loop.Mix, r.loop.Loss = mixing(c, int(r.model.Config.NumClasses), r.rank(), r.world())
	if c.ClipMode == "value" {
		r.loop.ClipValue = c.ClipGrad
	} else {
		r.loop.ClipNorm = c.ClipGrad
	}
	r.loop.Schedule, r.loop.Epochs, err = learningRate(c, r.loop.StepsPerEpoch())
	return err
}

// trainable are the parameters of a model that are not frozen.
func trainable(m *models.Model) []optim.Parameter {
	var list []optim.Parameter
	for _, t := range m.Trainable() {
		list = append(list, optim.Parameter(t))
	}
	return list
}

// learningRate is the configured schedule per optimizer step, and the number of
// epochs of the run.
func learningRate(c *config.Config, stepsPerEpoch int) (schedule.Schedule, int, error) {
	unit := float64(stepsPerEpoch) // time units per epoch
	if c.SchedEpochwise {
		unit = 1
	}
	settings := schedule.Settings{
		Name: c.Sched, LR: c.LR, MinLR: c.MinLR, WarmupLR: c.WarmupLR,
		Steps: int(unit) * c.Epochs, Warmup: int(math.Round(unit * c.WarmupEpochs)), WarmupPrefix: c.WarmupPrefix,
		Cycles: c.LRCycleLimit, CycleMul: c.LRCycleMul, CycleDecay: c.LRCycleDecay, KDecay: c.LRKDecay,
		DecaySteps: unit * c.DecayEpochs, DecayRate: c.DecayRate,
	}
	for _, m := range c.DecayMilestones {
		settings.Milestones = append(settings.Milestones, int(unit)*m)
	}
	lr, err := schedule.New(settings)
	if err != nil {
		return nil, 0, err
	}
	epochs := int(math.Ceil(float64(settings.Length())/unit)) + c.CooldownEpochs
	if c.SchedEpochwise {
		return func(step int) float64 { return lr(step / stepsPerEpoch) }, epochs, nil
	}
	return lr, epochs, nil
}

func (r *run) skipped(e *data.SampleError) {
	r.options.Log.Warn("unreadable image skipped", "image", e.Name, "error", e.Err)
}

// runName is how the folder of a run without a name of its own begins.
func runName(c *config.Config) string {
	source := c.Dataset
	if source == "" {
		source = filepath.Base(filepath.Clean(c.DataDir))
	}
	source = strings.Map(func(x rune) rune {
		if strings.ContainsRune(`/\:*?"<>|{}. `, x) {
			return '-'
		}
		return x
	}, source)
	return fmt.Sprintf("%s-%s-", source, c.Model)
}

// makeFolder makes the run's folder and saves the configuration there.
func (r *run) makeFolder() (err error) {
	r.folder, err = share(r, func() (string, error) {
		err := r.makeOwnFolder()
		return r.folder, err
	})
	return err
}

func (r *run) makeOwnFolder() error {
	if r.resumed {
		return r.reopenFolder()
	}
	c := r.config
	name := c.Experiment
	if name == "" {
		name = runName(c) + r.started.Format("20060102-150405")
	}
	r.folder = filepath.Join(c.Output, name)
	if err := os.MkdirAll(c.Output, 0o755); err != nil {
		return fmt.Errorf("train: run folder: %w", err)
	}
	for n := 2; ; n++ { // a name of its own, also for two runs in one second
		err := os.Mkdir(r.folder, 0o755)
		if err == nil {
			break
		} else if !os.IsExist(err) {
			return fmt.Errorf("train: run folder: %w", err)
		} else if c.Experiment != "" {
			return fmt.Errorf("train: run folder %s exists already: choose another experiment, or resume it", r.folder)
		}
		r.folder = filepath.Join(c.Output, fmt.Sprintf("%s-%d", name, n))
	}
	if err := atomicfile.WriteFile(filepath.Join(r.folder, ConfigFile), c.YAML()); err != nil {
		return fmt.Errorf("train: run folder: %w", err)
	}
	var err error
	r.metrics, err = record.OpenBook(r.folder)
	return err
}

func (r *run) buildEvaluator() error {
	if r.val == nil {
		return nil
	}
	c := r.config
	transform, err := evalTransform(r.input, int(r.model.Config.InChans))
	if err != nil {
		return err
	}
	rank, world := r.rank(), r.world()
	if r.val.Len() < world {
		rank, world = 0, 1 // too few to share: every process evaluates all
	}
	batch := c.ValBatch
	if batch == 0 {
		batch = c.BatchSize
	}
	loader, err := data.NewLoader(r.val, transform, data.LoaderOptions{
		BatchSize: batch, Workers: c.Workers, MaxBad: c.MaxBad, OnBad: r.skipped, Uneven: true, Rank: rank, WorldSize: world,
	})
	if err != nil {
		return err
	}
	r.evaluator = &Evaluator{Model: r.model, Source: loader, Device: r.device, Precision: r.precision}
	if world > 1 {
		r.evaluator.Sum = r.group.Sum
	}
	return nil
}

// card describes the model as it is now.
func (r *run) card(top1 float64) (Card, error) {
	raw, err := json.Marshal(r.config)
	if err != nil {
		return Card{}, fmt.Errorf("train: %w", err)
	}
	return Card{
		Info: models.Info{Config: r.model.Config, Classes: r.classNames(), Preprocess: r.input}, Run: raw,
		Epoch: r.loop.State.Epoch, Step: r.loop.State.Step, Top1: top1, EMA: r.ema != nil,
	}, nil
}

// classNames are the data's, or none where the model has more classes.
func (r *run) classNames() []string {
	if int64(len(r.classes)) != r.model.Config.NumClasses {
		return nil
	}
	return r.classes
}

// finish writes the summary.
func (r *run) finish() (*Summary, error) {
	state := &r.loop.State
	s := &Summary{
		Model: r.model.Config.Name, Parameters: r.parameters, Folder: r.folder,
		Checkpoint: filepath.Join(r.folder, LastFile), Curve: filepath.Join(r.folder, CurveFile),
		Epochs: state.Epoch, Steps: state.Step, Seconds: r.elapsed().Seconds(),
		Skipped: state.Skipped, Processes: r.world(), Rank: r.rank(), Reductions: r.group.Reductions(),
		ResidentBytes: progress.Resident(), Interrupted: state.Interrupted, StopReason: state.StopReason,
	}
	if r.best != nil {
		s.Checkpoint, s.BestEpoch = filepath.Join(r.folder, BestFile), r.bestEpoch
		s.TestAccuracy, s.TestTop5 = r.best.Top1, r.best.Top5
	}
	if r.trained > 0 {
		s.ImagesPerSecond = float64(r.images) / r.trained.Seconds()
		s.FLOPsPerImage, _ = r.loop.Cost.Of(1, 0)
	}
	if !r.leads() {
		return s, nil
	}
	if r.val != nil {
		s.Samples = filepath.Join(r.folder, SamplesDir)
		if err := saveSamples(s.Samples, r.val, 10); err != nil {
			return nil, err
		}
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(r.folder, SummaryFile), append(text, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("train: summary: %w", err)
	}
	return s, nil
}
