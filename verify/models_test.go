package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/verify"
)

// modelSelection gathers one reference of each kind from the tests of packages
// models and checkpoint, where they lie.
func modelSelection(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string][]string{
		"models/nat_iso": {"../models/testdata/golden/models/nat_iso"},
		"hf/hf_nat":      {"../models/testdata/golden/hf/hf_nat", "../checkpoint/testdata/hf/hf_nat"},
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, to), 0o777))
		for _, folder := range from {
			entries, err := os.ReadDir(folder)
			require.NoError(t, err)
			for _, entry := range entries {
				data, err := os.ReadFile(filepath.Join(folder, entry.Name()))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, to, entry.Name()), data, 0o666))
			}
		}
	}
	writeJSON(t, filepath.Join(dir, "models/index.json"), map[string]any{"models": []any{
		map[string]any{"name": "nat_iso", "files": []string{"grads.json", "io.safetensors", "weights.pth", "weights.safetensors"}}}})
	return dir
}

func TestModels(t *testing.T) {
	report, err := verify.Run(context.Background(), modelSelection(t), verify.Options{})
	require.NoError(t, err)
	require.NoError(t, report.Err())
	var names []string
	for _, c := range report.Cases {
		names = append(names, c.Name)
	}
	require.Subset(t, names, []string{
		"models/nat_iso cpu float64", "models/nat_iso cpu float32", "models/nat_iso weights.pth cpu float64",
		"hf/hf_nat cpu float64", "hf/hf_nat cpu float32", "hf/hf_nat pytorch_model.bin cpu float64",
	})
}

func TestDamagedModelsFail(t *testing.T) {
	const model, hf = "models/nat_iso/", "hf/hf_nat/"
	replaced := func(file, old, new string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, file), func(b []byte) []byte {
				require.Contains(t, string(b), old)
				return bytes.Replace(b, []byte(old), []byte(new), 1)
			})
		}
	}
	tensors := func(file string, change func(*testing.T, *checkpoint.StateDict)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			editTensors(t, filepath.Join(dir, file), func(d *checkpoint.StateDict) { change(t, d) })
		}
	}
	gradients := func(file, name string, factor float64) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			var g map[string]any
			data, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(data, &g))
			entry := g["grads"].(map[string]any)[name].(map[string]any)
			entry["norm"] = entry["norm"].(float64) * factor
			writeJSON(t, filepath.Join(dir, file), g)
		}
	}
	remove := func(file string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, file))) }
	}
	plus := func(x float32) float32 { return x + 1e-2 }
	for name, damage := range map[string]struct {
		do   func(t *testing.T, dir string)
		says string
	}{
		"weight":            {tensors(model+"weights.safetensors", nudge("layers.0.attn.qkv.weight", plus)), "models/nat_iso cpu float64"},
		"norm weight":       {tensors(model+"weights.safetensors", nudge("layers.1.norm2.weight", plus)), "models/nat_iso cpu float64"},
		"weight missing":    {tensors(model+"weights.safetensors", func(_ *testing.T, d *checkpoint.StateDict) { d.Delete("head.bias") }), "head.bias"},
		"transformers":      {tensors(hf+"model.safetensors", nudge("nat.encoder.levels.0.layers.0.attention.self.rpb", plus)), "hf/hf_nat cpu float64"},
		"image":             {tensors(model+"io.safetensors", nudge("image", plus)), "models/nat_iso cpu float64"},
		"feature":           {tensors(model+"io.safetensors", nudge("feature.layers.1", plus)), "models/nat_iso cpu float64"},
		"feature missing":   {tensors(model+"io.safetensors", func(_ *testing.T, d *checkpoint.StateDict) { d.Delete("feature.layers.1") }), "feature.layers.1 is missing"},
		"gradient of image": {tensors(hf+"io.safetensors", nudge("grad_image", plus)), "hf/hf_nat cpu float64"},
		"logits missing":    {tensors(hf+"io.safetensors", func(_ *testing.T, d *checkpoint.StateDict) { d.Delete("logits") }), "tensor logits is missing"},
		"foreign tensor": {tensors(hf+"io.safetensors", func(_ *testing.T, d *checkpoint.StateDict) {
			image, _ := d.Get("image")
			d.Set("mask", image)
		}), "unexpected tensor mask"},
		"norm of a gradient": {gradients(model+"grads.json", "layers.0.mlp.fc1.weight", 1.001), "models/nat_iso cpu float32"},
		"norm, transformers": {gradients(hf+"grads.json", "nat.encoder.levels.0.layers.0.output.dense.weight", 1.001), "hf/hf_nat cpu float32"},
		"loss":               {replaced(model+"grads.json", `"loss": 3.07`, `"loss": 3.08`), "models/nat_iso cpu float64"},
		"configuration":      {replaced(model+"config.json", `"num_heads": 2`, `"num_heads": 4`), "models/nat_iso cpu float64"},
		"unknown family":     {replaced(model+"config.json", `"NATIsotropic"`, `"NATSpherical"`), "NATSpherical"},
		"no weights":         {remove(model + "weights.safetensors"), "weights.safetensors"},
		"no input":           {remove(hf + "io.safetensors"), "io.safetensors"},
		"no gradients":       {remove(hf + "grads.json"), "grads.json"},
		"no index":           {remove("models/index.json"), "models/index.json"},
		"weights.pth is torn": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, model+"weights.pth"), func(b []byte) []byte { return b[:len(b)-1000] })
		}, "weights.pth"},
		"name leaves the part": {replaced("models/index.json", `"nat_iso"`, `"../hf"`), "want one without folders"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := modelSelection(t)
			damage.do(t, dir)
			mustFail(t, dir, damage.says)
		})
	}
}
