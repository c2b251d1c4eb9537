package state

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/models"
)

// Keys of a checkpoint's metadata.
const (
	keyFormat = models.RunState // version of this layout
	keyStep   = "gonatten.step"
	keyValue  = "gonatten.state." // and the section's name
	format    = "1"
)

// Snapshot is the state of a run at one moment.
type Snapshot struct {
	Step    int // optimizer steps done, which orders snapshots
	Tensors *checkpoint.StateDict

	values map[string]json.RawMessage
	close  func() error
}

// New is an empty snapshot.
func New(step int) *Snapshot {
	return &Snapshot{Step: step, Tensors: checkpoint.NewStateDict(), values: map[string]json.RawMessage{}}
}

// Discard is a snapshot that keeps no tensors, for a process that only takes part
// in making one.
func Discard(step int) *Snapshot {
	s := New(step)
	s.Tensors = nil
	return s
}

// Section is a part's share; names have no dots.
func (s *Snapshot) Section(name string) *Section {
	return &Section{name: name, of: s, prefix: name + "."}
}

// Has tells whether anything was saved under a section's name.
func (s *Snapshot) Has(name string) bool {
	_, ok := s.values[name]
	return ok || s.Tensors.WithPrefix(name+".").Len() > 0
}

// Close releases the file that a snapshot was read from.
func (s *Snapshot) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

func (s *Snapshot) write(path string) error {
	meta := map[string]string{keyFormat: format, keyStep: fmt.Sprint(s.Step)}
	for name, text := range s.values {
		meta[keyValue+name] = string(text)
	}
	return checkpoint.SaveSafetensors(path, s.Tensors, meta)
}

// Open reads a checkpoint file and checks its checksum. Close it after use.
func Open(path string) (*Snapshot, error) {
	file, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Tensors: file.Tensors, values: map[string]json.RawMessage{}, close: file.Close}
	if v := file.Metadata[keyFormat]; v != format {
		file.Close()
		if v == "" {
			return nil, fmt.Errorf("state: %s holds weights, not the state of a run: give the run's folder to go on, or these as initial_checkpoint of another", path)
		}
		return nil, fmt.Errorf("state: %s has format %q, want %q", path, v, format)
	}
	if _, err := fmt.Sscan(file.Metadata[keyStep], &s.Step); err != nil {
		file.Close()
		return nil, fmt.Errorf("state: %s: metadata %s: %w", path, keyStep, err)
	}
	for key, text := range file.Metadata {
		if name, ok := strings.CutPrefix(key, keyValue); ok {
			s.values[name] = json.RawMessage(text)
		}
	}
	return s, nil
}
