package record_test

import (
	"encoding/csv"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

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

// TestEventsAgainstTensorBoard compares with the bytes that TensorBoard's own
// writer makes of the same events (testdata/make_events.py).
func TestEventsAgainstTensorBoard(t *testing.T) {
	dir := t.TempDir()
	begin := time.UnixMilli(1700000000250)
	e, err := record.OpenEvents(dir, 300, begin)
	require.NoError(t, err)
	require.NoError(t, e.Add(begin.Add(1250*time.Millisecond), 301, record.Scalar{Tag: "train/loss", Value: 2.302585}, record.Scalar{Tag: "train/lr", Value: 1e-3}))
	require.NoError(t, e.Close())
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.1700000000.*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	got, err := os.ReadFile(files[0])
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join("testdata", "events.golden"))
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = record.OpenEvents(filepath.Join(dir, "absent"), 0, begin)
	require.ErrorContains(t, err, "record: ")
}

// TestBook: what was recorded before a run went on stays in every form.
func TestBook(t *testing.T) {
	dir := t.TempDir()
	want := append(rows(), record.Row{Kind: "eval", Time: "2026-01-02T03:04:05Z", Step: 410, EMA: true, Loss: record.Number(math.NaN()), ResidentBytes: 5})
	for _, half := range [][]record.Row{want[:20], want[20:]} {
		book, err := record.OpenBook(dir)
		require.NoError(t, err)
		for _, r := range half {
			require.NoError(t, book.Add(r))
		}
		require.NoError(t, book.Close())
	}
	got, err := record.ReadLog(filepath.Join(dir, record.JSONFile))
	require.NoError(t, err)
	require.Len(t, got, len(want))
	f, err := os.Open(filepath.Join(dir, record.CSVFile))
	require.NoError(t, err)
	defer f.Close()
	table, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, len(want)+1)
	column := map[string]int{}
	for i, name := range table[0] {
		column[name] = i
	}
	for i, r := range want {
		line := table[i+1]
		require.Equal(t, []string{r.Kind, fmt.Sprint(r.Step)}, []string{line[column["kind"]], line[column["step"]]})
		loss, err := strconv.ParseFloat(line[column["loss"]], 64)
		require.NoError(t, err)
		require.True(t, loss == float64(r.Loss) || math.IsNaN(loss))
		require.Empty(t, line[column["grad_norm"]], "what does not apply is empty")
	}
	last := table[len(want)]
	require.Equal(t, []string{"NaN", "true", "5"}, []string{last[column["loss"]], last[column["ema"]], last[column["resident_bytes"]]})
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	require.NoError(t, err)
	size := int64(0)
	for _, file := range files { // one, where both halves began in one second
		info, err := os.Stat(file)
		require.NoError(t, err)
		size += info.Size()
	}
	require.Greater(t, size, int64(50*len(want)))
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
