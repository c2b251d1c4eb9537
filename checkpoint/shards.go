package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxIndexSize bounds the JSON of an index or a config; real ones have some ten kilobytes.
	maxIndexSize = 16 << 20
	maxShards    = 4096
)

// weightFiles are the names under which HuggingFace folders keep weights, in transformers' order of preference.
var weightFiles = []string{
	"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
}

// openFolder opens a HuggingFace folder.
func openFolder(dir string, opts *Options) (*Checkpoint, error) {
	for _, name := range weightFiles {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		c, err := openFile(path, opts)
		if err != nil {
			return nil, err
		}
		c.Path = dir
		if c.Config, err = readConfig(dir); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
	hint := ""
	for _, end := range []string{".safetensors", ".pth", ".pt", ".bin"} {
		if files, _ := filepath.Glob(filepath.Join(dir, "*"+end)); len(files) > 0 {
			hint = "; did you mean " + strings.Join(files[:min(len(files), 3)], " or ") + "?"
			break
		}
	}
	return nil, fmt.Errorf("checkpoint: folder %s has none of %s%s", dir, strings.Join(weightFiles, ", "), hint)
}

// readConfig reads a folder's config.json; a folder without one is in order.
func readConfig(dir string) (*HFConfig, error) {
	path := filepath.Join(dir, "config.json")
	raw, err := readSmallFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	config, err := ParseHFConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return config, nil
}

func readSmallFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxIndexSize {
		return nil, fmt.Errorf("checkpoint: %s: not a file of at most %d bytes", path, maxIndexSize)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return raw, nil
}

// isShardIndex reports whether a file is an index of shards: JSON with a weight_map.
func isShardIndex(file []byte) bool {
	return len(file) <= maxIndexSize && bytes.HasPrefix(bytes.TrimLeft(file[:min(len(file), 64)], " \t\r\n"), []byte("{")) &&
		bytes.Contains(file, []byte(`"weight_map"`))
}

// openShards opens every file that the index at path names and puts their tensors together, in the index's order.
func openShards(path string, opts *Options) (*Checkpoint, error) {
	raw, err := readSmallFile(path)
	if err != nil {
		return nil, err
	}
	fileOf, err := parseShardIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	return assembleShards(path, fileOf, opts)
}

func assembleShards(path string, fileOf map[string]string, opts *Options) (_ *Checkpoint, err error) {
	files := slices.Compact(slices.Sorted(maps.Values(fileOf)))
	if len(files) > maxShards {
		return nil, fmt.Errorf("checkpoint: %s: %d shards, more than %d", path, len(files), maxShards)
	}
	c := &Checkpoint{Path: path, Layout: LayoutOfficial, Tensors: NewStateDict()}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for _, file := range files {
		shard, err := openWeights(filepath.Join(filepath.Dir(path), file), opts)
		if err != nil {
			return nil, err
		}
		c.closers = append(c.closers, shard)
		c.late = append(c.late, shard.late...)
		c.Format = shard.Format
		c.Metadata = mergeMetadata(c.Metadata, shard.Metadata)
		for name, t := range shard.Tensors.All() {
			if fileOf[name] != file {
				return nil, fmt.Errorf("checkpoint: %s: tensor %s is in %s; the index says %s",
					path, quoteShort(name), quoteShort(file), quoteShort(fileOf[name]))
			}
			c.Tensors.Set(name, t)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fileOf)) {
		if !c.Tensors.Has(name) {
			return nil, fmt.Errorf("checkpoint: %s: tensor %s is not in %s", path, quoteShort(name), quoteShort(fileOf[name]))
		}
	}
	return c, nil
}

func mergeMetadata(all, more map[string]string) map[string]string {
	if all == nil {
		return maps.Clone(more)
	}
	maps.Copy(all, more)
	return all
}

// parseShardIndex returns the file of each tensor.
func parseShardIndex(raw []byte) (map[string]string, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, err
	}
	if len(index.WeightMap) == 0 || len(index.WeightMap) > maxTensors {
		return nil, fmt.Errorf("weight_map names %d tensors", len(index.WeightMap))
	}
	for _, file := range index.WeightMap {
		// An index must not reach outside its folder.
		if file != filepath.Base(file) || !filepath.IsLocal(file) || strings.ContainsAny(file, "\\:") {
			return nil, fmt.Errorf("shard name %s is not allowed", quoteShort(file))
		}
	}
	return index.WeightMap, nil
}
