package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/nn"
)

// Preprocess is how pictures are prepared for a model at evaluation: the
// shorter side is resized to ImageSize/CropPct, the middle ImageSize x
// ImageSize is cut out, and channels are normalised by Mean and Std.
type Preprocess struct {
	ImageSize     int64     `json:"image_size"`
	CropPct       float64   `json:"crop_pct"`
	Interpolation string    `json:"interpolation"` // "bicubic" or "bilinear"
	Mean          []float64 `json:"mean"`          // per channel, of values in [0, 1]
	Std           []float64 `json:"std"`
}

// Preprocess is the official recipe's preparation for a variant: ImageNet's
// statistics, bicubic, crop_pct 0.875 at 224 and 1 at other sizes. Models of
// other than three channels get 0.5 for mean and std.
func (c Config) Preprocess() Preprocess {
	p := Preprocess{ImageSize: c.ImageSize, CropPct: 0.875, Interpolation: "bicubic",
		Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}}
	if c.ImageSize != 224 {
		p.CropPct = 1
	}
	if c.InChans != 3 {
		p.Mean, p.Std = nil, nil
		for range c.InChans {
			p.Mean, p.Std = append(p.Mean, 0.5), append(p.Std, 0.5)
		}
	}
	return p
}

// Info is what a saved model says about itself besides its tensors.
type Info struct {
	Config     Config
	Classes    []string   // in the order of the logits; nil where unknown
	Preprocess Preprocess // the recipe's where the file does not say
}

// The keys of Info in safetensors' metadata.
const (
	metaModel      = "gonatten.model" // the variant's name, for readers
	metaConfig     = "gonatten.config"
	metaClasses    = "gonatten.classes"
	metaPreprocess = "gonatten.preprocess"
)

// RunState is the key in a safetensors file's metadata that marks the state of a
// training run; package train/state writes it.
const RunState = "gonatten.state"

// Metadata is Info as safetensors' metadata.
func (i Info) Metadata() (map[string]string, error) {
	c, err := i.Config.withDefaults()
	if err != nil {
		return nil, err
	}
	meta := map[string]string{metaModel: c.Name}
	if c.Name == "" {
		meta[metaModel] = string(c.Family)
	}
	values := map[string]any{metaConfig: c}
	if len(i.Classes) > 0 {
		values[metaClasses] = i.Classes
	}
	if i.Preprocess.ImageSize != 0 {
		values[metaPreprocess] = i.Preprocess
	}
	for key, value := range values {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("models: metadata: %w", err)
		}
		meta[key] = string(data)
	}
	return meta, nil
}

// ConfigFor is the configuration of a variant with as many classes as a
// checkpoint's head has. Whether the rest fits, [Config.Describes] tells.
func ConfigFor(name string, c *checkpoint.Checkpoint) (Config, error) {
	return ConfigOf(name, With(func(config *Config) {
		if head, ok := c.Tensors.Get("head.weight"); ok && head.Rank() == 2 {
			config.NumClasses = head.Shape()[0]
		}
	}))
}

// InfoFor is InfoOf for a checkpoint whose variant the caller names: what the file
// says of itself stays, and may not say otherwise; where it says nothing, the
// name does, with the published recipe's preparation of pictures. An empty name
// makes it InfoOf.
func InfoFor(name string, c *checkpoint.Checkpoint) (*Info, error) {
	info, err := InfoOf(c)
	switch {
	case name == "" || err != nil && !errors.Is(err, ErrUnnamed):
		return info, err
	case err == nil && info.Config.Name == name:
		return info, nil
	case err == nil && info.Config.Name != "":
		return nil, fmt.Errorf("models: %s says that it is a %s, not a %s: name no model", c.Path, info.Config.Name, name)
	}
	config, err := ConfigFor(name, c)
	if err != nil {
		return nil, err
	}
	if err := config.Describes(c.Tensors); err != nil {
		return nil, fmt.Errorf("models: %s is no %s: %w", c.Path, name, err)
	}
	named := &Info{Config: config, Preprocess: config.Preprocess()}
	if info != nil { // a configuration without a variant's name
		named.Classes, named.Preprocess = info.Classes, info.Preprocess
	}
	return named, nil
}

