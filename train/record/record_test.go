package record_test

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train/record"
)

func rows() []record.Row {
	var list []record.Row
	for step := 10; step <= 400; step += 10 {
		list = append(list, record.Row{Kind: "train", Step: step, Epoch: (step - 1) / 100, Loss: record.Number(2.3 / math.Sqrt(float64(step)))})
		if step%100 == 0 {
			list = append(list, record.Row{Kind: "eval", Step: step, Epoch: step/100 - 1, Loss: 0.4, Top1: record.Number(80 + step/100)})
		}
	}
	return list
}

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	none, err := record.ReadLog(path)
	require.NoError(t, err)
	require.Empty(t, none)
	want := append(rows(), record.Row{Kind: "train", Loss: record.Number(math.NaN())}, record.Row{Kind: "train", Loss: record.Number(math.Inf(1))})
	for _, half := range [][]record.Row{want[:20], want[20:]} { // a resumed run appends
		log, err := record.OpenLog(path)
		require.NoError(t, err)
		for _, r := range half {
			require.NoError(t, log.Add(r))
		}
		require.NoError(t, log.Close())
	}
	got, err := record.ReadLog(path)
	require.NoError(t, err)
	require.Len(t, got, len(want))
	require.Equal(t, want[:len(want)-2], got[:len(got)-2])
	require.True(t, math.IsNaN(float64(got[len(got)-2].Loss)))
	require.True(t, math.IsInf(float64(got[len(got)-1].Loss), 1))

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, whole[:len(whole)-9], 0o600))
	got, err = record.ReadLog(path)
	require.NoError(t, err, "a cut last line")
	require.Len(t, got, len(want)-1)
	require.NoError(t, os.WriteFile(path, append([]byte("{\n"), whole...), 0o600))
	_, err = record.ReadLog(path)
	require.ErrorContains(t, err, "metrics.jsonl, line 1")
}

func TestCurve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "curve.png")
	for _, list := range [][]record.Row{rows(), nil, {{Kind: "train", Loss: record.Number(math.NaN())}}} {
		require.NoError(t, record.SaveCurve(path, "a run", list, 100))
		f, err := os.Open(path)
		require.NoError(t, err)
		picture, err := png.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Greater(t, picture.Bounds().Dx(), 900)
		colours := map[any]bool{}
		for x := 0; x < picture.Bounds().Dx(); x += 2 {
			for y := 0; y < picture.Bounds().Dy(); y += 2 {
				colours[picture.At(x, y)] = true
			}
		}
		require.Greater(t, len(colours), 5, "something is drawn")
	}
	require.Error(t, record.SaveCurve(filepath.Join(path, "x.png"), "", nil, 1))
}
