package train

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/record"
	"github.com/gonatten/gonatten/train/state"
)

// Sections of a checkpoint.
const (
	sectionModel     = "model"
	sectionEMA       = "ema"
	sectionOptimizer = "optimizer"
	sectionRandom    = "random"
	sectionRun       = "run"
)

type namedPart struct {
	name string
	part state.Part
}

// parts are what a checkpoint of the run consists of.
func (r *run) parts() []namedPart {
	list := []namedPart{
		{sectionModel, modelPart{r.model}},
		{sectionOptimizer, optimizerPart{r.optimizer}},
		{sectionRandom, randomPart{r}},
	}
	if r.shards != nil {
		list[1].part = shardedPart{optimizerPart{r.optimizer}, r.group, r.shards, trainable(r.model)}
	}
	if r.ema != nil {
		list = append(list, namedPart{sectionEMA, emaPart{r.ema}})
	}
	for _, name := range slices.Sorted(maps.Keys(r.loop.Parts)) { // all processes in one order
		list = append(list, namedPart{name, r.loop.Parts[name]})
	}
	return append(list, namedPart{sectionRun, runPart{r}})
}

type modelPart struct{ *models.Model }

func (p modelPart) SaveState(s *state.Section) error {
	for _, t := range p.Tensors() {
		if err := s.PutTensor(t.Name, t.Tensor); err != nil {
			return err
		}
	}
	return nil
}

func (p modelPart) LoadState(s *state.Section) error {
	for _, t := range p.Tensors() {
		if err := s.GetTensor(t.Name, t.Tensor); err != nil {
			return err
		}
	}
	return nil
}

type emaPart struct{ *optim.EMA }

func (p emaPart) SaveState(s *state.Section) error {
	for _, t := range p.Parameters() {
		if err := s.PutTensor(t.Name, t.Tensor); err != nil {
			return err
		}
	}
	return s.PutValue(p.Updates)
}

func (p emaPart) LoadState(s *state.Section) error {
	for _, t := range p.Parameters() {
		if err := s.GetTensor(t.Name, t.Tensor); err != nil {
			return err
		}
	}
	return s.Value(&p.Updates)
}

type optimizerPart struct{ *optim.Optimizer }

type optimizerValue struct {
	Name    string         `json:"name"`
	Updates map[string]int `json:"updates"`
}

func (p optimizerPart) SaveState(s *state.Section) error {
	err := p.StateTensors(func(slot, parameter string, t *ts.Tensor) error { return s.PutTensor(slot+"."+parameter, t) })
	if err != nil {
		return err
	}
	return s.PutValue(optimizerValue{p.Name(), p.Updates()})
}

func (p optimizerPart) LoadState(s *state.Section) error {
	var v optimizerValue
	if err := s.Value(&v); err != nil {
		return err
	}
	if v.Name != p.Name() {
		return fmt.Errorf("the checkpoint is of optimizer %s, the run has %s", v.Name, p.Name())
	}
	err := p.StateTensors(func(slot, parameter string, t *ts.Tensor) error { return s.GetTensor(slot+"."+parameter, t) })
	if err != nil {
		return err
	}
	return p.SetUpdates(v.Updates)
}

// randomPart is libtorch's generators, each process's own: the CPU's, and that of
// the device where the model is on one. Order and augmentation of the data depend
// on seed, epoch and picture alone and have no state.
type randomPart struct{ *run }

// generators are the devices whose generators count, under their names in a
// checkpoint.
func (r randomPart) generators() map[string]torch.Device {
	list := map[string]torch.Device{"torch": torch.CPU}
	if r.device.Is(torch.CUDA) {
		list["cuda"] = r.device
	}
	return list
}

func (r randomPart) SaveState(s *state.Section) error {
	list := r.generators()
	for _, name := range slices.Sorted(maps.Keys(list)) { // all processes in one order
		generator, err := torch.GeneratorStateOf(list[name])
		if err != nil {
			return err
		}
		own, err := torch.Bytes(generator)
		generator.MustDrop()
		if err != nil {
			return err
		}
		all := [][]byte{own}
		if r.group != nil {
			if all, err = r.group.Gather(own); err != nil {
				return err
			}
		}
		for rank, bytes := range all {
			if err := s.PutBytes(fmt.Sprint(name, ".", rank), bytes); err != nil {
				return err
			}
		}
	}
	return nil
}

