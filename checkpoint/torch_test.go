package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, path string, opts *Options) *Checkpoint {
	t.Helper()
	c, err := Open(path, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// requireSame compares names, types, shapes and bits.
func requireSame(t *testing.T, want, got *StateDict) {
	t.Helper()
	require.ElementsMatch(t, want.Names(), got.Names())
	for name, w := range want.All() {
		g, _ := got.Get(name)
		require.Equal(t, w.String(), g.String(), name)
		require.True(t, w.Equal(g), name)
	}
}

func TestTorchVariety(t *testing.T) {
	want := open(t, "testdata/pth/variety.safetensors", nil)
	got := open(t, "testdata/pth/variety.pth", nil)
	require.Equal(t, FormatTorch, got.Format)
	requireSame(t, want.Tensors, got.Tensors)
	for name, aliased := range map[string]bool{
		"f32": true, "f32.offset_view": true, "f32.transposed_view": false, "f32.strided_view": false, "param": true,
	} {
		tensor, _ := got.Tensors.Get(name)
		require.Equal(t, aliased, tensor.Aliased(), name)
	}
}

func TestTorchModels(t *testing.T) {
	for dir, files := range map[string][]string{
		"nat_ls_k7":   {"weights.pth", "checkpoint_timm.pth.tar"},
		"dinat_ls_k5": {"weights_dataparallel.pth"},
	} {
		want := open(t, filepath.Join("testdata/models", dir, "weights.safetensors"), nil)
		for _, file := range files {
			got := open(t, filepath.Join("testdata/models", dir, file), nil)
			require.Equal(t, FormatTorch, got.Format)
			requireSame(t, want.Tensors, got.Tensors)
		}
	}
}

func TestTorchKeepPrefix(t *testing.T) {
	c := open(t, "testdata/models/dinat_ls_k5/weights_dataparallel.pth", &Options{KeepPrefix: true})
	require.True(t, allHavePrefix(c.Tensors, "module."))
}

func TestTorchTrainingCheckpoint(t *testing.T) {
	const path = "testdata/models/nat_ls_k7/checkpoint_timm.pth.tar"
	c := open(t, path, nil)
	require.EqualValues(t, 12, c.Extra["epoch"])
	require.Equal(t, "nat_ls_k7", c.Extra["arch"])
	require.Equal(t, 81.5, c.Extra["metric"])
	require.NotContains(t, c.Extra, "optimizer")
	require.NotContains(t, c.Extra, "state_dict")
	args, ok := c.Extra["args"].(map[string]any)
	require.True(t, ok)
	require.Equal(t, "adamw", args["opt"])
	require.Equal(t, []any{0.08, 1.0}, args["scale"])
	require.Nil(t, args["mean"])

	ema := open(t, path, &Options{UseEMA: true})
	require.ElementsMatch(t, c.Tensors.Names(), ema.Tensors.Names())
	require.False(t, c.Tensors.Equal(ema.Tensors))
	entry := open(t, path, &Options{Entry: "state_dict_ema"})
	requireSame(t, ema.Tensors, entry.Tensors)

	_, err := Open("testdata/models/nat_ls_k7/weights.pth", &Options{UseEMA: true})
	require.ErrorContains(t, err, "no averaged weights")
	_, err = Open(path, &Options{Entry: "state_dict/nothing"})
	require.ErrorContains(t, err, `no entry "nothing"`)
}

func TestTorchNested(t *testing.T) {
	c := open(t, "testdata/pth/nested.pth", nil)
	require.Equal(t, []string{"a"}, c.Tensors.Names())
	require.Equal(t, map[string]any{
		"epoch": int64(3), "n": int64(3), "s": "text",
		"l": []any{int64(1), 2.5, nil, true, []any{int64(4), "x"}},
	}, c.Extra)
}

func TestTorchLegacy(t *testing.T) {
	c := open(t, "testdata/pth/legacy_format.pth", nil)
	require.Equal(t, FormatTorchLegacy, c.Format)
	want := open(t, "testdata/pth/variety.safetensors", nil)
	require.Equal(t, []string{"f32", "i64"}, c.Tensors.Names())
	for name, got := range c.Tensors.All() {
		w, _ := want.Tensors.Get(name)
		require.True(t, w.Equal(got), name)
	}
}

func TestGotchFiles(t *testing.T) {
	want := open(t, "testdata/gotch/varstore.safetensors", nil)
	got := open(t, "testdata/gotch/varstore.gt", nil)
	require.Equal(t, FormatTorchScript, got.Format)
	requireSame(t, want.Tensors, got.Tensors)

	single := open(t, "testdata/gotch/tensor.gt", nil)
	require.Equal(t, []float64{1, 2, 3, 4, 5, 6}, floats(t, single.Tensors, "0"))
}

// TestTorchRoundTrips goes .pth -> safetensors -> .pth: names, order, types and bits stay.
func TestTorchRoundTrips(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{
		"testdata/pth/variety.pth", "testdata/models/nat_ls_k7/weights.pth", "testdata/hf/hf_nat/pytorch_model.bin",
	} {
		in := open(t, path, &Options{KeepLayout: true})
		first, second, third := filepath.Join(dir, "1.safetensors"), filepath.Join(dir, "2.pth"), filepath.Join(dir, "3.pth")
		require.NoError(t, SaveSafetensors(first, in.Tensors, nil))
		require.NoError(t, SaveTorch(second, open(t, first, &Options{KeepLayout: true}).Tensors))
		back := open(t, second, &Options{KeepLayout: true})
		require.Equal(t, in.Tensors.Names(), back.Tensors.Names())
		requireSame(t, in.Tensors, back.Tensors)

		require.NoError(t, SaveTorch(third, back.Tensors))
		a, err := os.ReadFile(second)
		require.NoError(t, err)
		b, err := os.ReadFile(third)
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b), "writing is not deterministic")
	}
}

