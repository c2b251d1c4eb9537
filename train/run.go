package train

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/dist"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/progress"
	"github.com/gonatten/gonatten/train/record"
	"github.com/gonatten/gonatten/train/state"
)

// RunOptions are what a run takes besides its configuration.
type RunOptions struct {
	Progress *progress.Bar // nil: silent
	Log      *slog.Logger  // nil: silent
	// Prepare is called with the loop before it starts, to add hooks. nil: none.
	Prepare func(*Loop) error
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
	r := &run{config: &own, options: o, started: time.Now(), kept: -1}
	defer r.close()
	s, err := r.all(ctx)
	r.leave(err)
	return s, err
}

// all is the run, from meeting the other processes to the summary.
func (r *run) all(ctx context.Context) (*Summary, error) {
	join, openData := func() error { return r.join(ctx) }, func() error { return r.openData(ctx) }
	if err := inOrder(ctx, join, r.findResume, openData, r.buildModel, r.buildLoop); err != nil {
		return nil, err
	}
	if done, err := r.finished(); done != nil || err != nil {
		return done, err
	}
	// Nothing is written before all of the checkpoint has been taken up.
	if err := inOrder(ctx, r.buildEvaluator, r.addHooks, r.restore, r.makeFolder); err != nil {
		return nil, err
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

// inOrder does steps until one fails or the context ends.
func inOrder(ctx context.Context, steps ...func() error) error {
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// run is a run while it is going on. Fields are set by the steps of all, in its
// order.
type run struct {
	config  *config.Config
	options RunOptions
	started time.Time

	device  torch.Device
	group   *dist.Group    // nil: one process
	replica *dist.Replica  // nil: one process
	shards  map[string]int // who keeps the optimizer's state for which parameter; nil: all for all

	restarted bool            // the launcher has started the job again
	resumed   bool            // folder is that of an earlier process
	from      *state.Snapshot // to be restored
	before    time.Duration   // that earlier processes took

	train, val data.Dataset // val: nil where nothing is evaluated
	classes    []string
	input      models.Preprocess

	precision  gotch.DType
	model      *models.Model
	parameters int64 // how many
	optimizer  *optim.Optimizer
	ema        *optim.EMA // nil: none
	loop       *Loop
	evaluator  *Evaluator // nil: none

	folder   string
	metrics  *record.Book
	recorded int64        // bytes of metrics that belong to what was restored
	rows     []record.Row // that metrics has
	saved    int          // step of the last checkpoint

	clock     *stepClock
	trained   time.Duration // on images
	images    int64
	evaluated int         // step of the last evaluation
	kept      int         // step of the last file of weights, -1: none
	best      *Evaluation // of bestEpoch and bestStep
	bestEpoch int         // epochs completed
	bestStep  int
}

// close frees what the run holds, however far it came.
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
		_ = data.Close(d)
	}
}
