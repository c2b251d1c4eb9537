package models_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

func TestLayerIDCountsBlocks(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"nat_mini": {"patch_embed.norm.bias": 0, "levels.0.blocks.0.attn.rpb": 1, "levels.0.blocks.2.norm1.weight": 3,
			"levels.0.downsample.norm.bias": 3, "levels.1.blocks.0.mlp.fc1.bias": 4, "levels.3.blocks.4.mlp.fc2.bias": 18,
			"norm.weight": 19, "head.bias": 19, "levels.4.blocks.0.norm1.bias": -1, "levels.0.blocks.3.norm1.bias": -1, "tail.weight": -1, "levels.0.blocks": -1},
		"dinat_s_tiny":        {"patch_embed.proj.bias": 0, "layers.1.downsample.reduction.weight": 4, "layers.2.blocks.0.attn.rpb": 5},
		"nat_isotropic_small": {"layers.0.attn.rpb": 1, "layers.11.mlp.fc1.bias": 12, "head.weight": 13, "layers.12.attn.rpb": -1},
	} {
		c, err := models.ConfigOf(name)
		require.NoError(t, err)
		m := onMeta(t, c)
		for parameter, id := range want {
			require.Equal(t, id, m.LayerID(parameter), "%s %s", name, parameter)
		}
		last := 0
		for _, p := range m.Parameters() {
			id := m.LayerID(p.Name)
			require.GreaterOrEqual(t, id, last, "%s %s: depths do not fall", name, p.Name)
			require.Less(t, id, m.NumLayers())
			last = id
		}
		require.Equal(t, m.NumLayers()-1, last)
	}
}

func TestFreezeByPattern(t *testing.T) {
	m := build(t, small)
	all := len(m.Trainable())
	n, err := m.Freeze("patch_embed", "levels.0", "*.norm1.*")
	require.NoError(t, err)
	// tokenizer 6; level 0: its block 15 and the downsampler 3; level 1: norm1 of two blocks
	require.Equal(t, 6+15+3+4, n)
	require.Len(t, m.Trainable(), all-n)
	for _, p := range m.Trainable() {
		require.NotContains(t, p.Name, "norm1")
	}

	s := torch.NewScope()
	defer s.Close()
	images := s.Randn([]int64{1, 3, 32, 32}, gotch.Float, torch.CPU)
	loss := s.Sum(s.Own(m.Apply(images, true)))
	require.NoError(t, s.Err())
	require.NoError(t, torch.Backward(loss))
	trained := map[string]bool{}
	for _, p := range m.Trainable() {
		trained[p.Name] = true
	}
	for _, p := range m.Parameters() {
		grad, err := torch.Grad(p.Tensor)
		require.NoError(t, err)
		require.Equal(t, trained[p.Name], grad != nil, p.Name)
	}

	_, err = m.Freeze("levels.7")
	require.EqualError(t, err, `models: Freeze: pattern "levels.7" fits no parameter`)
	_, err = m.Unfreeze("*")
	require.NoError(t, err)
	require.Len(t, m.Trainable(), all)
}

// From 224 to 384 the official models change their dilations and nothing else.
func TestImageSizeSetsTheOfficialDilations(t *testing.T) {
	for from, to := range map[string]string{"dinat_large": "dinat_large_384", "dinat_s_large": "dinat_s_large_384"} {
		c, err := models.ConfigOf(from, models.WithImageSize(384))
		require.NoError(t, err)
		want, err := models.ConfigOf(to)
		require.NoError(t, err)
		c.Name = want.Name
		require.Equal(t, want, c)
	}
	c, err := models.ConfigOf("dinat_large", models.With(func(c *models.Config) { c.KernelSize = 11 }), models.WithImageSize(384))
	require.NoError(t, err)
	want, err := models.ConfigOf("dinat_large_384_11x11")
	require.NoError(t, err)
	require.Equal(t, want.Dilations, c.Dilations)
	c, err = models.ConfigOf("nat_tiny", models.WithImageSize(384))
	require.NoError(t, err)
	require.Nil(t, c.Dilations)
}

// ViT-rpb's bias depends on the resolution: it is resized, its index computed anew.
func TestViTRPBChangesResolution(t *testing.T) {
	c := models.Config{Family: models.Isotropic, ImageSize: 48, EmbedDim: 32, Depths: []int64{2}, GlobalAttention: true, NumClasses: 4}
	path := filepath.Join(t.TempDir(), "vit.safetensors")
	require.NoError(t, build(t, c).Save(path, models.SaveOptions{}))
	m, _, report, err := models.Open(path, gotchnn.NewVarStore(gotch.CPU).Root(), nil, models.WithImageSize(80))
	require.NoError(t, err)
	require.Len(t, report.Resized, 2)
	require.Len(t, report.Recomputed, 2)
	s := torch.NewScope()
	defer s.Close()
	s.Own(m.Apply(s.Randn([]int64{1, 3, 80, 80}, gotch.Float, torch.CPU), false))
	require.NoError(t, s.Err())
	_, err = m.Apply(s.Randn([]int64{1, 3, 48, 48}, gotch.Float, torch.CPU), false)
	require.ErrorContains(t, err, "input has shape [1 3 3 32], want 5 x 5 tokens")
}
