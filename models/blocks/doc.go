// Package blocks has the parts that NAT, DiNAT, DiNAT_s and the isotropic
// models share, each written once: [Block] (attention and MLP with residual
// connections), [Level] (blocks and what reduces the resolution after them),
// the two ways from an image to tokens ([ConvTokenizer], [PatchEmbed]) and the
// two ways to halve the resolution ([ConvDownsampler], [PatchMerging]).
//
// Tokens are channels-last, [batch, height, width, dim]. Parameter names and
// initialisation are those of the official code (arXiv 2204.07143, 2209.15001;
// SHI-Labs/Neighborhood-Attention-Transformer): linear weights and rpb from a
// truncated normal distribution of deviation 0.02, linear biases zero,
// convolutions PyTorch's default.
package blocks
