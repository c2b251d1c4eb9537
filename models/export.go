package models

import (
	"encoding/json"
	"fmt"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

// ScriptInfo is the name of the extra file in an exported script that holds
// Info as JSON (torch.jit.load(..., _extra_files={"natten.json": ""})).
const ScriptInfo = "natten.json"

// Export writes the model in evaluation mode as TorchScript, which Python and
// C++ load once libnatten.so is loaded (torch.ops.load_library,
// torch::jit::load). The script takes [B, in_chans, H, W] of any batch; other
// heights and widths than the example's work as long as they need the same
// padding as it: none, where every level has at least KernelSize*Dilation
// tokens a side. height and width are the example's; 0 means Config.ImageSize.
func (m *Model) Export(path string, info Info, height, width int64) error {
	setDefault(&height, m.Config.ImageSize)
	setDefault(&width, m.Config.ImageSize)
	info.Config = m.Config
	if info.Preprocess.ImageSize == 0 {
		info.Preprocess = m.Config.Preprocess()
	}
	text, err := json.Marshal(map[string]any{"config": info.Config, "classes": info.Classes, "preprocess": info.Preprocess})
	if err != nil {
		return fmt.Errorf("models: Export: %w", err)
	}
	var names []string
	var tensors []*ts.Tensor
	for _, named := range m.Tensors() {
		names, tensors = append(names, named.Name), append(tensors, named.Tensor)
	}
	first, err := torch.InfoOf(tensors[0])
	if err != nil {
		return fmt.Errorf("models: Export: %w", err)
	}
	if !first.Device.Is(torch.CPU) || first.DType != gotch.Float && first.DType != gotch.Double {
		return fmt.Errorf("models: Export: parameters are %v on %v, want float32 or float64 on the CPU", first.DType, first.Device)
	}
	s := torch.NewScope()
	defer s.Close()
	example := s.Zeros([]int64{1, m.Config.InChans, height, width}, first.DType, torch.CPU)
	if s.Err() != nil {
		return fmt.Errorf("models: Export: %w", s.Err())
	}
	return torch.ExportScript(path, names, tensors, example, ScriptInfo, string(text),
		func(images *ts.Tensor) (*ts.Tensor, error) { return m.Apply(images, false) })
}
