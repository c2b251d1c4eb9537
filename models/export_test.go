package models_test

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
)

// exportLimitEnv tells the test binary to act as the process that runs out of space.
const exportLimitEnv = "MODELS_TEST_EXPORT_LIMITED"

// TestExportOnAFullDisk: an error, and not the end of the process, which
// libtorch's own writer of files brings about. A limit on the size of files stands
// for the disk.
func TestExportOnAFullDisk(t *testing.T) {
	if path := os.Getenv(exportLimitEnv); path != "" {
		m := build(t, small)
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 20_000, Max: 20_000}
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		err := m.Export(path, models.Info{}, 96, 96)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "File too large")
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "m.pt")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	child := exec.Command(os.Args[0], "-test.run=^TestExportOnAFullDisk$", "-test.count=1")
	child.Env = append(os.Environ(), exportLimitEnv+"="+path)
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(text))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing half-written is left")
	require.ErrorContains(t, build(t, small).Export(dir, models.Info{}, 96, 96), "is a directory")
}

// A script computes what the model computes, for other batches and sizes too,
// and holds the model's state dict.
func TestExportedScripts(t *testing.T) {
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			m := g.load(t, g.weights[0])
			s := torch.NewScope()
			defer s.Close()
			size := max(m.Config.ImageSize, 64)
			if m.Config.ImageSize == 224 {
				size = 112
			}
			path := filepath.Join(t.TempDir(), name+".pt")
			require.NoError(t, m.Export(path, models.Info{Classes: nil}, size, size))
			script, err := ts.ModuleLoad(path)
			require.NoError(t, err)

			for _, shape := range [][]int64{{1, 3, size, size}, {3, 3, size, size}} {
				images := s.Randn(shape, gotch.Float, torch.CPU)
				want := s.Own(m.Apply(images, false))
				got := s.Own(script.ForwardTs([]*ts.Tensor{images}))
				require.NoError(t, s.Err())
				require.Less(t, distance(t, want, got), 1e-5)
			}
			c, err := checkpoint.Open(path, nil)
			require.NoError(t, err)
			defer c.Close()
			require.True(t, stateOf(t, m).Equal(c.Tensors), "the script's tensors are the model's")
		})
	}
}

func TestExportedScriptsTakeOtherSizes(t *testing.T) {
	for name, c := range map[string]models.Config{
		"conv":  small,
		"merge": {Family: models.DiNATs, EmbedDim: 16, Depths: []int64{1, 1}, NumHeads: []int64{1, 2}, KernelSize: 3, NumClasses: 5},
	} {
		t.Run(name, func(t *testing.T) {
			m := build(t, c)
			path := filepath.Join(t.TempDir(), "m.pt")
			classes := []string{"a", "b", "c", "d", "e"}
			require.NoError(t, m.Export(path, models.Info{Classes: classes}, 96, 96))
			script, err := ts.ModuleLoad(path)
			require.NoError(t, err)
			s := torch.NewScope()
			defer s.Close()
			images := s.Randn([]int64{2, 3, 128, 80}, gotch.Float, torch.CPU)
			want := s.Own(m.Apply(images, false))
			got := s.Own(script.ForwardTs([]*ts.Tensor{images}))
			require.NoError(t, s.Err())
			require.Less(t, distance(t, want, got), 1e-5)

			// The script is a checkpoint that says its model.
			again, info, report, err := models.Open(path, gotchnn.NewVarStore(gotch.CPU).Root(), nil)
			require.NoError(t, err)
			require.Empty(t, report.Missing)
			require.Equal(t, classes, info.Classes)
			require.Equal(t, m.Config.Dilations, again.Config.Dilations)
			require.Equal(t, 0.0, distance(t, want, s.Own(again.Apply(images, false))))
		})
	}
}

func TestFailedExportsLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	m, err := models.New("vitrpb_small", gotchnn.NewVarStore(gotch.CPU).Root(), models.With(reduced))
	require.NoError(t, err)
	err = m.Export(filepath.Join(dir, "x.pt"), models.Info{}, 32, 32) // not the bias's size
	require.ErrorContains(t, err, "GlobalAttention layers.0.attn: input has shape")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, append(left, hidden...))
	require.NoError(t, m.Export(filepath.Join(dir, "x.pt"), models.Info{}, 0, 0), "tracing is off again")
}