// InfoOf reads what a checkpoint says about its model: metadata that this
// project wrote (safetensors, exported scripts), a HuggingFace config.json, or
// the entry "arch" of a timm training checkpoint. It fails with ErrUnnamed where
// there is none of these, and where the description is not that of the tensors.
func InfoOf(c *checkpoint.Checkpoint) (*Info, error) {
	info := &Info{}
	wrap := func(what string, err error) error { return fmt.Errorf("models: %s: %s: %w", c.Path, what, err) }
	switch text, ok := c.Metadata[metaConfig]; {
	case ok:
		if err := json.Unmarshal([]byte(text), &info.Config); err != nil {
			return nil, wrap(metaConfig, err)
		}
		if text, ok := c.Metadata[metaClasses]; ok {
			if err := json.Unmarshal([]byte(text), &info.Classes); err != nil {
				return nil, wrap(metaClasses, err)
			}
		}
		if text, ok := c.Metadata[metaPreprocess]; ok {
			if err := json.Unmarshal([]byte(text), &info.Preprocess); err != nil {
				return nil, wrap(metaPreprocess, err)
			}
		}
	case c.Metadata[ScriptInfo] != "":
		if err := json.Unmarshal([]byte(c.Metadata[ScriptInfo]), info); err != nil {
			return nil, wrap(ScriptInfo, err)
		}
	case c.Config != nil:
		official, err := c.Config.Model()
		if err != nil {
			return nil, wrap("config.json", err)
		}
		if official.LayerNormEps != nn.LayerNormEps {
			return nil, wrap("config.json", fmt.Errorf("layer_norm_eps is %v, want %v", official.LayerNormEps, nn.LayerNormEps))
		}
		info.Config, info.Classes = fromCheckpointConfig(official), official.Labels
	default:
		// A timm training checkpoint has the model's name in arch.
		arch, _ := c.Extra["arch"].(string)
		named, err := ConfigFor(arch, c)
		if err != nil || named.Describes(c.Tensors) != nil {
			return nil, unnamed(c)
		}
		info.Config = named
	}
	var err error
	if info.Config, err = info.Config.withDefaults(); err != nil {
		return nil, wrap("configuration", err)
	}
	if err := info.Config.Describes(c.Tensors); err != nil {
		return nil, wrap("configuration", err)
	}
	if len(info.Classes) > 0 && int64(len(info.Classes)) != info.Config.NumClasses {
		return nil, wrap(metaClasses, fmt.Errorf("%d names for %d classes", len(info.Classes), info.Config.NumClasses))
	}
	if info.Config.Name == "" {
		info.Config.Name = info.Config.variantName()
	}
	if info.Preprocess.ImageSize == 0 {
		info.Preprocess = info.Config.Preprocess()
	}
	return info, nil
}

// variantName is the registry's name of a configuration that describes the
// same model up to its classes and rates; empty where there is none.
func (c Config) variantName() string {
	anonymous := func(c Config) Config {
		c.Name, c.NumClasses, c.ImageSize = "", 0, 0
		c.DropRate, c.AttnDropRate, c.DropPathRate, c.InitStd = 0, 0, 0, 0
		return c
	}
	for _, v := range variants {
		if known, err := v.withDefaults(); err == nil && reflect.DeepEqual(anonymous(known), anonymous(c)) {
			return known.Name
		}
	}
	return ""
}

// fromCheckpointConfig is the configuration of a HuggingFace folder.
func fromCheckpointConfig(m *checkpoint.ModelConfig) Config {
	c := Config{
		Family: NAT, InChans: int64(m.InChans), NumClasses: int64(m.NumClasses), EmbedDim: int64(m.EmbedDim),
		Depths: int64s(m.Depths), NumHeads: int64s(m.NumHeads), KernelSize: int64(m.KernelSize), MLPRatio: m.MLPRatio,
		NoQKVBias: !m.QKVBias, DropRate: m.DropRate, AttnDropRate: m.AttnDropRate, DropPathRate: m.DropPathRate, LayerScale: m.LayerScale,
	}
	if m.ModelType == "dinat" {
		c.Family = DiNAT
	}
	for _, level := range m.Dilations {
		c.Dilations = append(c.Dilations, int64s(level))
	}
	return c
}

// toCheckpointConfig is the configuration for a HuggingFace folder, which only
// NAT and DiNAT have.
func toCheckpointConfig(info Info) (*checkpoint.ModelConfig, error) {
	c, err := info.Config.withDefaults()
	if err != nil {
		return nil, err
	}
	if c.Family != NAT && c.Family != DiNAT || c.StemStride != 4 || c.QKScale != 0 || len(c.OutIndices) > 0 {
		return nil, c.errorf("HuggingFace has NAT and DiNAT classifiers with stem_stride 4 and default qk_scale only")
	}
	m := &checkpoint.ModelConfig{
		ModelType: "nat", EmbedDim: int(c.EmbedDim), MLPRatio: c.MLPRatio, Depths: ints(c.Depths), NumHeads: ints(c.NumHeads),
		KernelSize: int(c.KernelSize), QKVBias: !c.NoQKVBias, LayerScale: c.LayerScale, DropRate: c.DropRate,
		AttnDropRate: c.AttnDropRate, DropPathRate: c.DropPathRate, LayerNormEps: nn.LayerNormEps,
		InChans: int(c.InChans), NumClasses: int(c.NumClasses), Labels: info.Classes,
	}
	if c.Family == DiNAT {
		m.ModelType = "dinat"
		for level, depth := range c.Depths {
			m.Dilations = append(m.Dilations, nil)
			for j := range int(depth) {
				m.Dilations[level] = append(m.Dilations[level], int(c.dilation(level, j)))
			}
		}
	} else if len(c.Dilations) > 0 {
		return nil, c.errorf("Dilations are set, want Family %s for HuggingFace", DiNAT)
	}
	return m, nil
}

func int64s(list []int) []int64 { return mapped[int64](list) }
func ints(list []int64) []int   { return mapped[int](list) }

func mapped[To, From int | int64](list []From) []To {
	var out []To
	for _, v := range list {
		out = append(out, To(v))
	}
	return out
}
