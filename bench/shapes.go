package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Shape is one problem: queries, keys and values of
// [Batch, *Spatial, Heads, Dim], each query attending to KernelSize keys per axis.
type Shape struct {
	Name       string  `json:"name"`
	Batch      int64   `json:"batch"`
	Heads      int64   `json:"heads"`
	Spatial    []int64 `json:"spatial"`
	Dim        int64   `json:"dim"`
	KernelSize []int64 `json:"kernel_size"`
	Dilation   []int64 `json:"dilation"`
	RPB        bool    `json:"rpb"`
}

// String is "B8 H2 56x56 D32 K7x7 d1x1 rpb".
func (s Shape) String() string {
	text := fmt.Sprintf("B%d H%d %s D%d K%s d%s", s.Batch, s.Heads, times(s.Spatial), s.Dim, times(s.KernelSize), times(s.Dilation))
	if s.RPB {
		text += " rpb"
	}
	return text
}

// check names what no operator takes.
func (s Shape) check() error {
	rank := len(s.Spatial)
	if rank < 1 || rank > 3 || len(s.KernelSize) != rank || len(s.Dilation) != rank {
		return fmt.Errorf("shape %q has %d spatial axes, %d kernel sizes and %d dilations, want 1 to 3 of each", s.Name, rank, len(s.KernelSize),
			len(s.Dilation))
	}
	if least := min(s.Batch, s.Heads, s.Dim, slices.Min(s.Spatial), slices.Min(s.KernelSize), slices.Min(s.Dilation)); least < 1 {
		return fmt.Errorf("shape %q: %s has a %d, want at least 1", s.Name, s, least)
	}
	return nil
}

func times(list []int64) string {
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = fmt.Sprint(n)
	}
	return strings.Join(parts, "x")
}

func product(list []int64) int64 {
	n := int64(1)
	for _, v := range list {
		n *= v
	}
	return n
}

// Tokens is the number of queries of one head and sample.
func (s Shape) Tokens() int64 { return product(s.Spatial) }

// ForwardFLOPs counts the useful work of a forward pass, 2 per multiply-add:
// QK^T and PV over each query's neighborhood, 4 B H N D K.
func (s Shape) ForwardFLOPs() float64 {
	return 4 * float64(s.Batch*s.Heads*s.Tokens()*s.Dim) * float64(product(s.KernelSize))
}

// BackwardFLOPs counts a backward pass: QK^T again, dP, dQ, dK and dV.
func (s Shape) BackwardFLOPs() float64 { return 2.5 * s.ForwardFLOPs() }

func square(name string, b, h, side, d, k, dilation int64) Shape {
	return Shape{name, b, h, []int64{side, side}, d, []int64{k, k}, []int64{dilation, dilation}, true}
}

// Shapes are the named sets of problems.
var Shapes = map[string][]Shape{
	// Levels of NAT-Mini and DiNAT-Mini at 224x224, batch 8, and a large kernel.
	"core": {
		square("nat level 1", 8, 2, 56, 32, 7, 1),
		square("dinat level 2", 8, 4, 28, 32, 7, 4),
		square("dinat level 3", 8, 8, 14, 32, 7, 2),
		square("nat level 4", 8, 16, 7, 32, 7, 1),
		square("kernel 13", 1, 4, 56, 64, 13, 1),
	},
	// Every level of every width of NAT and DiNAT, plain and at full dilation.
	"models": {
		square("mini level 1", 4, 2, 56, 32, 7, 1),
		square("mini level 1 dilated", 4, 2, 56, 32, 7, 8),
		square("mini level 2", 4, 4, 28, 32, 7, 1),
		square("mini level 2 dilated", 4, 4, 28, 32, 7, 4),
		square("mini level 3", 4, 8, 14, 32, 7, 1),
		square("mini level 3 dilated", 4, 8, 14, 32, 7, 2),
		square("mini level 4", 4, 16, 7, 32, 7, 1),
		square("base level 1", 2, 4, 56, 32, 7, 1),
		square("base level 2 dilated", 2, 8, 28, 32, 7, 4),
		square("base level 3 dilated", 2, 16, 14, 32, 7, 2),
		square("base level 4", 2, 32, 7, 32, 7, 1),
		square("large 384 11x11 level 1", 1, 6, 96, 32, 11, 8),
		square("large 384 level 2 dilated", 1, 12, 48, 32, 7, 6),
		square("isotropic small", 4, 12, 14, 32, 7, 2),
	},
	// What a kernel costs.
	"kernels": {
		square("kernel 3", 2, 4, 64, 32, 3, 1),
		square("kernel 5", 2, 4, 64, 32, 5, 1),
		square("kernel 9", 2, 4, 64, 32, 9, 1),
		square("kernel 21", 1, 4, 64, 32, 21, 1),
		square("kernel 31 dilated", 1, 4, 64, 32, 31, 2),
		square("kernel 63", 1, 2, 64, 32, 63, 1),
	},
	// Sequences and volumes.
	"ranks": {
		{"sequence", 8, 4, []int64{4096}, 32, []int64{63}, []int64{1}, true},
		{"sequence dilated", 8, 4, []int64{4096}, 32, []int64{63}, []int64{8}, true},
		{"volume", 1, 4, []int64{16, 28, 28}, 32, []int64{3, 7, 7}, []int64{1, 1, 1}, true},
		{"volume dilated", 1, 4, []int64{16, 28, 28}, 32, []int64{3, 7, 7}, []int64{2, 2, 2}, true},
	},
}

// Sets lists the names of Shapes in the order in which "all" runs them.
var Sets = []string{"core", "models", "kernels", "ranks"}

// Select returns the shapes of a set, or of all.
func Select(set string) ([]Shape, error) {
	if set == "all" {
		var all []Shape
		for _, name := range Sets {
			all = append(all, Shapes[name]...)
		}
		return all, nil
	}
	shapes, ok := Shapes[set]
	if !ok {
		return nil, fmt.Errorf("bench: no set of shapes %q; there are %s and all", set, strings.Join(Sets, ", "))
	}
	return shapes, nil
}
