// Package models has every published NAT and DiNAT, and custom ones by the
// same configuration: the hierarchical NAT and DiNAT, DiNAT_s, and the
// isotropic NAT, DiNAT and ViT-rpb (arXiv 2204.07143 and 2209.15001).
//
//	vs := nn.NewVarStore(gotch.CPU)
//	model, err := models.New("nat_mini", vs.Root(), models.WithNumClasses(10))
//	logits, err := model.Apply(images, false) // [B, 3, H, W] -> [B, 10]
//
// Any input size will do, except for ViT-rpb. Parameters have the official
// names, shapes and order. Packages nat and dinat offer the same variants as
// functions.
package models
