package verify_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/verify"
)

const golden = "testdata/golden"

// exact are the dtypes in which references are compared as they are.
var exact = verify.Options{DTypes: []gotch.DType{gotch.Double, gotch.Float}, Devices: []gotch.Device{gotch.CPU}}

// Every operator and layer file, in every dtype, and the tables; in float32 and
// float64 within the limits of package verify's documentation.
func TestReferences(t *testing.T) {
	var told []string
	report, err := verify.Run(context.Background(), golden, verify.Options{
		Devices:  []gotch.Device{gotch.CPU},
		Progress: func(done, total int, name string) { told = append(told, name) },
	})
	require.NoError(t, err)
	require.NoError(t, report.Err())
	require.Empty(t, report.Skipped)
	require.Len(t, told, len(report.Cases))

	names := map[string]bool{}
	for _, c := range report.Cases {
		require.False(t, names[c.Name], c.Name)
		names[c.Name] = true
		switch {
		case strings.HasSuffix(c.Name, "_f64 cpu float64"):
			require.LessOrEqual(t, c.MaxRel, 1e-10, c.Name)
		case strings.HasSuffix(c.Name, " cpu float64"):
			require.LessOrEqual(t, c.MaxRel, 2e-7, c.Name)
		case strings.HasSuffix(c.Name, " cpu float32"):
			require.LessOrEqual(t, c.MaxRel, 1e-5, c.Name)
		}
	}
	files := 0
	for _, part := range []string{"ops", "modules"} {
		matches, err := filepath.Glob(filepath.Join(golden, part, "*.safetensors"))
		require.NoError(t, err)
		for _, file := range matches {
			for _, dtype := range []string{"float64", "float32", "bfloat16", "float16"} {
				require.True(t, names[part+"/"+strings.TrimSuffix(filepath.Base(file), ".safetensors")+" cpu "+dtype], "%s %s", file, dtype)
			}
			files++
		}
	}
	require.Equal(t, 39+18, files)
	require.True(t, names["ops/windows cpu"])
	require.True(t, names["ops/rejected: rpb with causal"])
}

// The copy of the references under testdata is complete and unchanged.
func TestCopyIsWhole(t *testing.T) {
	sums, err := os.ReadFile("sums.txt")
	require.NoError(t, err)
	counted := map[string]int{}
	for line := range strings.Lines(string(sums)) {
		sum, name, found := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, found)
		part, _, _ := strings.Cut(name, "/")
		counted[part]++
		if part == "ops" || part == "modules" {
			data, err := os.ReadFile(filepath.Join(golden, name))
			require.NoError(t, err)
			digest := sha256.Sum256(data)
			require.Equal(t, sum, hex.EncodeToString(digest[:]), name)
		}
	}
	require.Equal(t, 39, counted["ops"])
	require.Equal(t, 18, counted["modules"])
}

func TestReportAsJSON(t *testing.T) {
	report := verify.Report{Cases: []verify.Case{{Name: "a", OK: true, MaxAbs: 1e-7, MaxRel: 2e-7}}}
	text, err := json.Marshal(report)
	require.NoError(t, err)
	require.JSONEq(t, `{"cases": [{"name": "a", "ok": true, "max_abs": 1e-7, "max_rel": 2e-7, "share": 0}], "failed": 0}`, string(text))
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := exact
	o.Progress = func(done, _ int, _ string) {
		if done == 3 {
			cancel()
		}
	}
	report, err := verify.Run(ctx, golden, o)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, report.Cases, 4)
}

// A run leaves no tensors behind.
func TestRunFreesWhatItMakes(t *testing.T) {
	dir := selection(t)
	run := func() int {
		report, err := verify.Run(context.Background(), dir, verify.Options{})
		require.NoError(t, err)
		require.NoError(t, report.Err())
		return torch.TensorsAlive()
	}
	require.Equal(t, run(), run())
}
