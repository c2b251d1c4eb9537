package train

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gonatten/gonatten/train/config"
)

// finished looks whether the run that goes on stands where its configuration ends
// already. One that came to that very end has its summary returned again, so that a
// job may be started once more; an end that lies before where the run is can no
// longer be had and is an error. The folder stays as it is in both cases. Nil means
// that there is something to do: steps, or the evaluation and the summary that an
// interruption kept from being made.
func (r *run) finished() (*Summary, error) {
	if r.from == nil {
		return nil, nil
	}
	summary, err := share(r, func() (*Summary, error) {
		var at memory
		if err := r.from.Section(sectionRun).Value(&at); err != nil {
			return nil, fmt.Errorf("train: resume: %w", err)
		}
		c, end := r.config, r.loop.Epochs
		over, onwards := "", ""
		switch {
		case at.Epoch >= end:
			over = fmt.Sprintf("epoch %d, and the end is epoch %d (epochs %d, cooldown_epochs %d)", at.Epoch, end, c.Epochs, c.CooldownEpochs)
			onwards = fmt.Sprintf("--epochs %d", c.Epochs+at.Epoch-end+1)
		case c.MaxSteps > 0 && at.Step >= c.MaxSteps:
			over = fmt.Sprintf("step %d, and max_steps is %d", at.Step, c.MaxSteps)
			onwards = fmt.Sprintf("--max-steps %d", at.Step+1)
		default:
			return nil, nil
		}
		reason := fmt.Sprintf("nothing is left to train: %s is at %s; to train on: natten train --resume %s %s or more", r.folder, over, r.folder, onwards)
		saved, err := config.Load(filepath.Join(r.folder, ConfigFile))
		if err != nil || !r.endsAs(saved) {
			return nil, fmt.Errorf("train: resume: %s", reason)
		}
		// Which folder it is does not count.
		if changed := r.config.Changes(saved, "resume", "output", "experiment"); len(changed) > 0 {
			return nil, fmt.Errorf("train: resume: %s; not taken up: %s", reason, strings.Join(changed, ", "))
		}
		var s Summary
		text, err := os.ReadFile(filepath.Join(r.folder, SummaryFile))
		if err != nil || json.Unmarshal(text, &s) != nil || s.Interrupted {
			return nil, nil // the end itself is missing
		}
		s.StopReason = reason
		return &s, nil
	})
	if summary != nil {
		summary.Rank = r.rank()
	}
	return summary, err
}

// endsAs tells whether a run with this configuration has the same end.
func (r *run) endsAs(saved *config.Config) bool {
	_, end, err := learningRate(saved, r.loop.StepsPerEpoch())
	return err == nil && end == r.loop.Epochs && saved.MaxSteps == r.config.MaxSteps
}
