package train

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/record"
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

// runName is how the folder of a run without a name of its own begins.
func runName(c *config.Config) string {
	source := strings.Map(func(x rune) rune {
		if strings.ContainsRune(`/\:*?"<>|{}. `, x) {
			return '-'
		}
		return x
	}, cmp.Or(c.Dataset, filepath.Base(filepath.Clean(c.DataDir))))
	return fmt.Sprintf("%s-%s-", source, c.Model)
}

// makeFolder makes the run's folder and saves the configuration there.
func (r *run) makeFolder() (err error) {
	r.folder, err = share(r, func() (string, error) {
		err := r.makeOwnFolder()
		return r.folder, err
	})
	if at := &r.loop.State; err == nil && at.Step > 0 {
		r.options.Log.Info("resuming", "folder", r.folder, "step", at.Step, "epoch", at.Epoch, "batch", at.Batch)
	}
	return err
}

// makeOwnFolder makes the folder, or takes over that of the run that goes on, with
// the configuration in it.
func (r *run) makeOwnFolder() error {
	prepare := r.newFolder
	if r.resumed {
		prepare = r.reopenFolder
	}
	if err := prepare(); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(r.folder, ConfigFile), r.config.YAML()); err != nil {
		return fmt.Errorf("train: run folder: %w", err)
	}
	var err error
	r.metrics, err = record.OpenBook(r.folder)
	return err
}

func (r *run) newFolder() error {
	c := r.config
	if err := os.MkdirAll(c.Output, 0o755); err != nil {
		return fmt.Errorf("train: run folder: %w", err)
	}
	name := cmp.Or(c.Experiment, runName(c)+r.started.Format("20060102-150405"))
	r.folder = filepath.Join(c.Output, name)
	for n := 2; ; n++ { // a name of its own, also for two runs in one second
		err := os.Mkdir(r.folder, 0o755)
		switch {
		case err == nil:
			return nil
		case !os.IsExist(err):
			return fmt.Errorf("train: run folder: %w", err)
		case c.Experiment != "":
			return fmt.Errorf("train: run folder %s exists already: choose another experiment, or resume it", r.folder)
		}
		r.folder = filepath.Join(c.Output, fmt.Sprintf("%s-%d", name, n))
	}
}

// reopenFolder makes the folder of an earlier run this one's: records end where
// the checkpoint was made, and what a killed process left half-written goes.
func (r *run) reopenFolder() error {
	if err := r.checkpoints().RemoveStale(); err != nil {
		return err
	}
	for _, name := range []string{BestFile, LastFile, CurveFile, SummaryFile, ConfigFile} {
		if _, err := atomicfile.RemoveStale(filepath.Join(r.folder, name)); err != nil {
			return fmt.Errorf("train: run folder: %w", err)
		}
	}
	// A summary is of a run that has come to its end.
	if err := os.Remove(filepath.Join(r.folder, SummaryFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("train: run folder: %w", err)
	}
	path := filepath.Join(r.folder, MetricsFile)
	if err := record.Rewind(path, r.recorded); err != nil {
		return err
	}
	var err error
	r.rows, err = record.ReadLog(path)
	return err
}

// checkpointsOf is the folder of a run's checkpoints.
func checkpointsOf(folder string) state.Folder {
	return state.Folder(filepath.Join(folder, CheckpointsDir))
}

func (r *run) checkpoints() state.Folder { return checkpointsOf(r.folder) }
