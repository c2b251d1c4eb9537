package checkpoint

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The two layouts of NAT and DiNAT hold the same numbers under other names, with two differences in form: the rows of
// qkv are three tensors in HuggingFace's, and a block's two layer scales are one tensor of two rows there.
//
// Source: transformers 4.40.2, models/nat and models/dinat; SHI-Labs/Neighborhood-Attention-Transformer,
// classification/nat.py and dinat.py.

// rename is a pair of name beginnings that mean the same. What follows them is the same in both layouts.
type rename struct{ official, hf string }

// outerRenames are the names outside the blocks; those but the classifier stand behind "nat." or "dinat.". The norms
// of feature maps are those of transformers' backbone classes and of the official detection code.
var outerRenames = []rename{
	{"patch_embed.proj.", "embeddings.patch_embeddings.projection."},
	{"patch_embed.norm.", "embeddings.norm."},
	{"norm.", "layernorm."},
	{"norm0.", "hidden_states_norms.stage1."},
	{"norm1.", "hidden_states_norms.stage2."},
	{"norm2.", "hidden_states_norms.stage3."},
	{"norm3.", "hidden_states_norms.stage4."},
}

const (
	officialHead = "head."
	hfHead       = "classifier."
)

// blockRenames are the names inside a block that have one counterpart.
var blockRenames = []rename{
	{"norm1.", "layernorm_before."},
	{"norm2.", "layernorm_after."},
	{"attn.rpb", "attention.self.rpb"},
	{"attn.proj.", "attention.output.dense."},
	{"mlp.fc1.", "intermediate.dense."},
	{"mlp.fc2.", "output.dense."},
}

const hfLayerScale = "layer_scale_parameters"

// hfThirds are the parts of qkv, in the order of its rows.
var hfThirds = []string{"attention.self.query.", "attention.self.key.", "attention.self.value."}

var (
	hfPrefix      = regexp.MustCompile(`^(?:nat\.|dinat\.)?`)
	hfMark        = regexp.MustCompile(`^(?:nat\.|dinat\.)?(?:embeddings\.patch_embeddings\.|encoder\.levels\.)`)
	hfBlock       = regexp.MustCompile(`^encoder\.levels\.(\d+)\.layers\.(\d+)\.(.+)$`)
	hfDown        = regexp.MustCompile(`^encoder\.levels\.(\d+)\.downsample\.(.+)$`)
	officialBlock = regexp.MustCompile(`^levels\.(\d+)\.blocks\.(\d+)\.(.+)$`)
	officialDown  = regexp.MustCompile(`^levels\.(\d+)\.downsample\.(.+)$`)
)

// isHuggingFace reports whether a state dict has HuggingFace's layout.
func isHuggingFace(s *StateDict) bool { return slices.ContainsFunc(s.names, hfMark.MatchString) }

// FromHuggingFace converts a NAT or DiNAT state dict of HuggingFace's layout to the official one. Tensors are shared
// with in, or joined from its tensors when their bytes are asked for: the conversion takes no memory, and in's
// checkpoint must stay open. Every name must be known and every tensor complete.
func FromHuggingFace(in *StateDict) (*StateDict, error) {
	out := NewStateDict()
	for full, t := range in.All() {
		name := hfPrefix.ReplaceAllString(full, "")
		prefix := strings.TrimSuffix(full, name)
		if err := fromHF(out, in, prefix, name, t); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quoteShort(full), err)
		}
	}
	return out, nil
}

var errUnknownName = errors.New("has no counterpart in the other layout of NAT and DiNAT")

func fromHF(out, in *StateDict, prefix, name string, t *Tensor) error {
	if rest, ok := strings.CutPrefix(name, hfHead); ok && prefix == "" {
		return setNew(out, officialHead+rest, t)
	}
	for _, r := range outerRenames {
		if rest, ok := strings.CutPrefix(name, r.hf); ok {
			return setNew(out, r.official+rest, t)
		}
	}
	if m := hfDown.FindStringSubmatch(name); m != nil {
		return setNew(out, "levels."+m[1]+".downsample."+m[2], t)
	}
	m := hfBlock.FindStringSubmatch(name)
	if m == nil {
		return errUnknownName
	}
	block, inner := "levels."+m[1]+".blocks."+m[2]+".", m[3]
	for _, r := range blockRenames {
		if rest, ok := strings.CutPrefix(inner, r.hf); ok {
			return setNew(out, block+r.official+rest, t)
		}
	}
	if inner == hfLayerScale {
		return splitLayerScale(out, block, t)
	}
	for _, third := range hfThirds {
		if kind, ok := strings.CutPrefix(inner, third); ok {
			// The first of the three that comes joins them all.
			qkv := block + "attn.qkv." + kind
			if out.Has(qkv) {
				return nil
			}
			return joinThirds(out, qkv, in, strings.TrimSuffix(prefix+name, inner), kind)
		}
	}
	return errUnknownName
}

