package checkpoint

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestResizeCubicTorch compares with torch.nn.functional.interpolate in float64.
func TestResizeCubicTorch(t *testing.T) {
	c := open(t, "testdata/bicubic.safetensors", nil)
	for i := range 5 {
		in, _ := c.Tensors.Get(fmt.Sprint(i, ".in"))
		want, _ := c.Tensors.Get(fmt.Sprint(i, ".out"))
		got, err := ResizeCubic(in, want.Shape()[1:]...)
		require.NoError(t, err)
		require.Equal(t, want.Shape(), got.Shape())
		require.InDeltaSlice(t, must(want.Float64s()), must(got.Float64s()), 1e-13)
		single, err := ResizeCubic(must(in.ToFloat(F32)), want.Shape()[1:]...)
		require.NoError(t, err)
		require.Equal(t, F32, single.DType())
		require.InDeltaSlice(t, must(want.Float64s()), must(single.Float64s()), 1e-6)
	}
}

func TestResizeCubicProperties(t *testing.T) {
	in := must(FromFloat64s([]float64{1, 2, 4, 8, 16, 32}, 2, 3))
	same := must(ResizeCubic(in, 3))
	require.True(t, in.Equal(same))
	constant := must(ResizeCubic(must(FromFloat64s([]float64{3, 3, 3, 3}, 1, 2, 2)), 5, 7))
	for _, v := range must(constant.Float64s()) {
		require.InDelta(t, 3, v, 1e-14)
	}
	_, err := ResizeCubic(in, 3, 3)
	require.ErrorContains(t, err, "2 sizes for F64[2,3]")
	_, err = ResizeCubic(in, 0)
	require.ErrorContains(t, err, "empty")
	_, err = ResizeCubic(must(FromInt64s([]int64{1}, 1, 1)), 3)
	require.ErrorContains(t, err, "does not hold floats")
	_, err = ResizeCubic(in, 1<<62)
	require.ErrorContains(t, err, "larger than any memory")
}

// specs lists what a model of the same shapes as s would want.
func specs(s *StateDict) (out []Spec) {
	for n, t := range s.All() {
		out = append(out, Spec{n, t.Shape()})
	}
	return out
}

func TestMatchExact(t *testing.T) {
	c := open(t, "testdata/models/nat_ls_k7/weights.pth", nil)
	for _, strict := range []bool{false, true} {
		p, err := Match(specs(c.Tensors), c.Tensors, &MatchOptions{Strict: strict})
		require.NoError(t, err)
		require.True(t, p.Report.Complete())
		require.Equal(t, "loaded 76 of 76 tensors", p.Report.String())
		require.True(t, c.Tensors.Equal(p.Tensors()))
	}
}

func TestMatchDifferences(t *testing.T) {
	c := open(t, "testdata/models/nat_ls_k7/weights.pth", nil)
	want := specs(c.Tensors)
	for i, w := range want {
		switch w.Name {
		case "head.weight":
			want[i].Shape[0] = 5
		case "head.bias":
			want[i].Shape[0] = 5
		case "levels.0.blocks.0.attn.rpb":
			want[i].Shape = []int64{2, 21, 21}
		case "norm.bias":
			want[i].Name = "norm.other"
		}
	}
	p, err := Match(want, c.Tensors, nil)
	require.NoError(t, err)
	require.Equal(t, "loaded 73 of 76 tensors; head re-initialised (10 -> 5 classes); "+
		"1 rpb resized bicubically (13x13 -> 21x21); 1 missing: norm.other; 1 unexpected: norm.bias", p.Report.String())
	require.False(t, p.Report.Complete())
	require.Contains(t, p.Report.Listing(), "  resized        levels.0.blocks.0.attn.rpb [2,13,13] -> [2,21,21]\n")
	require.Contains(t, p.Report.Listing(), "  missing        norm.other\n")
	require.False(t, p.Tensors().Has("head.weight"))
	resized, _ := p.Tensors().Get("levels.0.blocks.0.attn.rpb")
	old, _ := c.Tensors.Get("levels.0.blocks.0.attn.rpb")
	require.Equal(t, []int64{2, 21, 21}, resized.Shape())
	require.True(t, must(ResizeCubic(old, 21, 21)).Equal(resized))
	for name, tensor := range p.All() {
		require.Len(t, tensor.Bytes(), int(tensor.NumBytes()), name)
	}

	_, err = Match(want, c.Tensors, &MatchOptions{Strict: true})
	require.ErrorContains(t, err, `"head.weight": the file has shape [10,64], the model [5,64]`)
	require.ErrorContains(t, err, `"norm.other" is missing in the file`)
}

func TestMatchNewHead(t *testing.T) {
	c := open(t, "testdata/models/nat_ls_k7/weights.pth", nil)
	p, err := Match(specs(c.Tensors), c.Tensors, &MatchOptions{NewHead: true})
	require.NoError(t, err)
	require.Equal(t, "loaded 74 of 76 tensors; head re-initialised", p.Report.String())
}

func TestMatchErrors(t *testing.T) {
	have := NewStateDict()
	have.Set("a.weight", must(FromFloat32s([]float32{1, 2}, 2)))
	_, err := Match([]Spec{{"a.weight", []int64{3}}}, have, nil)
	require.EqualError(t, err, `checkpoint: the file does not fit the model: "a.weight": the file has shape [2], the model [3]`)
	_, err = Match([]Spec{{"b", []int64{3}}}, have, nil)
	require.ErrorContains(t, err, "none of the file's tensors (a.weight) is among the model's 1")
	_, err = Match([]Spec{{"a.weight", []int64{2}}, {"a.weight", []int64{2}}}, have, nil)
	require.ErrorContains(t, err, "two tensors")

	// Heads of another width, or rpb of other heads, are another model.
	have.Set("head.weight", must(FromFloat32s([]float32{1, 2}, 1, 2)))
	_, err = Match([]Spec{{"a.weight", []int64{2}}, {"head.weight", []int64{4, 3}}}, have, nil)
	require.ErrorContains(t, err, `"head.weight"`)
	have.Set("x.rpb", must(FromFloat32s([]float32{1, 2}, 2, 1, 1)))
	_, err = Match([]Spec{{"a.weight", []int64{2}}, {"x.rpb", []int64{4, 3, 3}}}, have, nil)
	require.ErrorContains(t, err, `"x.rpb"`)
}

func TestMatchRecomputesIndexTables(t *testing.T) {
	have := NewStateDict()
	have.Set("a", must(FromFloat32s([]float32{1}, 1)))
	have.Set("attn.relative_position_index", must(FromInt64s([]int64{0}, 1, 1)))
	p, err := Match([]Spec{{"a", []int64{1}}, {"attn.relative_position_index", []int64{4, 4}}}, have, nil)
	require.NoError(t, err)
	require.Equal(t, "loaded 1 of 2 tensors; 1 index tables recomputed", p.Report.String())
}
