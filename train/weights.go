package train

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
)

// Card is what a weights file says besides its tensors. The model's part is
// what [models.Open] reads; the rest tells where the weights come from.
type Card struct {
	models.Info
	Run         json.RawMessage // the run's configuration; nil where unknown
	Epoch, Step int             // completed when the file was written
	Top1        float64         // percent on the run's evaluation split; 0: not evaluated
	EMA         bool            // the tensors are the moving average
}

// Keys of the metadata besides those of package models.
const (
	keyFormat   = "format" // "pt", which other readers of safetensors look for
	keyRun      = "gonatten.run"
	keyProgress = "gonatten.progress"
)

// cardProgress is how far training was.
type cardProgress struct {
	Epoch int     `json:"epoch"`
	Step  int     `json:"step"`
	Top1  float64 `json:"top1"`
	EMA   bool    `json:"ema"`
}

func (c *Card) metadata() (map[string]string, error) {
	m, err := c.Info.Metadata()
	if err != nil {
		return nil, err
	}
	progress, err := json.Marshal(cardProgress{c.Epoch, c.Step, c.Top1, c.EMA})
	if err != nil {
		return nil, err
	}
	maps.Copy(m, map[string]string{keyFormat: "pt", keyProgress: string(progress)})
	if c.Run != nil {
		m[keyRun] = string(c.Run)
	}
	return m, nil
}

// readCard reads what a checkpoint says about itself; a name is of a variant that
// it does not say, see models.InfoFor.
func readCard(file *checkpoint.Checkpoint, name string) (*Card, error) {
	info, err := models.InfoFor(name, file)
	if err != nil {
		return nil, err
	}
	c := &Card{Info: *info}
	if text := file.Metadata[keyRun]; text != "" {
		c.Run = json.RawMessage(text)
	}
	if text := file.Metadata[keyProgress]; text != "" {
		var p cardProgress
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return nil, fmt.Errorf("train: %s: metadata %s: %w", file.Path, keyProgress, err)
		}
		c.Epoch, c.Step, c.Top1, c.EMA = p.Epoch, p.Step, p.Top1, p.EMA
	}
	return c, nil
}

// SaveWeights writes a model with its card as a safetensors file, whole or not
// at all: with a full disk, what was there before stays.
func SaveWeights(path string, model *models.Model, card Card) error {
	card.Config = model.Config
	metadata, err := card.metadata()
	if err != nil {
		return err
	}
	state, err := model.StateDict()
	if err != nil {
		return err
	}
	return checkpoint.SaveSafetensors(path, state, metadata)
}

// Configuration is the run's configuration that the card carries, or the
// published recipe where it has none.
func (c *Card) Configuration() (*config.Config, error) {
	cfg := config.Default()
	if c.Run == nil {
		return cfg, nil
	}
	return cfg, cfg.Read(c.Run) // JSON is YAML
}
