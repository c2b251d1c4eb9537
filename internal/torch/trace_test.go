package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

func TestRecordingOnShapes(t *testing.T) {
	outer := torch.NewScope()
	defer outer.Close()
	weight := outer.Randn([]int64{8, 4}, gotch.Float, torch.CPU)
	bias := outer.Randn([]int64{8}, gotch.Float, torch.CPU)
	x := outer.Randn([]int64{3, 4}, gotch.Float, torch.Meta)
	require.NoError(t, outer.Err())

	rec, err := torch.StartRecording(true)
	require.NoError(t, err)
	defer rec.Stop()
	require.NoError(t, rec.Name(weight, "fc.weight"))
	s := torch.NewScope()
	defer s.Close()
	y := s.Linear(x, weight, bias)
	leave := torch.Module("act")
	z := s.GELU(y)
	leave()
	n := s.LayerNorm(z, []int64{8}, bias, bias, 1e-5) // libtorch's C++ part has no meta kernel for it
	require.NoError(t, s.Err())
	info, err := torch.InfoOf(n)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 8}, info.Shape)
	require.True(t, info.Device.Is(torch.Meta))
	nodes, err := rec.End()
	require.NoError(t, err)

	var top []torch.Node
	for _, n := range nodes {
		if n.Parent < 0 {
			top = append(top, n)
		}
	}
	require.Len(t, top, 3)
	require.Equal(t, "aten::linear", top[0].Op)
	require.Equal(t, "fc.weight", top[0].Inputs[1].(*torch.Value).Name)
	require.Equal(t, []int64{3, 8}, top[0].Outputs[0].(*torch.Value).Shape)
	require.NotZero(t, top[0].Flags&torch.FlagDecomposes)
	require.Equal(t, "act", top[1].Module)
	require.Equal(t, top[0].Outputs[0].(*torch.Value).ID, top[1].Inputs[0].(*torch.Value).ID)
	require.Equal(t, []int64{8}, top[2].Inputs[1])
	require.Equal(t, 1e-5, top[2].Inputs[4])

	info, err = torch.InfoOf(weight)
	require.NoError(t, err)
	require.True(t, info.Device.Is(torch.CPU), "the parameter itself is untouched")
}

// A thread records once at a time, and an abandoned recording leaves nothing behind.
func TestRecordingTwice(t *testing.T) {
	rec, err := torch.StartRecording(true)
	require.NoError(t, err)
	_, err = torch.StartRecording(false)
	require.ErrorContains(t, err, "recording already")
	rec.Stop()
	rec, err = torch.StartRecording(false)
	require.NoError(t, err)
	s := torch.NewScope()
	defer s.Close()
	one := s.Full([]int64{2}, 1, gotch.Float, torch.CPU)
	sum, err := torch.Scalar(s.Sum(one))
	require.NoError(t, err)
	require.Equal(t, 2.0, sum)
	nodes, err := rec.End()
	require.NoError(t, err)
	require.NotEmpty(t, nodes)
}
