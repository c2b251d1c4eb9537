package train

import (
	"encoding/json"
	"fmt"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// Preprocessing is what must happen to a picture before the model sees it.
type Preprocessing struct {
	Channels      int       `json:"channels"`
	Height        int       `json:"height"`
	Width         int       `json:"width"`
	Mean          []float32 `json:"mean"`
	Std           []float32 `json:"std"`
	CropPct       float64   `json:"crop_pct"`
	Interpolation string    `json:"interpolation"`
}

// Card is what a weights file says about its model besides the tensors; it
// travels in the file's metadata, one key per field.
type Card struct {
	Model         models.Config
	Classes       []string
	Preprocessing Preprocessing
	Run           json.RawMessage // the run's configuration; may be nil
	Epoch, Step   int
	Top1          float64 // percent on the run's evaluation split; 0: not evaluated
	EMA           bool    // the tensors are the moving average
}

// Keys of the metadata.
const (
	keyFormat        = "format" // "pt", which other readers of safetensors look for
	keyModel         = "gonatten.model"
	keyModelConfig   = "gonatten.model_config"
	keyClasses       = "gonatten.classes"
	keyPreprocessing = "gonatten.preprocessing"
	keyRun           = "gonatten.run"
	keyProgress      = "gonatten.progress"
)

type cardProgress struct {
	Epoch int     `json:"epoch"`
	Step  int     `json:"step"`
	Top1  float64 `json:"top1"`
	EMA   bool    `json:"ema"`
}

func (c *Card) metadata() (map[string]string, error) {
	m := map[string]string{keyFormat: "pt", keyModel: c.Model.Name}
	for key, value := range map[string]any{
		keyModelConfig: c.Model, keyClasses: c.Classes, keyPreprocessing: c.Preprocessing,
		keyProgress: cardProgress{c.Epoch, c.Step, c.Top1, c.EMA},
	} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		m[key] = string(text)
	}
	if c.Run != nil {
		m[keyRun] = string(c.Run)
	}
	return m, nil
}

// readCard reads what metadata wrote; a file of another origin has none of it,
// and ok tells.
func readCard(metadata map[string]string) (c Card, ok bool, err error) {
	if metadata[keyModelConfig] == "" {
		return c, false, nil
	}
	var progress cardProgress
	for key, target := range map[string]any{
		keyModelConfig: &c.Model, keyClasses: &c.Classes, keyPreprocessing: &c.Preprocessing, keyProgress: &progress,
	} {
		if err := json.Unmarshal([]byte(metadata[key]), target); err != nil {
			return c, true, fmt.Errorf("metadata %s: %w", key, err)
		}
	}
	if run := metadata[keyRun]; run != "" {
		c.Run = json.RawMessage(run)
	}
	c.Epoch, c.Step, c.Top1, c.EMA = progress.Epoch, progress.Step, progress.Top1, progress.EMA
	return c, true, nil
}

// SaveWeights writes tensors, usually a model's Tensors, as a safetensors file,
// whole or not at all.
func SaveWeights(path string, tensors []models.Named, card Card) error {
	metadata, err := card.metadata()
	if err != nil {
		return fmt.Errorf("train: SaveWeights: %w", err)
	}
	dict := checkpoint.NewStateDict()
	for _, t := range tensors {
		held, err := hold(t)
		if err != nil {
			return fmt.Errorf("train: SaveWeights: %s: %w", t.Name, err)
		}
		dict.Set(t.Name, held)
	}
	if err := checkpoint.SaveSafetensors(path, dict, metadata); err != nil {
		return fmt.Errorf("train: SaveWeights: %w", err)
	}
	return nil
}

var dtypes = map[gotch.DType]checkpoint.DType{
	gotch.Float: checkpoint.F32, gotch.Double: checkpoint.F64, gotch.Half: checkpoint.F16,
	gotch.BFloat16: checkpoint.BF16, gotch.Int64: checkpoint.I64, gotch.Int: checkpoint.I32,
	gotch.Uint8: checkpoint.U8, gotch.Bool: checkpoint.Bool,
}

// hold copies a tensor into memory that a checkpoint can keep.
func hold(t models.Named) (*checkpoint.Tensor, error) {
	info, err := torch.InfoOf(t.Tensor)
	if err != nil {
		return nil, err
	}
	dtype, ok := dtypes[info.DType]
	if !ok {
		return nil, fmt.Errorf("no file format for dtype %v", info.DType)
	}
	data, err := torch.Bytes(t.Tensor)
	if err != nil {
		return nil, err
	}
	return checkpoint.NewTensor(dtype, info.Shape, data)
}

// LoadWeights copies a checkpoint of any form that package checkpoint reads
// into a model. What does not fit is an error and leaves the model untouched,
// but for a head of another number of classes, which keeps its fresh values,
// and biases of another kernel size, which are resized. strict makes every
// difference an error. The report lists what was done.
func LoadWeights(model *models.Model, file *checkpoint.Checkpoint, strict bool) (*checkpoint.Report, error) {
	return loadTensors(model.Tensors(), file.Tensors, strict)
}

func loadTensors(tensors []models.Named, have *checkpoint.StateDict, strict bool) (*checkpoint.Report, error) {
	want := make([]checkpoint.Spec, len(tensors))
	for i, t := range tensors {
		info, err := torch.InfoOf(t.Tensor)
		if err != nil {
			return nil, fmt.Errorf("train: LoadWeights: %s: %w", t.Name, err)
		}
		want[i] = checkpoint.Spec{Name: t.Name, Shape: info.Shape}
	}
	plan, err := checkpoint.Match(want, have, &checkpoint.MatchOptions{Strict: strict})
	if err != nil {
		return nil, fmt.Errorf("train: LoadWeights: %w", err)
	}
	err = torch.NoGrad(func() error {
		for _, t := range tensors {
			if source, ok := plan.Tensors().Get(t.Name); ok {
				if err := copyInto(t, source); err != nil {
					return fmt.Errorf("train: LoadWeights: %s: %w", t.Name, err)
				}
			}
		}
		return nil
	})
	return &plan.Report, err
}

func copyInto(t models.Named, source *checkpoint.Tensor) error {
	dtype := gotch.DType(-1)
	for g, c := range dtypes {
		if c == source.DType() {
			dtype = g
		}
	}
	if dtype == -1 {
		return fmt.Errorf("no tensor of type %s", source.DType())
	}
	s := torch.NewScope()
	defer s.Close()
	value := s.Own(torch.FromBytes(source.Bytes(), dtype, source.Shape()...))
	if s.Err() == nil {
		s.Copy(t.Tensor, value)
	}
	return s.Err()
}
