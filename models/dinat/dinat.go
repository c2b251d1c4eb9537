// Package dinat has the Dilated Neighborhood Attention Transformer (arXiv
// 2209.15001) as functions: DiNAT, DiNAT_s (the Swin-like form), the isotropic
// models and ViT-rpb, their global-attention baseline. New and NewS make any
// other size.
package dinat

import (
	"github.com/gonatten/gonatten/models"
	gotchnn "github.com/sugarme/gotch/nn"
)

// New makes a DiNAT of that configuration; its Family is set here.
func New(path *gotchnn.Path, c models.Config) (*models.Model, error) {
	c.Family = models.DiNAT
	return models.FromConfig(c, path)
}

// NewS makes a DiNAT_s of that configuration; its Family is set here.
func NewS(path *gotchnn.Path, c models.Config) (*models.Model, error) {
	c.Family = models.DiNATs
	return models.FromConfig(c, path)
}

// Mini is DiNAT-Mini: 20M parameters, 2.7 GMACs, 81.8% top-1.
func Mini(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_mini", path, opts...)
}

// Tiny is DiNAT-Tiny: 28M parameters, 4.3 GMACs, 82.7% top-1.
func Tiny(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_tiny", path, opts...)
}

// Small is DiNAT-Small: 51M parameters, 7.8 GMACs, 83.8% top-1.
func Small(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_small", path, opts...)
}

// Base is DiNAT-Base: 90M parameters, 13.7 GMACs, 84.4% top-1.
func Base(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_base", path, opts...)
}

// Large is DiNAT-Large at 224: 200M parameters, 30.6 GMACs.
func Large(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_large", path, opts...)
}

// Large384 is DiNAT-Large at 384: 200M parameters, 89.7 GMACs.
func Large384(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_large_384", path, opts...)
}

// Large384K11 is DiNAT-Large at 384 with kernel_size 11: 200M parameters, 92.4 GMACs.
func Large384K11(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_large_384_11x11", path, opts...)
}

// STiny is DiNAT_s-Tiny: 28M parameters, 4.5 GMACs.
func STiny(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_s_tiny", path, opts...)
}

// SSmall is DiNAT_s-Small: 50M parameters, 8.7 GMACs.
func SSmall(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_s_small", path, opts...)
}

// SBase is DiNAT_s-Base: 88M parameters, 15.4 GMACs.
func SBase(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_s_base", path, opts...)
}

// SLarge is DiNAT_s-Large at 224: 197M parameters, 34.5 GMACs.
func SLarge(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_s_large", path, opts...)
}

// SLarge384 is DiNAT_s-Large at 384: 197M parameters, 101.5 GMACs.
func SLarge384(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_s_large_384", path, opts...)
}

// IsotropicSmall is DiNAT-iso-Small: 22M parameters, 4.3 GMACs.
func IsotropicSmall(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_isotropic_small", path, opts...)
}

// IsotropicBase is DiNAT-iso-Base: 86M parameters, 16.9 GMACs.
func IsotropicBase(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("dinat_isotropic_base", path, opts...)
}

// ViTRPBSmall is ViT-rpb-Small: 22M parameters, 4.6 GMACs.
func ViTRPBSmall(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("vitrpb_small", path, opts...)
}

// ViTRPBBase is ViT-rpb-Base: 86M parameters, 17.5 GMACs.
func ViTRPBBase(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("vitrpb_base", path, opts...)
}
