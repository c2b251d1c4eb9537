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
	FormatTorch       Format = "torch"        // torch.save since PyTorch 1.6
	FormatTorchLegacy Format = "torch-legacy" // torch.save before
	FormatTorchScript Format = "torchscript"  // torch.jit.save, gotch's VarStore.Save
)

// Layout is a naming and splitting of a model's tensors.
type Layout string

// The layouts of NAT and DiNAT checkpoints.
const (
	LayoutOfficial    Layout = "official" // SHI-Labs/Neighborhood-Attention-Transformer; any other names, too
	LayoutHuggingFace Layout = "hf"       // transformers' NatForImageClassification and DinatForImageClassification
)

// Checkpoint is an opened checkpoint. Close it when its tensors are no longer needed: they refer to the mapped file.
type Checkpoint struct {
	// Path is the file or folder that was opened.
	Path string
	// Format says what it was; for a folder, what its first shard was.
	Format Format
	// Layout is LayoutHuggingFace where Open converted HuggingFace's layout, LayoutOfficial where names are the file's.
	Layout Layout
	// Config is the folder's config.json; nil where there is none.
	Config *HFConfig
	// Tensors is the state dict, in the file's order.
	Tensors *StateDict
	// Metadata holds safetensors' string metadata, or a TorchScript archive's extra files by name; nil where there is
	// none.
	Metadata map[string]string
	// Extra holds the plain values of a torch training checkpoint around and between its tensors, such as epoch,
	// arch and args, in Go's types: nil, bool, int64, float64, string, []byte, []any, map[string]any. Entries with
	// tensors (optimizer state) are left out. Nil for safetensors.
	Extra map[string]any

	closed  atomic.Bool
	closers []io.Closer
	late    []*section // not compared with their checksums yet
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
