package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/verify"
)

const (
	opFile     = "ops/na1d_02_21_k7_d3_rpb.safetensors"
	causalFile = "ops/na1d_08_32_k7_d1_c1.safetensors"
	moduleFile = "modules/na1d_05_15_k5_d1.safetensors"
)

// selection copies three references with indexes that list just them.
func selection(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{opFile, causalFile, moduleFile} {
		data, err := os.ReadFile(filepath.Join(golden, name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o666))
	}
	for part, files := range map[string][]string{"ops": {opFile, causalFile}, "modules": {moduleFile}} {
		var index struct {
			Cases []map[string]any `json:"cases"`
		}
		data, err := os.ReadFile(filepath.Join(golden, part, "index.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &index))
		var kept []map[string]any
		for _, c := range index.Cases {
			for _, file := range files {
				if c["file"] == filepath.Base(file) {
					kept = append(kept, c)
				}
			}
		}
		require.Len(t, kept, len(files))
		writeJSON(t, filepath.Join(dir, part, "index.json"), map[string]any{"cases": kept})
	}
	for _, name := range []string{"ops/windows.json", "ops/rejected.json"} {
		data, err := os.ReadFile(filepath.Join(golden, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o666))
	}
	return dir
}

func writeJSON(t *testing.T, path string, value any) {
	t.Helper()
	data, err := json.Marshal(value)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o666))
}

// edit changes a file's bytes.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(data), 0o666))
}

// editIndex changes the first case of an index.
func editIndex(t *testing.T, path string, change func(c map[string]any)) {
	t.Helper()
	edit(t, path, func(data []byte) []byte {
		var index struct {
			Cases []map[string]any `json:"cases"`
		}
		require.NoError(t, json.Unmarshal(data, &index))
		change(index.Cases[0])
		data, err := json.Marshal(index)
		require.NoError(t, err)
		return data
	})
}

// editTensors rewrites a safetensors file. The file is then no longer the
// published one in any byte, so that a damaged result is found by its numbers.
func editTensors(t *testing.T, path string, change func(d *checkpoint.StateDict)) {
	t.Helper()
	file, err := checkpoint.OpenSafetensors(path)
	require.NoError(t, err)
	tensors := checkpoint.NewStateDict()
	for name, tensor := range file.Tensors.All() {
		tensors.Set(name, tensor.Clone())
	}
	metadata := file.Metadata
	require.NoError(t, file.Close())
	change(tensors)
	require.NoError(t, checkpoint.SaveSafetensors(path, tensors, metadata))
}

// nudge changes the first element.
func nudge(name string, by func(float32) float32) func(*testing.T, *checkpoint.StateDict) {
	return func(t *testing.T, d *checkpoint.StateDict) {
		tensor, ok := d.Get(name)
		require.True(t, ok, name)
		values, err := tensor.Float32s()
		require.NoError(t, err)
		values[0] = by(values[0])
		changed, err := checkpoint.FromFloat32s(values, tensor.Shape()...)
		require.NoError(t, err)
		d.Set(name, changed)
	}
}

func TestSelectionPasses(t *testing.T) {
	report, err := verify.Run(context.Background(), selection(t), exact)
	require.NoError(t, err)
	require.NoError(t, report.Err())
}

