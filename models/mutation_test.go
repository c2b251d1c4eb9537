package models_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/models"
)

// TestMutatedFolders damages the two files of a HuggingFace folder, 200 times:
// the weights, and the configuration that decides what is built. Each time it
// is an error or a model that computes, within bounded memory. (The formats
// themselves are damaged in package checkpoint's tests.)
func TestMutatedFolders(t *testing.T) {
	const seed, rounds = 7, 200
	r := rand.New(rand.NewPCG(seed, 0))
	source := "../checkpoint/testdata/hf/hf_nat"
	files := map[string][]byte{}
	for _, name := range []string{"config.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		require.NoError(t, err)
		files[name] = data
	}
	size := int64(len(files["config.json"]) + len(files["model.safetensors"]))
	refused, worst := 0, int64(0)
	for i := range rounds {
		dir := filepath.Join(t.TempDir(), "m")
		require.NoError(t, os.Mkdir(dir, 0o755))
		target, what := "config.json", ""
		if i%4 == 3 {
			target = "model.safetensors"
		}
		for name, data := range files {
			data = append([]byte(nil), data...)
			if name == target {
				data, what = damage(r, data, i)
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		}
		runtime.GC()
		procmem.ResetPeak()
		before := procmem.Peak()
		vs := gotchnn.NewVarStore(gotch.CPU)
		m, _, _, err := models.Open(dir, vs.Root(), nil)
		grown := procmem.Peak() - before
		worst = max(worst, grown)
		require.Less(t, grown, 2*size+256<<20, "%s: %s (seed %d)", target, what, seed)
		if err != nil {
			require.Less(t, len(err.Error()), 4000)
			refused++
			continue
		}
		require.Equal(t, len(m.Tensors()), vs.Len())
		vs.Destroy()
	}
	t.Logf("%d of %d damaged folders refused; at most %d MiB taken", refused, rounds, worst>>20)
	require.Greater(t, refused, rounds/4)
	require.Less(t, refused, rounds, "some damage is harmless")
}

// damage changes a file: bits, a cut, or a number made absurd.
func damage(r *rand.Rand, data []byte, i int) ([]byte, string) {
	at := r.IntN(len(data))
	switch i / 4 % 4 {
	case 0:
		data[at] ^= 1 << r.IntN(8)
		return data, fmt.Sprintf("a bit of byte %d flipped", at)
	case 1:
		return data[:at], fmt.Sprintf("cut at %d", at)
	case 2: // the next digit after at becomes a huge number
		for j := at; j < len(data); j++ {
			if data[j] >= '0' && data[j] <= '9' {
				huge := []string{"65536", "4294967295", "9223372036854775807", "-1", "1e308", "0"}[r.IntN(6)]
				return append(append(append([]byte(nil), data[:j]...), huge...), data[j+1:]...), fmt.Sprintf("%s at %d", huge, j)
			}
		}
		return data[:at], fmt.Sprintf("cut at %d", at)
	}
	n := min(1+r.IntN(40), len(data)-at)
	return append(data[:at:at], data[at+n:]...), fmt.Sprintf("%d bytes removed at %d", n, at)
}
