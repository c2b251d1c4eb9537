package models

import (
	"encoding/json"
	"fmt"
	"math"

	gotchnn "github.com/sugarme/gotch/nn"
)

// wire is a Config in JSON, under the official constructors' argument names.
// Reading takes both spellings of the isotropic models: depth, num_heads and
// dilation as numbers, or lists.
type wire struct {
	Name            string          `json:"name,omitempty"`
	Family          Family          `json:"family"`
	ImageSize       int64           `json:"img_size,omitempty"`
	InChans         int64           `json:"in_chans,omitempty"`
	NumClasses      *int64          `json:"num_classes,omitempty"`
	EmbedDim        int64           `json:"embed_dim,omitempty"`
	Depths          []int64         `json:"depths,omitempty"`
	Depth           int64           `json:"depth,omitempty"`
	NumHeads        json.RawMessage `json:"num_heads,omitempty"`
	KernelSize      *int64          `json:"kernel_size,omitempty"`
	Dilations       [][]int64       `json:"dilations,omitempty"`
	Dilation        *int64          `json:"dilation,omitempty"`
	Layer           string          `json:"layer,omitempty"`
	GlobalAttention bool            `json:"global_attention,omitempty"`
	MLPRatio        float64         `json:"mlp_ratio,omitempty"`
	QKVBias         *bool           `json:"qkv_bias,omitempty"`
	QKScale         *float64        `json:"qk_scale,omitempty"`
	DropRate        float64         `json:"drop_rate,omitempty"`
	AttnDropRate    float64         `json:"attn_drop_rate,omitempty"`
	DropPathRate    float64         `json:"drop_path_rate,omitempty"`
	LayerScale      *float64        `json:"layer_scale,omitempty"`
	InitStd         float64         `json:"init_std,omitempty"`
	StemStride      int64           `json:"stem_stride,omitempty"`
	PatchSize       int64           `json:"patch_size,omitempty"`
	PatchNorm       *bool           `json:"patch_norm,omitempty"`
	NormLayer       string          `json:"norm_layer,omitempty"`
	OutIndices      []int64         `json:"out_indices,omitempty"`
}

// MarshalJSON writes the configuration under the official argument names, with
// the family and what is this project's own (stem_stride, global_attention).
func (c Config) MarshalJSON() ([]byte, error) {
	w := wire{
		Name: c.Name, Family: c.Family, ImageSize: c.ImageSize, InChans: c.InChans, EmbedDim: c.EmbedDim,
		Depths: c.Depths, Dilations: c.Dilations, GlobalAttention: c.GlobalAttention, MLPRatio: c.MLPRatio,
		DropRate: c.DropRate, AttnDropRate: c.AttnDropRate, DropPathRate: c.DropPathRate,
		InitStd: c.InitStd, StemStride: c.StemStride, PatchSize: c.PatchSize, OutIndices: c.OutIndices,
	}
	w.NumClasses, w.KernelSize = unlessZero(c.NumClasses), unlessZero(c.KernelSize)
	w.QKScale, w.LayerScale = unlessZero(c.QKScale), unlessZero(c.LayerScale)
	if c.NoQKVBias {
		w.QKVBias = new(bool)
	}
	if len(c.NumHeads) > 0 {
		heads, err := json.Marshal(c.NumHeads)
		if err != nil {
			return nil, err
		}
		w.NumHeads = heads
	}
	return json.Marshal(w)
}

func unlessZero[T int64 | float64](v T) *T {
	if v == 0 {
		return nil
	}
	return &v
}

// UnmarshalJSON reads what MarshalJSON writes, and the official constructors'
// arguments as they stand, with "family" for the class.
func (c *Config) UnmarshalJSON(data []byte) error {
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("models: configuration: %w", err)
	}
	out := Config{
		Name: w.Name, Family: w.Family, ImageSize: w.ImageSize, InChans: w.InChans, EmbedDim: w.EmbedDim,
		Depths: w.Depths, Dilations: w.Dilations, GlobalAttention: w.GlobalAttention, MLPRatio: w.MLPRatio,
		DropRate: w.DropRate, AttnDropRate: w.AttnDropRate, DropPathRate: w.DropPathRate,
		InitStd: w.InitStd, StemStride: w.StemStride, PatchSize: w.PatchSize, OutIndices: w.OutIndices,
	}
	out.NumClasses, out.KernelSize = orZero(w.NumClasses), orZero(w.KernelSize)
	out.QKScale, out.LayerScale = orZero(w.QKScale), orZero(w.LayerScale)
	out.NoQKVBias = w.QKVBias != nil && !*w.QKVBias
	switch {
	case w.NumClasses != nil && *w.NumClasses < 1:
		return fmt.Errorf("models: configuration: num_classes is %d, want at least 1", *w.NumClasses)
	case w.PatchNorm != nil && !*w.PatchNorm:
		return fmt.Errorf("models: configuration: patch_norm is false, want true")
	case w.NormLayer != "" && w.NormLayer != "LayerNorm":
		return fmt.Errorf("models: configuration: norm_layer is %q, want LayerNorm", w.NormLayer)
	}
	if len(out.Depths) == 0 && w.Depth != 0 {
		if w.Depth < 1 || w.Depth > maxSize {
			return fmt.Errorf("models: configuration: depth is %d, want 1 to %d", w.Depth, maxSize)
		}
		out.Depths = []int64{w.Depth}
	}
	var err error
	if out.NumHeads, err = numberOrList(w.NumHeads); err != nil {
		return fmt.Errorf("models: configuration: num_heads: %w", err)
	}
	switch w.Layer {
	case "", "NATransformerLayer":
	case "VisionTransformerLayer":
		out.GlobalAttention = true
	default:
		return fmt.Errorf("models: configuration: layer is %q, want NATransformerLayer or VisionTransformerLayer", w.Layer)
	}
	if d := orZero(w.Dilation); d > 1 {
		depths := out.Depths
		setDefaults(&depths, 12)
		if len(depths) != 1 || depths[0] < 1 || depths[0] > maxSize {
			return fmt.Errorf("models: configuration: dilation is %d with depths %v, want one depth of 1 to %d", d, depths, maxSize)
		}
		out.Dilations = Alternate(depths, []int64{d})
	}
	*c = out
	return nil
}

func orZero[T int64 | float64](v *T) T {
	if v == nil {
		return 0
	}
	return *v
}

// numberOrList reads 12 as [12]; nothing and null as nil.
func numberOrList(data json.RawMessage) ([]int64, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	var list []int64
	if err := json.Unmarshal(data, &list); err == nil {
		return list, nil
	}
	var number float64
	if err := json.Unmarshal(data, &number); err != nil {
		return nil, err
	}
	if number != math.Trunc(number) || math.Abs(number) > maxSize {
		return nil, fmt.Errorf("%v is not a whole number up to %d", number, maxSize)
	}
	return []int64{int64(number)}, nil
}

// FromJSON makes a model from a configuration in JSON, as saved in checkpoints.
func FromJSON(data []byte, path *gotchnn.Path) (*Model, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	return FromConfig(c, path)
}

// FromOfficial reads the keyword arguments of an official constructor as JSON;
// family is the class: NAT, DiNAT, DiNAT_s or NATIsotropic.
func FromOfficial(family Family, kwargs []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(kwargs, &c); err != nil {
		return Config{}, err
	}
	c.Family = family
	return c.withDefaults()
}