// joinThirds makes qkv from query, key and value.
func joinThirds(out *StateDict, qkv string, in *StateDict, hfBlock, kind string) error {
	var parts []*Tensor
	for _, third := range hfThirds {
		p, ok := in.Get(hfBlock + third + kind)
		if !ok {
			return fmt.Errorf("%s is missing", quoteShort(hfBlock+third+kind))
		}
		if p.Rank() == 0 || (len(parts) > 0 && !slices.Equal(p.shape, parts[0].shape)) {
			return fmt.Errorf("query, key and value have shapes that do not join: %s", p)
		}
		parts = append(parts, p)
	}
	shape := parts[0].Shape()
	shape[0] *= int64(len(parts))
	joined, err := joinRows(parts, shape)
	if err != nil {
		return err
	}
	return setNew(out, qkv, joined)
}

// splitLayerScale makes gamma1 and gamma2 from the rows of layer_scale_parameters.
func splitLayerScale(out *StateDict, block string, t *Tensor) error {
	if t.Rank() != 2 || t.shape[0] != 2 {
		return fmt.Errorf("%s where [2,C] is due", t)
	}
	for i, gamma := range []string{"gamma1", "gamma2"} {
		row, err := t.rows(int64(i), int64(i+1), t.shape[1:])
		if err != nil {
			return err
		}
		if err := setNew(out, block+gamma, row); err != nil {
			return err
		}
	}
	return nil
}

// ToHuggingFace converts a NAT or DiNAT state dict of the official layout to HuggingFace's; modelType is "nat" or
// "dinat". Tensors are shared as in [FromHuggingFace]. DiNAT_s, the isotropic models and ViT-rpb have no counterpart in
// transformers and give an error.
func ToHuggingFace(in *StateDict, modelType string) (*StateDict, error) {
	if modelType != "nat" && modelType != "dinat" {
		return nil, fmt.Errorf("checkpoint: model type %s is neither nat nor dinat", quoteShort(modelType))
	}
	out := NewStateDict()
	for name, t := range in.All() {
		if err := toHF(out, in, modelType+".", name, t); err != nil {
			return nil, fmt.Errorf("checkpoint: tensor %s: %w", quoteShort(name), err)
		}
	}
	return out, nil
}

func toHF(out, in *StateDict, prefix, name string, t *Tensor) error {
	if rest, ok := strings.CutPrefix(name, officialHead); ok {
		return setNew(out, hfHead+rest, t)
	}
	for _, r := range outerRenames {
		if rest, ok := strings.CutPrefix(name, r.official); ok {
			return setNew(out, prefix+r.hf+rest, t)
		}
	}
	if m := officialDown.FindStringSubmatch(name); m != nil {
		return setNew(out, prefix+"encoder.levels."+m[1]+".downsample."+m[2], t)
	}
	m := officialBlock.FindStringSubmatch(name)
	if m == nil {
		return errUnknownName
	}
	block, inner := prefix+"encoder.levels."+m[1]+".layers."+m[2]+".", m[3]
	for _, r := range blockRenames {
		if rest, ok := strings.CutPrefix(inner, r.official); ok {
			return setNew(out, block+r.hf+rest, t)
		}
	}
	switch inner {
	case "gamma1", "gamma2":
		return joinLayerScale(out, block, in, strings.TrimSuffix(name, inner))
	case "attn.qkv.weight", "attn.qkv.bias":
		return splitThirds(out, block, in, strings.TrimSuffix(name, inner))
	}
	return errUnknownName
}

// joinLayerScale makes layer_scale_parameters from gamma1 and gamma2, once for both.
func joinLayerScale(out *StateDict, hfBlock string, in *StateDict, block string) error {
	if out.Has(hfBlock + hfLayerScale) {
		return nil
	}
	gamma1, ok1 := in.Get(block + "gamma1")
	gamma2, ok2 := in.Get(block + "gamma2")
	if !ok1 || !ok2 || gamma1.Rank() != 1 || !slices.Equal(gamma1.shape, gamma2.shape) {
		return errors.New("gamma1 and gamma2 are not two vectors of one length")
	}
	joined, err := joinRows([]*Tensor{gamma1, gamma2}, []int64{2, gamma1.shape[0]})
	if err != nil {
		return err
	}
	return setNew(out, hfBlock+hfLayerScale, joined)
}

// splitThirds makes query, key and value from qkv: weight and bias of each in turn, as transformers orders them.
func splitThirds(out *StateDict, hfBlock string, in *StateDict, block string) error {
	if out.Has(hfBlock+hfThirds[0]+"weight") || out.Has(hfBlock+hfThirds[0]+"bias") {
		return nil
	}
	for i, third := range hfThirds {
		for _, kind := range []string{"weight", "bias"} {
			t, ok := in.Get(block + "attn.qkv." + kind)
			if !ok {
				continue // qkv_bias may be off
			}
			if t.Rank() == 0 || t.shape[0]%3 != 0 {
				return fmt.Errorf("%s has no thirds", t)
			}
			shape := t.Shape()
			shape[0] /= 3
			part, err := t.rows(int64(i)*shape[0], int64(i+1)*shape[0], shape)
			if err != nil {
				return err
			}
			if err := setNew(out, hfBlock+third+kind, part); err != nil {
				return err
			}
		}
	}
	return nil
}

func setNew(out *StateDict, name string, t *Tensor) error {
	if out.Has(name) {
		return fmt.Errorf("%s is there already", quoteShort(name))
	}
	out.Set(name, t)
	return nil
}
