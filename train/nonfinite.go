package train

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/data"
)

// saveInputs keeps the batch whose loss ends the run: "images" as the model saw
// them, mixed, "labels", and "indices" in the training data.
func (r *run) saveInputs(b *data.Batch, s *State) error {
	state := checkpoint.NewStateDict()
	put := func(name string, dtype checkpoint.DType, values any, shape ...int64) error {
		bytes, err := binary.Append(nil, binary.LittleEndian, values)
		if err != nil {
			return err
		}
		t, err := checkpoint.NewTensor(dtype, shape, bytes)
		if err == nil {
			state.Set(name, t)
		}
		return err
	}
	n := int64(len(b.Labels))
	indices := make([]int64, n)
	for i, v := range b.Indices {
		indices[i] = int64(v)
	}
	if err := put("images", checkpoint.F32, b.Images, n, int64(b.Channels), int64(b.Height), int64(b.Width)); err != nil {
		return err
	}
	if err := put("labels", checkpoint.I64, b.Labels, n); err != nil {
		return err
	}
	if err := put("indices", checkpoint.I64, indices, n); err != nil {
		return err
	}
	name := fmt.Sprintf("nonfinite-%d.safetensors", s.Step)
	if r.group != nil {
		name = fmt.Sprintf("nonfinite-%d-rank-%d.safetensors", s.Step, r.rank())
	}
	path := filepath.Join(r.folder, name)
	if err := checkpoint.SaveSafetensors(path, state, map[string]string{"epoch": fmt.Sprint(s.Epoch), "batch": fmt.Sprint(b.Number)}); err != nil {
		return err
	}
	r.options.Log.Error("the inputs of the step are saved", "file", path)
	return nil
}
