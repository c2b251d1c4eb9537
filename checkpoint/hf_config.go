package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// HFConfig is the config.json of transformers' Nat and Dinat models.
type HFConfig struct {
	Architectures       []string          `json:"architectures,omitempty"`
	AttentionDropout    float64           `json:"attention_probs_dropout_prob"`
	Depths              []int             `json:"depths"`
	Dilations           [][]int           `json:"dilations,omitempty"` // dinat only
	DropPathRate        float64           `json:"drop_path_rate"`
	EmbedDim            int               `json:"embed_dim"`
	HiddenAct           string            `json:"hidden_act"`
	HiddenDropout       float64           `json:"hidden_dropout_prob"`
	HiddenSize          int               `json:"hidden_size"`
	ID2Label            map[string]string `json:"id2label,omitempty"`
	InitializerRange    float64           `json:"initializer_range"`
	KernelSize          int               `json:"kernel_size"`
	Label2ID            map[string]int    `json:"label2id,omitempty"`
	LayerNormEps        float64           `json:"layer_norm_eps"`
	LayerScaleInitValue float64           `json:"layer_scale_init_value"` // 0: no layer scale
	MLPRatio            float64           `json:"mlp_ratio"`
	ModelType           string            `json:"model_type"`
	NumChannels         int               `json:"num_channels"`
	NumHeads            []int             `json:"num_heads"`
	NumLayers           int               `json:"num_layers"`
	OutFeatures         []string          `json:"out_features,omitempty"`
	OutIndices          []int             `json:"out_indices,omitempty"`
	PatchSize           int               `json:"patch_size"`
	QKVBias             bool              `json:"qkv_bias"`
	StageNames          []string          `json:"stage_names,omitempty"`
	TorchDType          string            `json:"torch_dtype,omitempty"`
	TransformersVersion string            `json:"transformers_version,omitempty"`
}

// ModelConfig is what the constructors of NAT and DiNAT take, under the official names.
type ModelConfig struct {
	// ModelType is "nat" or "dinat".
	ModelType  string
	EmbedDim   int
	MLPRatio   float64
	Depths     []int
	NumHeads   []int
	KernelSize int
	// Dilations has one list for each level, with one number for each block; nil means 1 everywhere.
	Dilations [][]int
	QKVBias   bool
	// LayerScale is the initial value of gamma; 0 means no layer scale.
	LayerScale   float64
	DropRate     float64
	AttnDropRate float64
	DropPathRate float64
	LayerNormEps float64
	InChans      int
	NumClasses   int
	// Labels names the classes in order; nil where they have no names.
	Labels []string
}

// hfDefaults are the values of fields that a config.json leaves out, as in transformers' NatConfig and DinatConfig.
func hfDefaults() *HFConfig {
	return &HFConfig{
		ModelType: "nat", PatchSize: 4, NumChannels: 3, EmbedDim: 64, Depths: []int{3, 4, 6, 5}, NumHeads: []int{2, 4, 8, 16},
		KernelSize: 7, MLPRatio: 3, QKVBias: true, DropPathRate: 0.1, HiddenAct: "gelu", InitializerRange: 0.02,
		LayerNormEps: 1e-5,
	}
}

