package config

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed presets
var presets embed.FS

// Presets are the names that Load knows besides files.
func Presets() []string {
	entries, err := fs.ReadDir(presets, "presets")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yml"))
	}
	return names
}

// Load reads a YAML file, or the preset of that name, over the defaults.
func Load(name string) (*Config, error) {
	data, err := presets.ReadFile(path.Join("presets", name+".yml"))
	if err != nil {
		if data, err = os.ReadFile(name); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("config: no file %s, and no preset of that name (presets: %s)", name, strings.Join(Presets(), ", "))
		} else if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	c := Default()
	if err := c.Read(data); err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, name)
	}
	return c, nil
}

// Read sets what a YAML document says: one mapping of keys to scalars or lists
// of scalars. A null leaves the key as it is. All mistakes are reported at once.
func (c *Config) Read(document []byte) error {
	var root yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(document)).Decode(&root)
	if errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	mapping := root.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return fmt.Errorf("config: line %d: want keys and values", mapping.Line)
	}
	var mistakes []error
	seen := map[string]bool{}
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i].Value, mapping.Content[i+1]
		if seen[key] {
			mistakes = append(mistakes, fmt.Errorf("config: %s stands there twice", key))
		}
		seen[key] = true
		text, err := scalar(value)
		if err == nil && value.Tag != "!!null" {
			err = c.Set(key, text)
		} else if err == nil && find(key) == nil {
			err = unknown(key)
		} else if err != nil {
			err = fmt.Errorf("config: %s: %w", key, err)
		}
		if err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return errors.Join(mistakes...)
}

func scalar(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.AliasNode:
		return scalar(n.Alias)
	case yaml.SequenceNode:
		parts := make([]string, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", fmt.Errorf("line %d: want a plain value", item.Line)
			}
			parts[i] = item.Value
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("line %d: want a value, not keys", n.Line)
}

// YAML writes every key with its value and its help, readable by Read.
func (c *Config) YAML() []byte {
	var b bytes.Buffer
	section := ""
	for _, f := range fields {
		if f.Section != section {
			fmt.Fprintf(&b, "%s# ---- %s\n", map[bool]string{true: "\n"}[section != ""], f.Section)
			section = f.Section
		}
		value := c.Get(f.Key)
		switch f.Type {
		case "string":
			quoted, err := yaml.Marshal(value)
			if err == nil {
				value = strings.TrimSpace(string(quoted))
			}
		case "ints", "floats":
			value = "[" + strings.ReplaceAll(value, ",", ", ") + "]"
		}
		fmt.Fprintf(&b, "%s: %s  # %s\n", f.Key, value, f.Help)
	}
	return b.Bytes()
}

// MarshalJSON writes the keys as they are in YAML, in order.
func (c *Config) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(c.value(&f))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", f.Key, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
