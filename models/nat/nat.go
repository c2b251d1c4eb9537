// Package nat has the Neighborhood Attention Transformer (arXiv 2204.07143) as
// functions: the published sizes, and New for any other. The isotropic models
// keep one resolution from the first block to the last.
package nat

import (
	"github.com/gonatten/gonatten/models"
	gotchnn "github.com/sugarme/gotch/nn"
)

// New makes a NAT of that configuration; its Family is set here.
func New(path *gotchnn.Path, c models.Config) (*models.Model, error) {
	c.Family = models.NAT
	return models.FromConfig(c, path)
}

// Mini is NAT-Mini: 20M parameters, 2.7 GMACs, 81.8% top-1.
func Mini(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("nat_mini", path, opts...)
}

// Tiny is NAT-Tiny: 28M parameters, 4.3 GMACs, 83.2% top-1.
func Tiny(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("nat_tiny", path, opts...)
}

// Small is NAT-Small: 51M parameters, 7.8 GMACs, 83.7% top-1.
func Small(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("nat_small", path, opts...)
}

// Base is NAT-Base: 90M parameters, 13.7 GMACs, 84.3% top-1.
func Base(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("nat_base", path, opts...)
}

// IsotropicSmall is NAT-iso-Small: 22M parameters, 4.3 GMACs.
func IsotropicSmall(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("nat_isotropic_small", path, opts...)
}

// IsotropicBase is NAT-iso-Base: 86M parameters, 16.9 GMACs.
func IsotropicBase(path *gotchnn.Path, opts ...models.Option) (*models.Model, error) {
	return models.New("nat_isotropic_base", path, opts...)
}