// ParseHFConfig reads a config.json. Fields that it leaves out have transformers' defaults. Configurations of other
// model types are read as far as the fields have the same names; [HFConfig.Model] judges them.
func ParseHFConfig(raw []byte) (*HFConfig, error) {
	c := hfDefaults()
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

// Model returns the equivalent official configuration. It fails for other model types and for settings that the
// official models do not have.
func (c *HFConfig) Model() (*ModelConfig, error) {
	levels := len(c.Depths)
	switch {
	case c.ModelType != "nat" && c.ModelType != "dinat":
		return nil, fmt.Errorf("checkpoint: config.json: model_type %s is neither nat nor dinat", quoteShort(c.ModelType))
	case c.PatchSize != 4:
		return nil, fmt.Errorf("checkpoint: config.json: patch_size %d is not 4", c.PatchSize)
	case c.HiddenAct != "gelu":
		return nil, fmt.Errorf("checkpoint: config.json: hidden_act %s is not gelu", quoteShort(c.HiddenAct))
	case levels == 0 || len(c.NumHeads) != levels:
		return nil, fmt.Errorf("checkpoint: config.json: %d depths and %d num_heads", levels, len(c.NumHeads))
	case c.EmbedDim < 1 || c.KernelSize < 1 || c.NumChannels < 1:
		return nil, fmt.Errorf("checkpoint: config.json: embed_dim %d, kernel_size %d, num_channels %d must be positive",
			c.EmbedDim, c.KernelSize, c.NumChannels)
	}
	m := &ModelConfig{
		ModelType: c.ModelType, EmbedDim: c.EmbedDim, MLPRatio: c.MLPRatio, Depths: c.Depths, NumHeads: c.NumHeads,
		KernelSize: c.KernelSize, QKVBias: c.QKVBias, LayerScale: c.LayerScaleInitValue, DropRate: c.HiddenDropout,
		AttnDropRate: c.AttentionDropout, DropPathRate: c.DropPathRate, LayerNormEps: c.LayerNormEps, InChans: c.NumChannels,
		NumClasses: 2, // transformers' default where there are no labels
	}
	if c.ModelType == "dinat" {
		if len(c.Dilations) != levels {
			return nil, fmt.Errorf("checkpoint: config.json: %d depths and %d lists of dilations", levels, len(c.Dilations))
		}
		m.Dilations = c.Dilations
	}
	if n := len(c.ID2Label); n > 0 {
		m.NumClasses, m.Labels = n, make([]string, n)
		for id, label := range c.ID2Label {
			i, err := strconv.Atoi(id)
			if err != nil || i < 0 || i >= n {
				return nil, fmt.Errorf("checkpoint: config.json: id2label has %d labels and the number %s", n, quoteShort(id))
			}
			m.Labels[i] = label
		}
	}
	return m, nil
}

// HFConfig returns the equivalent config.json. Classes without names get transformers' LABEL_0, LABEL_1 and so on.
func (m *ModelConfig) HFConfig() (*HFConfig, error) {
	architecture := map[string]string{"nat": "NatForImageClassification", "dinat": "DinatForImageClassification"}[m.ModelType]
	levels := len(m.Depths)
	switch {
	case architecture == "":
		return nil, fmt.Errorf("checkpoint: model type %s is neither nat nor dinat", quoteShort(m.ModelType))
	case levels == 0 || len(m.NumHeads) != levels || m.EmbedDim < 1 || m.NumClasses < 1:
		return nil, fmt.Errorf("checkpoint: %d depths, %d num_heads, embed_dim %d, %d classes make no model",
			levels, len(m.NumHeads), m.EmbedDim, m.NumClasses)
	case m.Labels != nil && len(m.Labels) != m.NumClasses:
		return nil, fmt.Errorf("checkpoint: %d labels for %d classes", len(m.Labels), m.NumClasses)
	}
	c := hfDefaults()
	c.Architectures, c.ModelType = []string{architecture}, m.ModelType
	c.EmbedDim, c.MLPRatio, c.Depths, c.NumHeads = m.EmbedDim, m.MLPRatio, m.Depths, m.NumHeads
	c.KernelSize, c.QKVBias, c.LayerScaleInitValue = m.KernelSize, m.QKVBias, m.LayerScale
	c.HiddenDropout, c.AttentionDropout, c.DropPathRate = m.DropRate, m.AttnDropRate, m.DropPathRate
	c.NumChannels = max(m.InChans, 1)
	if m.LayerNormEps > 0 {
		c.LayerNormEps = m.LayerNormEps
	}
	c.NumLayers = levels
	c.HiddenSize = m.EmbedDim << (levels - 1)
	c.StageNames = []string{"stem"}
	for i := range levels {
		c.StageNames = append(c.StageNames, fmt.Sprint("stage", i+1))
	}
	c.OutFeatures, c.OutIndices = c.StageNames[levels:], []int{levels}
	c.TorchDType = F32.Torch()
	if m.ModelType == "dinat" {
		c.Dilations = m.Dilations
		if c.Dilations == nil {
			for _, depth := range m.Depths {
				c.Dilations = append(c.Dilations, slices.Repeat([]int{1}, depth))
			}
		}
	}
	c.ID2Label, c.Label2ID = make(map[string]string), make(map[string]int)
	for i := range m.NumClasses {
		label := fmt.Sprint("LABEL_", i)
		if m.Labels != nil {
			label = m.Labels[i]
		}
		c.ID2Label[strconv.Itoa(i)] = label
		c.Label2ID[label] = i
	}
	return c, nil
}

// SaveHuggingFace writes a folder that transformers loads: the tensors, given in the official layout, as
// model.safetensors, and config.json. Each file is written whole or not at all, the weights first; where neither could be,
// a folder made for them is gone again. metadata may be nil.
func SaveHuggingFace(dir string, tensors *StateDict, model *ModelConfig, metadata map[string]string) (err error) {
	config, err := model.HFConfig()
	if err != nil {
		return err
	}
	converted, err := ToHuggingFace(tensors, model.ModelType)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("checkpoint: config.json: %w", err)
	}
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if errors.Is(missing, fs.ErrNotExist) {
		defer func() {
			if err != nil {
				_ = os.Remove(dir) // does nothing to a folder that holds something
			}
		}()
	}
	all := map[string]string{"format": "pt"} // transformers refuses files without
	for k, v := range metadata {
		all[k] = v
	}
	if err := SaveSafetensors(filepath.Join(dir, "model.safetensors"), converted, all); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "config.json"), append(raw, '\n')); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}