// Damage of every kind fails at least one case, and says where.
func TestDamagedReferencesFail(t *testing.T) {
	bytesOf := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, filepath.Join(dir, opFile), change) }
	}
	index := func(change func(c map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { editIndex(t, filepath.Join(dir, "ops/index.json"), change) }
	}
	tensors := func(file string, change func(*testing.T, *checkpoint.StateDict)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			editTensors(t, filepath.Join(dir, file), func(d *checkpoint.StateDict) { change(t, d) })
		}
	}
	plus := func(x float32) float32 { return x + 1e-3 }
	for name, damage := range map[string]struct {
		do   func(t *testing.T, dir string)
		says string
	}{
		"lowest bit of an input":  {bytesOf(func(b []byte) []byte { b[len(b)-8] ^= 1; return b }), opFile + ": its SHA-256"},
		"highest bit":             {bytesOf(func(b []byte) []byte { b[len(b)-5] ^= 0x80; return b }), opFile + ": its SHA-256"},
		"header":                  {bytesOf(func(b []byte) []byte { b[20] ^= 4; return b }), opFile + ": its SHA-256"},
		"truncated":               {bytesOf(func(b []byte) []byte { return b[:len(b)-100] }), opFile + ": its SHA-256"},
		"truncated in the header": {bytesOf(func(b []byte) []byte { return b[:100] }), opFile + ": its SHA-256"},
		"empty":                   {bytesOf(func([]byte) []byte { return nil }), opFile + ": its SHA-256"},
		"bytes appended":          {bytesOf(func(b []byte) []byte { return append(b, 0, 0, 0, 0) }), opFile + ": its SHA-256"},
		"missing file": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, opFile))) },
			"na1d_02_21_k7_d3_rpb"},
		"missing index": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "ops/index.json"))) },
			"ops/index.json"},
		"truncated index": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "ops/index.json"), func(b []byte) []byte { return b[:len(b)/2] })
		}, "ops/index.json"},
		"index without cases": {func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, "modules/index.json"), map[string]any{"cases": []any{}})
		}, "modules/index.json: lists no cases"},
		"index names an absent file": {index(func(c map[string]any) { c["file"] = "na1d_99.safetensors" }), "na1d_99"},
		"index leaves the folder":    {index(func(c map[string]any) { c["file"] = "../" + moduleFile }), "want a name without folders"},
		"index of another rank":      {index(func(c map[string]any) { c["rank"] = 2 }), "want rank 2"},
		"index of another kernel":    {index(func(c map[string]any) { c["kernel_size"] = []int{5} }), "tensor "},
		"index of another dilation":  {index(func(c map[string]any) { c["dilation"] = []int{2} }), "dilation is [3] in the file and [2] in the index"},
		"index of another scale":     {index(func(c map[string]any) { c["scale"] = 0.36 }), "scale is "},
		"index without rpb":          {index(func(c map[string]any) { c["has_rpb"] = false }), "unexpected tensor"},
		"index with a string":        {index(func(c map[string]any) { c["rank"] = "one" }), "ops/index.json case 0"},
		"tensor missing":             {tensors(opFile, func(_ *testing.T, d *checkpoint.StateDict) { d.Delete("dq") }), "tensor dq is missing"},
		"tensor too many": {tensors(opFile, func(_ *testing.T, d *checkpoint.StateDict) { q, _ := d.Get("q"); d.Set("extra", q) }),
			"unexpected tensor extra"},
		"tensors of another type": {tensors(opFile, func(t *testing.T, d *checkpoint.StateDict) {
			q, _ := d.Get("q")
			wide, err := q.ToFloat(checkpoint.F64)
			require.NoError(t, err)
			d.Set("q", wide)
		}), "tensor q is F64"},
		"module parameter missing": {tensors(moduleFile, func(_ *testing.T, d *checkpoint.StateDict) { d.Delete("param.rpb") }), "tensor param.rpb is missing"},
		"windows": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "ops/windows.json"), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"start": [0, 0, 1, 1]`), []byte(`"start": [0, 1, 1, 1]`), 1)
			})
		}, "ops/windows"},
		"window table truncated": {func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "ops/windows.json"), func(b []byte) []byte { return b[:len(b)-3] })
		}, "ops/windows"},
		"rejection of a valid call": {func(t *testing.T, dir string) {
			writeJSON(t, filepath.Join(dir, "ops/rejected.json"), []any{map[string]any{
				"what": "nothing wrong", "rank": 1, "qk_shape": []int{1, 1, 8, 4}, "args": map[string]any{"kernel_size": 3}}})
		}, "ops/rejected: nothing wrong: was accepted"},
	} {
		t.Run(name, func(t *testing.T) { fails(t, damage.do, damage.says) })
	}
	// By the numbers: each result, and each input through the results.
	for _, name := range []string{"q", "k", "v", "dout", "rpb", "logits", "out", "dq", "dk", "dv", "drpb"} {
		t.Run(name, func(t *testing.T) { fails(t, tensors(opFile, nudge(name, plus)), "") })
	}
	for _, name := range []string{"input", "param.qkv.weight", "param.qkv.bias", "param.proj.weight", "param.proj.bias", "param.rpb",
		"grad_output", "output", "grad_input", "grad.qkv.weight", "grad.qkv.bias", "grad.proj.weight", "grad.proj.bias", "grad.rpb"} {
		t.Run(name, func(t *testing.T) { fails(t, tensors(moduleFile, nudge(name, plus)), "") })
	}
	nan := func(float32) float32 { return float32(math.NaN()) }
	t.Run("NaN", func(t *testing.T) { fails(t, tensors(opFile, nudge("out", nan)), "NaN or infinity") })
	infinite := func(float32) float32 { return float32(math.Inf(-1)) }
	t.Run("empty slot", func(t *testing.T) { fails(t, tensors(causalFile, nudge("logits", infinite)), "NaN or infinity") })
}

// fails damages a selection and expects failed cases, one of which says so;
// if says is empty, one that is not of the published files' sums.
func fails(t *testing.T, damage func(*testing.T, string), says string) {
	t.Helper()
	dir := selection(t)
	damage(t, dir)
	mustFail(t, dir, says)
}

// mustFail runs the references in dir.
func mustFail(t *testing.T, dir, says string) {
	t.Helper()
	report, err := verify.Run(context.Background(), dir, exact)
	require.NoError(t, err)
	require.Positive(t, report.Failed)
	require.Error(t, report.Err())
	_, err = json.Marshal(report)
	require.NoError(t, err, "a report of failures is still valid JSON")
	failed, said := 0, false
	for _, c := range report.Cases {
		if !c.OK {
			failed++
			said = said || bytes.Contains([]byte(c.Name+": "+c.Detail), []byte(says)) && !(says == "" && bytes.HasSuffix([]byte(c.Name), []byte("checksums")))
		}
	}
	require.Equal(t, report.Failed, failed)
	require.True(t, said, "no failed case says %q: %v", says, report.Err())
}

// A whole run fails where there is nothing to run; what is not known is named.
func TestFoldersWithoutReferences(t *testing.T) {
	_, err := verify.Run(context.Background(), t.TempDir(), exact)
	require.ErrorContains(t, err, "has no references")
	_, err = verify.Run(context.Background(), filepath.Join(t.TempDir(), "absent"), exact)
	require.ErrorIs(t, err, os.ErrNotExist)

	dir := selection(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "volumes"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flops.json"), []byte("{}"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ops", "na4d.safetensors"), nil, 0o666))
	report, err := verify.Run(context.Background(), dir, exact)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"volumes: unknown to this version",
		"flops.json: operation counts, which do not depend on the machine",
		"ops/na4d.safetensors: not in index.json",
	}, report.Skipped)
}
