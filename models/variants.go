package models

import "slices"

// The published variants, one line each, in the order of the official code:
// constructor arguments from SHI-Labs/Neighborhood-Attention-Transformer
// (classification/), figures from arXiv 2204.07143 tables 3 and 4 and arXiv
// 2209.15001 tables 3 and 4. The small ones at the end are this project's.
var variants = slices.Concat(
	hierarchical(NAT, "nat_", []hierarchy{
		{name: "mini", dim: 64, depths: mini, mlp: 3, dropPath: 0.2, published: Figures{20, 2.7, 81.8}},
		{name: "tiny", dim: 64, depths: tiny, mlp: 3, dropPath: 0.2, published: Figures{28, 4.3, 83.2}},
		{name: "small", dim: 96, depths: tiny, mlp: 2, dropPath: 0.3, layerScale: 1e-5, published: Figures{51, 7.8, 83.7}},
		{name: "base", dim: 128, depths: tiny, mlp: 2, dropPath: 0.5, layerScale: 1e-5, published: Figures{90, 13.7, 84.3}},
	}),
	hierarchical(DiNAT, "dinat_", []hierarchy{
		{name: "mini", dim: 64, depths: mini, dilate: at224, mlp: 3, dropPath: 0.2, published: Figures{20, 2.7, 81.8}},
		{name: "tiny", dim: 64, depths: tiny, dilate: at224, mlp: 3, dropPath: 0.2, published: Figures{28, 4.3, 82.7}},
		{name: "small", dim: 96, depths: tiny, dilate: at224, mlp: 2, dropPath: 0.3, published: Figures{51, 7.8, 83.8}},
		{name: "base", dim: 128, depths: tiny, dilate: at224, mlp: 2, dropPath: 0.5, layerScale: 1e-5, published: Figures{90, 13.7, 84.4}},
		{name: "large", dim: 192, depths: tiny, dilate: at224, mlp: 2, dropPath: 0.35, published: Figures{200, 30.6, 0}},
		{name: "large_384", dim: 192, depths: tiny, dilate: at384, size: 384, mlp: 2, dropPath: 0.35, published: Figures{200, 89.7, 0}},
		{name: "large_384_11x11", dim: 192, depths: tiny, dilate: at224, size: 384, kernel: 11, mlp: 2, dropPath: 0.35, published: Figures{200, 92.4, 0}},
		{name: "large_21k", dim: 192, depths: tiny, dilate: at224, mlp: 2, dropPath: 0.2},
		{name: "large_21k_11x11", dim: 192, depths: tiny, dilate: at224, kernel: 11, mlp: 2, dropPath: 0.2},
	}),
	hierarchical(DiNATs, "dinat_s_", []hierarchy{
		{name: "tiny", dim: 96, depths: swinTiny, dilate: at224, mlp: 4, dropPath: 0.2, published: Figures{28, 4.5, 0}},
		{name: "small", dim: 96, depths: swin, dilate: at224, mlp: 4, dropPath: 0.3, published: Figures{50, 8.7, 0}},
		{name: "base", dim: 128, depths: swin, dilate: at224, mlp: 4, dropPath: 0.5, published: Figures{88, 15.4, 0}},
		{name: "large", dim: 192, depths: swin, dilate: at224, mlp: 4, dropPath: 0.35, published: Figures{197, 34.5, 0}},
		{name: "large_384", dim: 192, depths: swin, dilate: at384, size: 384, mlp: 4, dropPath: 0.35, published: Figures{197, 101.5, 0}},
		{name: "large_21k", dim: 192, depths: swin, dilate: at224, mlp: 4, dropPath: 0.2},
	}),
	isotropic([]isotropy{
		{name: "vitrpb_small", dim: 384, global: true, dropPath: 0.1, published: Figures{22, 4.6, 0}},
		{name: "nat_isotropic_small", dim: 384, dropPath: 0.1, published: Figures{22, 4.3, 0}},
		{name: "dinat_isotropic_small", dim: 384, dilation: 2, dropPath: 0.1, published: Figures{22, 4.3, 0}},
		{name: "vitrpb_base", dim: 768, global: true, dropPath: 0.4, published: Figures{86, 17.5, 0}},
		{name: "nat_isotropic_base", dim: 768, dropPath: 0.4, published: Figures{86, 16.9, 0}},
		{name: "dinat_isotropic_base", dim: 768, dilation: 2, dropPath: 0.4, published: Figures{86, 16.9, 0}},
	}),
	[]Variant{
		// 28x28 grey pictures: 14x14 tokens, then 7x7, then 4x4. Features gain more
		// from the third level than from larger neighborhoods: after 20,000 pictures
		// of Fashion-MNIST 84% against 81% of two levels with a kernel of 7.
		{Config: Config{Name: "nat_nano_28", Family: NAT, ImageSize: 28, InChans: 1, NumClasses: 10, EmbedDim: 32,
			Depths: []int64{1, 2, 2}, KernelSize: 3, StemStride: 2, InitStd: 0.1}},
	},
)

// Depths per level.
var (
	mini     = []int64{3, 4, 6, 5}
	tiny     = []int64{3, 4, 18, 5}
	swinTiny = []int64{2, 2, 6, 2}
	swin     = []int64{2, 2, 18, 2}
)

// Dilations of every second block, per level, by resolution.
var (
	at224 = []int64{8, 4, 2, 1}
	at384 = []int64{13, 6, 3, 1}
)

// hierarchy is what tells the hierarchical variants apart; heads have dimension 32.
type hierarchy struct {
	name           string
	dim            int64
	depths, dilate []int64
	size, kernel   int64
	mlp            float64
	dropPath       float64
	layerScale     float64
	published      Figures
}

func hierarchical(family Family, prefix string, list []hierarchy) []Variant {
	var out []Variant
	for _, h := range list {
		c := Config{Name: prefix + h.name, Family: family, ImageSize: h.size, EmbedDim: h.dim, Depths: h.depths,
			KernelSize: h.kernel, MLPRatio: h.mlp, DropPathRate: h.dropPath, LayerScale: h.layerScale}
		if h.dilate != nil {
			c.Dilations = Alternate(h.depths, h.dilate)
		}
		out = append(out, Variant{Config: c, Published: h.published})
	}
	return out
}

// Alternate makes Dilations: 1 and, for every second block, the level's own.
func Alternate(depths, dilations []int64) [][]int64 {
	out := make([][]int64, len(depths))
	for level, depth := range depths {
		for j := range depth {
			d := int64(1)
			if j%2 == 1 {
				d = dilations[level]
			}
			out[level] = append(out[level], d)
		}
	}
	return out
}

// isotropy is what tells the isotropic variants apart.
type isotropy struct {
	name          string
	dim, dilation int64
	global        bool
	dropPath      float64
	published     Figures
}

func isotropic(list []isotropy) []Variant {
	var out []Variant
	for _, i := range list {
		c := Config{Name: i.name, Family: Isotropic, EmbedDim: i.dim, Depths: []int64{12}, GlobalAttention: i.global, DropPathRate: i.dropPath}
		if i.dilation > 1 {
			c.Dilations = Alternate(c.Depths, []int64{i.dilation})
		}
		out = append(out, Variant{Config: c, Published: i.published})
	}
	return out
}
