package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/state"
)

func TestRoundTrip(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	x := s.Own(torch.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 2, 3))
	y := s.Own(torch.FromSlice(make([]float32, 6), 2, 3))
	z := s.Own(torch.FromSlice(make([]float32, 6), 3, 2))
	require.NoError(t, s.Err())
	snap := state.New(7)
	part := snap.Section("model")
	require.NoError(t, part.PutTensor("fc.weight", x))
	require.NoError(t, part.PutBytes("bytes", []byte{3, 1, 4}))
	require.NoError(t, part.PutValue(map[string]int{"n": 3}))
	folder := state.Folder(filepath.Join(t.TempDir(), "c"))
	require.NoError(t, folder.Save(snap, 2))

	back, err := folder.Latest(nil)
	require.NoError(t, err)
	defer back.Close()
	require.Equal(t, 7, back.Step)
	require.True(t, back.Has("model"))
	require.False(t, back.Has("ema"))
	part = back.Section("model")
	require.NoError(t, part.GetTensor("fc.weight", y))
	got, err := torch.Slice[float32](y)
	require.NoError(t, err)
	require.Equal(t, []float32{1, 2, 3, 4, 5, 6}, got)
	bytes, err := part.Bytes("bytes")
	require.NoError(t, err)
	require.Equal(t, []byte{3, 1, 4}, bytes)
	var v map[string]int
	require.NoError(t, part.Value(&v))
	require.Equal(t, map[string]int{"n": 3}, v)

	require.ErrorContains(t, part.GetTensor("fc.bias", y), "state: model: fc.bias: the checkpoint has no such tensor")
	require.ErrorContains(t, part.GetTensor("fc.weight", z), "the checkpoint has F32 [2 3], the run F32 [3 2]")
	_, err = part.Bytes("fc.weight")
	require.ErrorContains(t, err, "no such bytes")
	require.ErrorContains(t, back.Section("ema").Value(&v), "state: ema: value: the checkpoint has none")
}

// TestKeepsTheNewest: so many as asked for, and none of a course that was left.
func TestKeepsTheNewest(t *testing.T) {
	folder := state.Folder(filepath.Join(t.TempDir(), "c"))
	steps := func() []int {
		list, err := folder.Steps()
		require.NoError(t, err)
		return list
	}
	require.Empty(t, steps())
	_, err := folder.Latest(nil)
	require.ErrorIs(t, err, state.ErrNone)
	for _, step := range []int{1, 5, 20, 100} {
		require.NoError(t, folder.Save(state.New(step), 2))
	}
	require.Equal(t, []int{20, 100}, steps())
	require.NoError(t, folder.Save(state.New(30), 2))
	require.Equal(t, []int{20, 30}, steps())

	for _, name := range []string{"checkpoint-x.safetensors", "checkpoint-31.safetensors", "notes", ".checkpoint-0000000099.safetensors.tmp-12"} {
		require.NoError(t, os.WriteFile(filepath.Join(string(folder), name), nil, 0o600))
	}
	require.Equal(t, []int{20, 30}, steps())
	require.NoError(t, folder.RemoveStale())
	left, err := os.ReadDir(string(folder))
	require.NoError(t, err)
	require.Len(t, left, 5, "only the half-written file is gone")
}

// ExampleFolder passes over a damaged checkpoint.
func ExampleFolder() {
	dir, err := os.MkdirTemp("", "state")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	folder := state.Folder(filepath.Join(dir, "checkpoints"))
	for step := 1; step <= 3; step++ {
		if err := folder.Save(state.New(step), 2); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := os.WriteFile(folder.Path(3), []byte("damaged"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	s, err := folder.Latest(func(path string, err error) { fmt.Println("passed over", filepath.Base(path)) })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println("step", s.Step)
	// Output:
	// passed over checkpoint-0000000003.safetensors
	// step 2
}
