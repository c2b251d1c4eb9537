package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// Folder holds the checkpoints of one run, named by their step. Which is the
// newest shows in the name, never in a file's time: clocks jump.
type Folder string

const (
	prefix = "checkpoint-"
	suffix = ".safetensors"
)

// ErrNone is wrapped by Latest's error for a folder without a checkpoint that
// can be read.
var ErrNone = errors.New("no checkpoint to go on from")

// Path is the file of a step.
func (f Folder) Path(step int) string {
	return filepath.Join(string(f), fmt.Sprintf("%s%010d%s", prefix, step, suffix))
}

// Save writes a snapshot and then removes all but the keep newest files, at
// least one, and those of later steps: they are of a course of the run that was
// left, or damaged.
func (f Folder) Save(s *Snapshot, keep int) error {
	if err := os.Mkdir(string(f), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("state: %w", err)
	}
	if err := s.write(f.Path(s.Step)); err != nil {
		return err
	}
	steps, err := f.Steps()
	if err != nil {
		return err
	}
	here := slices.Index(steps, s.Step)
	if here < 0 {
		return fmt.Errorf("state: %s has vanished", f.Path(s.Step))
	}
	remove := slices.Clone(steps[here+1:])
	remove = append(remove, steps[:max(0, here+1-max(keep, 1))]...)
	for _, step := range remove {
		if err := os.Remove(f.Path(step)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("state: %w", err)
		}
	}
	return nil
}

// Steps lists the checkpoints, oldest first. A folder that does not exist has
// none.
func (f Folder) Steps() ([]int, error) {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state: %w", err)
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		digits, end := strings.CutSuffix(digits, suffix)
		var step int
		if n, err := fmt.Sscanf(digits, "%d", &step); ok && end && err == nil && n == 1 && filepath.Base(f.Path(step)) == e.Name() {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// Latest opens the newest checkpoint that is whole. Damaged ones are passed to
// skipped (nil: nobody) with what is wrong with them, newest first.
func (f Folder) Latest(skipped func(path string, err error)) (*Snapshot, error) {
	steps, err := f.Steps()
	if err != nil {
		return nil, err
	}
	for _, step := range slices.Backward(steps) {
		s, err := Open(f.Path(step))
		if err == nil {
			return s, nil
		}
		if skipped != nil {
			skipped(f.Path(step), err)
		}
	}
	return nil, fmt.Errorf("state: %s: %w", string(f), ErrNone)
}

// RemoveStale removes what processes that were killed while they saved have
// left. No other process may be saving there.
func (f Folder) RemoveStale() error {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state: %w", err)
	}
	for _, e := range entries {
		// atomicfile's names are a dot, the file's name and a random ending.
		base, temporary := strings.CutPrefix(e.Name(), "."+prefix)
		if at := strings.Index(base, suffix); temporary && at > 0 {
			if _, err := atomicfile.RemoveStale(filepath.Join(string(f), prefix+base[:at]+suffix)); err != nil {
				return err
			}
		}
	}
	return nil
}
