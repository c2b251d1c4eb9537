package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/gonatten/gonatten/checkpoint/internal/mmap"
)

// Format is a file format, found by [Open] from the content.
type Format string

// The formats that [Open] knows.
const (
	FormatSafetensors Format = "safetensors"
)

// Checkpoint is an opened checkpoint. Close it when its tensors are no longer needed: they refer to the mapped file.
type Checkpoint struct {
	// Path is the file or folder that was opened.
	Path string
	// Format says what it was.
	Format Format
	// Tensors is the state dict, in the file's order.
	Tensors *StateDict
	// Metadata holds safetensors' string metadata; nil where there is none.
	Metadata map[string]string

	closed  atomic.Bool
	closers []io.Closer
}

// Close releases the mapped files. Tensors and what Bytes returned must not be used any more; Clone what must stay.
func (c *Checkpoint) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, closer := range c.closers {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}

// mapInto maps path and ties the mapping to c.
func (c *Checkpoint) mapInto(path string) ([]byte, error) {
	m, err := mmap.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	c.closers = append(c.closers, m)
	return m.Bytes(), nil
}