// LoadState leaves a device's generator as it is where the checkpoint was made
// without that device.
func (r randomPart) LoadState(s *state.Section) error {
	for name, device := range r.generators() {
		key := fmt.Sprint(name, ".", r.rank())
		if !device.Is(torch.CPU) && !s.Has(key) {
			r.options.Log.Warn("the checkpoint has no random numbers of this device: the run goes on with others", "device", device)
			continue
		}
		bytes, err := s.Bytes(key)
		if err != nil {
			return err
		}
		generator, err := torch.FromSlice(bytes, int64(len(bytes)))
		if err != nil {
			return err
		}
		err = torch.SetGeneratorStateOf(device, generator)
		generator.MustDrop()
		if err != nil {
			return err
		}
	}
	return nil
}

// memory is what the run itself remembers.
type memory struct {
	Epoch       int           `json:"epoch"`
	Batch       int           `json:"batch"`
	Step        int           `json:"step"`
	Images      int64         `json:"images"`
	Loss        record.Number `json:"loss"`
	Skipped     int           `json:"skipped"`
	SkippedRow  int           `json:"skipped_row"`
	Best        *bestValue    `json:"best,omitempty"`
	BestEpoch   int           `json:"best_epoch"`
	BestStep    int           `json:"best_step"`
	Evaluated   int           `json:"evaluated_step"`
	EvaluatedAt int           `json:"evaluated"` // epoch; checkpoints had no step before 2026-11-29
	Kept        int           `json:"kept_step"`
	Trained     time.Duration `json:"trained_ns"`
	TrainedOn   int64         `json:"trained_images"`
	Elapsed     time.Duration `json:"elapsed_ns"`
	Metrics     int64         `json:"metrics_bytes"`
	ClockLoss   record.Number `json:"clock_loss"` // since the last record
	ClockSteps  int           `json:"clock_steps"`
	ClockImages int64         `json:"clock_images"`
	ClockTime   time.Duration `json:"clock_ns"`
	World       int           `json:"world_size"`
	BatchSize   int           `json:"batch_size"`
}

type bestValue struct {
	Images  int           `json:"images"`
	Loss    record.Number `json:"loss"`
	Top1    float64       `json:"top1"`
	Top5    float64       `json:"top5"`
	Seconds float64       `json:"seconds"`
}

type runPart struct{ *run }

func (r runPart) SaveState(s *state.Section) error {
	if !r.leads() {
		return nil
	}
	size, err := r.metrics.Size()
	if err != nil {
		return err
	}
	l, c := &r.loop.State, r.clock
	m := memory{
		Epoch: l.Epoch, Batch: l.Batch, Step: l.Step, Images: l.Images, Loss: record.Number(l.Loss),
		Skipped: l.Skipped, SkippedRow: l.SkippedInRow,
		BestEpoch: r.bestEpoch, BestStep: r.bestStep, Evaluated: r.evaluated, Kept: r.kept, Trained: r.trained, TrainedOn: r.images, Elapsed: r.elapsed(),
		Metrics: size, ClockLoss: record.Number(c.loss), ClockSteps: c.steps, ClockImages: c.images, ClockTime: c.elapsed,
		World: r.world(), BatchSize: r.config.BatchSize,
	}
	if b := r.best; b != nil {
		m.Best = &bestValue{b.Images, record.Number(b.Loss), b.Top1, b.Top5, b.Seconds}
	}
	return s.PutValue(m)
}

func (r runPart) LoadState(s *state.Section) error {
	var m memory
	if err := s.Value(&m); err != nil {
		return err
	}
	if m.World != r.world() || m.BatchSize != r.config.BatchSize {
		return fmt.Errorf("the checkpoint was made by %d processes with batch_size %d, this run has %d with %d",
			m.World, m.BatchSize, r.world(), r.config.BatchSize)
	}
	l, c := &r.loop.State, r.clock
	l.Epoch, l.Batch, l.Step, l.Images, l.Loss = m.Epoch, m.Batch, m.Step, m.Images, float64(m.Loss)
	l.Skipped, l.SkippedInRow = m.Skipped, m.SkippedRow
	if m.EvaluatedAt > 0 && m.EvaluatedAt == m.Epoch && m.Batch == 0 {
		m.Evaluated = m.Step
	}
	r.recorded = m.Metrics
	r.bestEpoch, r.bestStep, r.evaluated, r.kept = m.BestEpoch, m.BestStep, m.Evaluated, m.Kept
	r.trained, r.images, r.before = m.Trained, m.TrainedOn, m.Elapsed
	c.loss, c.steps, c.images, c.elapsed = float64(m.ClockLoss), m.ClockSteps, m.ClockImages, m.ClockTime
	if b := m.Best; b != nil {
		r.best = &Evaluation{Images: b.Images, Loss: float64(b.Loss), Top1: b.Top1, Top5: b.Top5, Seconds: b.Seconds}
	}
	return nil
}
