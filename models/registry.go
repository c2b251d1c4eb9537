package models

import (
	"fmt"
	"path"
	"slices"
	"strings"

	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/internal/near"
)

// Figures are published for a variant: parameters, multiply-accumulates of one
// picture at the variant's resolution, and ImageNet-1K top-1 accuracy. 0: none.
type Figures struct {
	ParamsM float64 // millions
	GMACs   float64 // 10^9; the papers print them as FLOPs
	Top1    float64 // percent
}

// Variant is a named model.
type Variant struct {
	Config
	Published Figures
}

// New makes a registered variant with fresh parameters, changed by the options.
func New(name string, path *gotchnn.Path, opts ...Option) (*Model, error) {
	c, err := ConfigOf(name, opts...)
	if err != nil {
		return nil, err
	}
	return FromConfig(c, path)
}

// ConfigOf is the complete configuration that New would build.
func ConfigOf(name string, opts ...Option) (Config, error) {
	v, ok := Lookup(name)
	if !ok {
		return Config{}, fmt.Errorf("models: New: there is no variant %q%s", name, hint(name))
	}
	for _, opt := range opts {
		opt(&v.Config)
	}
	return v.withDefaults()
}

// hint names variants that a misspelt name may have meant.
func hint(name string) string {
	prefix, _, _ := strings.Cut(name, "_")
	family := List(prefix + "*")
	if prefix == "" || len(family) == 0 {
		family = List("*")
	}
	return "; there are " + strings.Join(family, ", ") + near.Question(name, List("*"))
}

// Lookup finds a variant by name. The result is the caller's to change.
func Lookup(name string) (Variant, bool) {
	for _, v := range variants {
		if v.Name == name {
			v.Config = v.clone()
			return v, true
		}
	}
	return Variant{}, false
}

func (c Config) clone() Config {
	c.Depths, c.NumHeads, c.OutIndices = slices.Clone(c.Depths), slices.Clone(c.NumHeads), slices.Clone(c.OutIndices)
	c.Dilations = slices.Clone(c.Dilations)
	for i, list := range c.Dilations {
		c.Dilations[i] = slices.Clone(list)
	}
	return c
}

// List is the names that match a pattern, with * and ? as in file names, in
// the registry's order. "" matches all.
func List(pattern string) []string {
	var names []string
	for _, v := range variants {
		if ok, _ := path.Match(pattern, v.Name); ok || pattern == "" {
			names = append(names, v.Name)
		}
	}
	return names
}

// Option changes the configuration of a variant.
type Option func(*Config)

// WithNumClasses sets the length of the logits.
func WithNumClasses(n int64) Option { return func(c *Config) { c.NumClasses = n } }

// WithInChans sets the number of image channels.
func WithInChans(n int64) Option { return func(c *Config) { c.InChans = n } }

// WithDropPath sets the rate of stochastic depth at the last block.
func WithDropPath(rate float64) Option { return func(c *Config) { c.DropPathRate = rate } }

// WithOutIndices makes a feature extractor; see Config.OutIndices.
func WithOutIndices(indices ...int64) Option {
	return func(c *Config) { c.OutIndices = indices }
}

// With changes any field.
func With(change func(c *Config)) Option { return change }
