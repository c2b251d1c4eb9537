package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Flags collects what the command line sets, to be applied over a file: the
// file's name is on the command line too.
type Flags struct {
	set []assignment
}

type assignment struct{ key, value string }

// Define adds a flag for every key of the table but the named ones.
func (s *Flags) Define(flags *pflag.FlagSet, except ...string) {
	for i := range fields {
		f := &fields[i]
		if slices.Contains(except, f.Key) {
			continue
		}
		flag := flags.VarPF(&flagValue{s, f}, f.Flag(), f.Short, f.Help)
		flag.DefValue = f.Default
		if f.Type == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

// Has reports whether the command line sets a key.
func (s *Flags) Has(key string) bool {
	for _, a := range s.set {
		if a.key == key {
			return true
		}
	}
	return false
}

// Value is what the command line says for a key, or "".
func (s *Flags) Value(key string) string {
	value := ""
	for _, a := range s.set {
		if a.key == key {
			value = a.value
		}
	}
	return value
}

// Apply sets on c what the command line said.
func (s *Flags) Apply(c *Config) error {
	for _, a := range s.set {
		if err := c.Set(a.key, a.value); err != nil {
			return err
		}
	}
	return nil
}

// Normalize lets flags be written as keys: --batch_size is --batch-size, and
// --pretrained FILE for --initial-checkpoint FILE. It is for pflag's
// SetNormalizeFunc.
func Normalize(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if name == "pretrained" {
		return "initial-checkpoint"
	}
	return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
}

// flagValue is one flag; values are checked when they are parsed.
type flagValue struct {
	flags *Flags
	field *Field
}

func (v *flagValue) String() string { return "" }

func (v *flagValue) Type() string {
	return map[string]string{"ints": "int,int", "floats": "float,float"}[v.field.Type] +
		map[string]string{"string": "string", "int": "int", "float": "float", "bool": "bool"}[v.field.Type]
}

func (v *flagValue) Set(value string) error {
	if err := Default().Set(v.field.Key, value); err != nil {
		return err
	}
	v.flags.set = append(v.flags.set, assignment{v.field.Key, value})
	return nil
}