func TestTorchWritesEveryType(t *testing.T) {
	s := NewStateDict()
	for d := DType(1); d < numDType; d++ {
		s.Set("x."+d.String(), must(NewTensor(d, []int64{2, 1}, bytes.Repeat([]byte{1}, 2*d.Size()))))
		s.Set("empty."+d.String(), must(NewTensor(d, []int64{0, 3}, nil)))
	}
	path := filepath.Join(t.TempDir(), "all.pth")
	require.NoError(t, SaveTorch(path, s))
	requireSame(t, s, open(t, path, nil).Tensors)
}

func TestTorchAlignment(t *testing.T) {
	in := open(t, "testdata/pth/variety.pth", nil)
	var buf bytes.Buffer
	require.NoError(t, WriteTorch(&buf, in.Tensors))
	entries, err := readZip(buf.Bytes())
	require.NoError(t, err)
	for _, e := range entries {
		require.Zero(t, (e.end-e.size)%torchAlignment, e.name)
	}
}

func TestTorchBitFlipsInDataAreSeen(t *testing.T) {
	file, err := os.ReadFile("testdata/pth/variety.pth")
	require.NoError(t, err)
	entries, err := readZip(file)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "flipped.pth")
	for _, e := range entries {
		if !strings.HasPrefix(e.name, "variety/data/") || e.size == 0 {
			continue
		}
		file[e.end-1] ^= 4
		require.NoError(t, os.WriteFile(path, file, 0o600))
		_, err := Open(path, nil)
		require.ErrorIs(t, err, ErrChecksum, e.name)
		require.ErrorContains(t, err, path)
		c, err := Open(path, &Options{SkipChecksum: true})
		require.NoError(t, err)
		require.NoError(t, c.Close())
		file[e.end-1] ^= 4
	}
}

func TestOpenUnknown(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors.pth")
	for name, content := range map[string]string{
		"empty": "", "text": "hello, this is no checkpoint at all", "gzip": "\x1f\x8b\x08",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := Open(path, nil)
		require.ErrorContains(t, err, path, name)
		require.ErrorContains(t, err, "known format", name)
	}
	_, err := Open(filepath.Join(dir, "missing"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(dir, nil)
	require.ErrorContains(t, err, "has none of model.safetensors")
}

// TestPythonFiles reads what PyTorch 2.11 writes: every element type, views of one storage, a whole pickled module, a
// training checkpoint, TorchScript. scripts/peers/check_checkpoints.py --keep made them.
func TestPythonFiles(t *testing.T) {
	for file, format := range map[string]Format{
		"every_type.pth": FormatTorch, "views.pth": FormatTorch, "views_legacy.pth": FormatTorchLegacy,
		"whole_module.pth": FormatTorch, "nested_model.pth": FormatTorch, "script.pt": FormatTorchScript,
	} {
		path := filepath.Join("testdata/python", file)
		got := open(t, path, &Options{KeepPrefix: true})
		require.Equal(t, format, got.Format, file)
		want := open(t, strings.TrimSuffix(path, filepath.Ext(path))+".safetensors", &Options{KeepPrefix: true})
		requireSame(t, want.Tensors, got.Tensors)
	}
	c := open(t, "testdata/python/nested_model.pth", nil)
	require.True(t, c.Tensors.Has("stem.weight"))
	require.Equal(t, map[string]any{
		"epoch": int64(4), "metric": 81.5, "space": map[string]any{"a": int64(1)},
		"args": map[string]any{"lr": 1e-3, "out": `pathlib.PurePosixPath("a", "b")`},
	}, c.Extra)
}
