package models

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
)

// SaveOptions say how Save writes. The zero value means the official layout
// and the format that the path's extension names.
type SaveOptions struct {
	// Layout is official, or hf for a HuggingFace folder (NAT and DiNAT only).
	Layout checkpoint.Layout
	// Format is safetensors or torch. Empty: torch for names that end in .pth,
	// .pt, .bin or .pth.tar, else safetensors.
	Format checkpoint.Format
	// Classes names the classes in the order of the logits; nil for no names.
	Classes []string
	// Preprocess is how pictures were prepared; the recipe's where it is empty.
	Preprocess Preprocess
}

// StateDict is a copy of the model's tensors under the official names, in the
// official order.
func (m *Model) StateDict() (*checkpoint.StateDict, error) {
	state := checkpoint.NewStateDict()
	for _, named := range m.Tensors() {
		t, err := copyOut(named)
		if err != nil {
			return nil, fmt.Errorf("models: StateDict: %s: %w", named.Name, err)
		}
		state.Set(named.Name, t)
	}
	return state, nil
}

func copyOut(named Named) (*checkpoint.Tensor, error) {
	info, err := torch.InfoOf(named.Tensor)
	if err != nil {
		return nil, err
	}
	for dtype, d := range dtypes {
		if d == info.DType {
			data, err := torch.Bytes(named.Tensor)
			if err != nil {
				return nil, err
			}
			return checkpoint.NewTensor(dtype, info.Shape, data)
		}
	}
	return nil, fmt.Errorf("dtype %v cannot be saved", info.DType)
}

// Save writes the model, whole or not at all. A .safetensors file says what
// model it is, so that Open rebuilds it; a .pth file is a flat state dict that
// torch.load(weights_only=True) reads, and says nothing more.
func (m *Model) Save(path string, o SaveOptions) error {
	state, err := m.StateDict()
	if err != nil {
		return err
	}
	return Write(path, state, Info{Config: m.Config, Classes: o.Classes, Preprocess: o.Preprocess}, o)
}

// Write is Save for tensors that are in no model, given in the official layout.
func Write(path string, state *checkpoint.StateDict, info Info, o SaveOptions) error {
	if info.Preprocess.ImageSize == 0 {
		c, err := info.Config.withDefaults()
		if err != nil {
			return err
		}
		info.Preprocess = c.Preprocess()
	}
	meta, err := info.Metadata()
	if err != nil {
		return err
	}
	if o.Layout == checkpoint.LayoutHuggingFace {
		config, err := toCheckpointConfig(info)
		if err != nil {
			return err
		}
		return checkpoint.SaveHuggingFace(path, state, config, meta)
	}
	format := o.Format
	if format == "" {
		format = FormatByName(path)
	}
	switch format {
	case checkpoint.FormatTorch:
		return checkpoint.SaveTorch(path, state)
	case checkpoint.FormatSafetensors:
		return checkpoint.SaveSafetensors(path, state, meta)
	}
	return fmt.Errorf("models: Save: Format is %q, want %q or %q", format, checkpoint.FormatSafetensors, checkpoint.FormatTorch)
}

// FormatByName is the format that a file to be written has by its name.
func FormatByName(path string) checkpoint.Format {
	name := strings.TrimSuffix(filepath.Base(path), ".tar")
	switch filepath.Ext(name) {
	case ".pth", ".pt", ".bin":
		return checkpoint.FormatTorch
	}
	return checkpoint.FormatSafetensors
}
