package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOpenSaysWhatIsWrong: errors that a slip of the hand brings about.
func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	s := NewStateDict()
	tensor, err := NewTensor(F32, []int64{1}, make([]byte, 4))
	require.NoError(t, err)
	s.Set("a", tensor)
	require.NoError(t, SaveSafetensors(at("best.safetensors"), s, nil))
	require.NoError(t, SaveSafetensors(at("last.safetensors"), s, nil))
	_, err = Open(dir, nil)
	require.ErrorContains(t, err, "; did you mean "+at("best.safetensors")+" or "+at("last.safetensors")+"?")
	_, err = Open(at("absent.pth"), nil)
	require.EqualError(t, err, "checkpoint: "+at("absent.pth")+": no such file or directory")
	require.NoError(t, os.WriteFile(at("empty.pth"), nil, 0o600))
	_, err = Open(at("empty.pth"), nil)
	require.EqualError(t, err, "checkpoint: "+at("empty.pth")+": not a checkpoint of a known format: the file is empty")
	for _, o := range []Options{{UseEMA: true}, {Entry: "model"}} {
		_, err = Open(at("best.safetensors"), &o)
		require.ErrorContains(t, err, "a safetensors file has one set of weights")
	}
}

// writeSharded splits a folder's weights over n files and returns the new folder.
func writeSharded(t *testing.T, from string, n int, suffix string, save func(path string, s *StateDict) error) string {
	t.Helper()
	in := open(t, from, &Options{KeepLayout: true})
	dir := t.TempDir()
	shards := make([]*StateDict, n)
	weightMap := make(map[string]string)
	i := 0
	for name, tensor := range in.Tensors.All() {
		k := i % n // tensors of one block land in different files
		if shards[k] == nil {
			shards[k] = NewStateDict()
		}
		shards[k].Set(name, tensor)
		weightMap[name] = shardName(k, suffix)
		i++
	}
	for k, s := range shards {
		require.NoError(t, save(filepath.Join(dir, shardName(k, suffix)), s))
	}
	writeIndex(t, dir, suffix, weightMap)
	config, err := os.ReadFile(filepath.Join(from, "config.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600))
	return dir
}

func shardName(k int, suffix string) string { return "part-" + string(rune('a'+k)) + suffix }

func writeIndex(t *testing.T, dir, suffix string, weightMap map[string]string) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": weightMap})
	require.NoError(t, err)
	name := map[string]string{".safetensors": "model.safetensors", ".bin": "pytorch_model.bin"}[suffix] + ".index.json"
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), raw, 0o600))
}

func saveST(path string, s *StateDict) error {
	return SaveSafetensors(path, s, map[string]string{"format": "pt"})
}

func TestSharded(t *testing.T) {
	for suffix, save := range map[string]func(string, *StateDict) error{".safetensors": saveST, ".bin": SaveTorch} {
		for _, from := range hfFolders {
			want := open(t, from, nil)
			dir := writeSharded(t, from, 3, suffix, save)
			got := open(t, dir, nil)
			requireSame(t, want.Tensors, got.Tensors)
			require.Equal(t, LayoutHuggingFace, got.Layout)
			require.Equal(t, want.Config, got.Config)
		}
	}
	dir := writeSharded(t, hfFolders[0], 2, ".safetensors", saveST)
	index := open(t, filepath.Join(dir, "model.safetensors.index.json"), nil)
	requireSame(t, open(t, hfFolders[0], nil).Tensors, index.Tensors)
	tensor, _ := index.Tensors.Get("norm.weight")
	require.NoError(t, index.Close())
	require.Panics(t, func() { tensor.Bytes() })
}

func TestShardedRejects(t *testing.T) {
	dir := writeSharded(t, hfFolders[0], 2, ".safetensors", saveST)
	in := open(t, dir, &Options{KeepLayout: true})
	good := make(map[string]string)
	for _, n := range in.Tensors.Names() {
		for _, k := range []int{0, 1} {
			if c := open(t, filepath.Join(dir, shardName(k, ".safetensors")), &Options{KeepLayout: true}); c.Tensors.Has(n) {
				good[n] = shardName(k, ".safetensors")
			}
		}
	}
	name := in.Tensors.Names()[0]
	for file, want := range map[string]string{
		"../" + shardName(0, ".safetensors"): "is not allowed",
		"/etc/passwd":                        "is not allowed",
		"..":                                 "is not allowed",
		`a\b`:                                "is not allowed",
		"missing.safetensors":                "no such file",
		"model.safetensors.index.json":       "known format", // an index cannot be its own shard
		shardName(1, ".safetensors"):         "the index says",
	} {
		bad := map[string]string{}
		for n, f := range good {
			bad[n] = f
		}
		bad[name] = file
		writeIndex(t, dir, ".safetensors", bad)
		_, err := Open(dir, nil)
		require.ErrorContains(t, err, want, file)
	}
	good["nat.extra"] = shardName(0, ".safetensors")
	writeIndex(t, dir, ".safetensors", good)
	_, err := Open(dir, nil)
	require.ErrorContains(t, err, `"nat.extra" is not in`)
	delete(good, "nat.extra")
	delete(good, name)
	writeIndex(t, dir, ".safetensors", good)
	_, err = Open(dir, nil)
	require.ErrorContains(t, err, "the index says")
	writeIndex(t, dir, ".safetensors", nil)
	_, err = Open(dir, nil)
	require.ErrorContains(t, err, "names 0 tensors")
}
