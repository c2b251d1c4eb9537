package train

import (
	"slices"
	"strings"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/models"
)

// initialWeights starts from the configured checkpoint, unless the run goes on
// from its own. The head is kept only where it tells the same classes apart: one
// for other classes that happen to be as many starts anew, too.
func (r *run) initialWeights() error {
	if r.config.InitialCheckpoint == "" || r.from != nil {
		return nil
	}
	file, err := checkpoint.Open(r.config.InitialCheckpoint, nil)
	if err != nil {
		return err
	}
	defer file.Close()
	match := checkpoint.MatchOptions{}
	if info, err := models.InfoOf(file); err == nil && len(info.Classes) > 0 {
		match.NewHead = !slices.Equal(info.Classes, r.classNames())
	}
	report, err := r.model.Load(file, &match)
	if err != nil {
		return err
	}
	r.options.Log.Info("initial checkpoint", "file", r.config.InitialCheckpoint, "report", report.String())
	return nil
}

// freeze excludes what the configuration names from training.
func (r *run) freeze() error {
	if r.config.Freeze == "" {
		return nil
	}
	patterns := strings.Split(r.config.Freeze, ",")
	for i := range patterns {
		patterns[i] = strings.TrimSpace(patterns[i])
	}
	n, err := r.model.Freeze(patterns...)
	if err == nil {
		r.options.Log.Info("frozen", "tensors", n, "of", len(r.model.Parameters()))
	}
	return err
}
