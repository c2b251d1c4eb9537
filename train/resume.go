package train

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/state"
)

// ResumeAuto as the configuration's resume goes on with the unfinished run that
// has the very same configuration, or starts one where there is none. It suits
// job files that a scheduler may start again.
const ResumeAuto = "auto"

// ResumeConfig is the configuration of the run that resume names: its folder, or
// a checkpoint in it.
func ResumeConfig(resume string) (*config.Config, error) {
	folder, _, err := resumeTarget(resume)
	if err != nil {
		return nil, err
	}
	return config.Load(filepath.Join(folder, ConfigFile))
}

// resumeTarget takes a run's folder, its folder of checkpoints, or one
// checkpoint, which is then file.
func resumeTarget(path string) (folder, file string, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("train: resume: there is no %s: give the folder of a run%s, or leave resume out to start one",
			path, suggestRuns(path))
	case err != nil:
		return "", "", fmt.Errorf("train: resume: %w", err)
	}
	path = filepath.Clean(path)
	if !info.IsDir() {
		file, path = path, filepath.Dir(path)
	}
	if filepath.Base(path) == CheckpointsDir {
		path = filepath.Dir(path)
	}
	if _, err := os.Stat(filepath.Join(path, ConfigFile)); err != nil {
		return "", "", fmt.Errorf("train: resume: %s is not the folder of a run: it has no %s%s", path, ConfigFile, latestRuns(path))
	}
	return path, file, nil
}

// suggestRuns is a remark, to follow "the folder of a run", on what may have been
// meant where there is nothing under a path: the run of that name where runs are
// made, or else the latest runs beside the path or there.
func suggestRuns(path string) string {
	output := config.Default().Output
	named := filepath.Join(output, filepath.Base(path))
	if _, err := os.Stat(filepath.Join(named, ConfigFile)); err == nil {
		return " (did you mean " + named + "?)"
	}
	return cmp.Or(latestRuns(filepath.Dir(filepath.Clean(path))), latestRuns(output))
}

// latestRuns names the latest runs in a folder, "" where there are none.
func latestRuns(folder string) string {
	const most = 3
	configs, _ := filepath.Glob(filepath.Join(folder, "*", ConfigFile))
	if len(configs) == 0 {
		return ""
	}
	slices.SortStableFunc(configs, func(a, b string) int { return changed(b).Compare(changed(a)) })
	var runs []string
	for _, file := range configs[:min(most, len(configs))] {
		runs = append(runs, filepath.Dir(file))
	}
	return " (such as " + strings.Join(runs, ", ") + ")"
}

func changed(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// origin is where a run goes on from.
type origin struct {
	Folder     string // "": a new run
	Checkpoint string // "": from the beginning
}

// findResume settles whether and from where the run goes on.
func (r *run) findResume() error {
	resume := r.config.Resume
	r.config.Resume = "" // what is saved does not say it
	if resume == "" {
		return nil
	}
	from, err := share(r, func() (origin, error) { return r.locate(resume) })
	if err != nil {
		return err
	}
	r.folder, r.resumed = from.Folder, from.Folder != ""
	r.keepPlace()
	if from.Checkpoint != "" {
		r.from, err = state.Open(from.Checkpoint)
	}
	return err
}

// keepPlace leaves a run that goes on where and what it is called: its folder stays.
func (r *run) keepPlace() {
	if !r.resumed {
		return
	}
	if saved, err := config.Load(filepath.Join(r.folder, ConfigFile)); err == nil {
		r.config.Output, r.config.Experiment = saved.Output, saved.Experiment
	}
}

func (r *run) locate(resume string) (from origin, err error) {
	if resume == ResumeAuto {
		if from.Folder, err = unfinished(r.config, !r.restarted); err != nil || from.Folder == "" {
			return from, err
		}
	} else if from.Folder, from.Checkpoint, err = resumeTarget(resume); err != nil || from.Checkpoint != "" {
		return from, err
	}
	folder := checkpointsOf(from.Folder)
	s, err := folder.Latest(func(path string, err error) {
		r.options.Log.Warn("damaged checkpoint passed over", "file", path, "error", err)
	})
	switch {
	case err == nil:
		from.Checkpoint = folder.Path(s.Step)
		err = s.Close()
	case errors.Is(err, state.ErrNone) && resume == ResumeAuto:
		err = nil // killed before its first checkpoint: it starts again, in its folder
	case errors.Is(err, state.ErrNone):
		err = fmt.Errorf("train: resume: %s: %w: its weights, if it has any, can be the initial_checkpoint of another run", from.Folder, state.ErrNone)
	}
	return from, err
}

// unfinished is the folder of the latest run that has this configuration and did
// not come to its end, or "". byName takes the folder of the experiment's name
// whatever it is.
func unfinished(c *config.Config, byName bool) (string, error) {
	if c.Experiment != "" && byName {
		folder := filepath.Join(c.Output, c.Experiment)
		if _, err := os.Stat(filepath.Join(folder, ConfigFile)); err != nil {
			return "", nil
		}
		return folder, nil
	}
	entries, err := os.ReadDir(c.Output)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("train: resume: %w", err)
	}
	name := cmp.Or(c.Experiment, runName(c))
	for _, e := range slices.Backward(entries) { // names end in the time of their start
		folder := filepath.Join(c.Output, e.Name())
		text, err := os.ReadFile(filepath.Join(folder, ConfigFile))
		if err != nil || !strings.HasPrefix(e.Name(), name) || c.Experiment != "" && e.Name() != name || !bytes.Equal(text, c.YAML()) {
			continue
		}
		var s Summary
		text, err = os.ReadFile(filepath.Join(folder, SummaryFile))
		if err == nil && json.Unmarshal(text, &s) == nil && !s.Interrupted {
			continue
		}
		return folder, nil
	}
	return "", nil
}

// restore puts the run where its checkpoint was made.
func (r *run) restore() error {
	if r.from == nil {
		return nil
	}
	defer func() {
		r.from.Close()
		r.from = nil
	}()
	for _, p := range r.parts() {
		if err := p.part.LoadState(r.from.Section(p.name)); err != nil {
			return fmt.Errorf("train: resume: %w", err)
		}
	}
	r.saved = r.loop.State.Step
	return nil
}

// elapsed is the duration of the run, earlier processes included.
func (r *run) elapsed() time.Duration { return r.before + time.Since(r.started) }
