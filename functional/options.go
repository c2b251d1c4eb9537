package functional

import (
	"fmt"

	"github.com/sugarme/gotch/ts"
)

// Layout tells where the heads stand among a tensor's dimensions.
type Layout int

const (
	// HeadsLast is [batch, *spatial, heads, head_dim], the layout that a qkv
	// projection gives without moving data. The default.
	HeadsLast Layout = iota
	// HeadsFirst is [batch, heads, *spatial, head_dim].
	HeadsFirst
)

// String names the layout.
func (l Layout) String() string {
	if l == HeadsFirst {
		return "heads_first"
	}
	return "heads_last"
}

// Options are the arguments of neighborhood attention besides its tensors. A
// list has one entry per spatial axis; a list of one entry holds for every
// axis. Only KernelSize has no default.
type Options struct {
	// KernelSize is the number of keys per axis: at least 1, and at most the
	// axis's length divided by its dilation.
	KernelSize []int64
	// Dilation is the distance of neighbouring keys in tokens. nil: 1.
	Dilation []int64
	// IsCausal restricts an axis to keys at or before the query. nil: false.
	IsCausal []bool
	// Stride is the number of consecutive queries (of one dilation group) that
	// share the window of their middle one, 1 to KernelSize. nil: 1.
	Stride []int64
	// RPB is the relative positional bias [heads, 2*KernelSize-1 per axis], in
	// the dtype of q or in float32; nil for none. Not with IsCausal.
	RPB *ts.Tensor
	// Scale multiplies q·k, not the bias. 0 means head_dim^-1/2 for the fused
	// functions and 1 for QK, whose callers scale q themselves.
	Scale float64
	// ExtraK and ExtraV are keys and values that every query attends to besides
	// its neighborhood, in the same softmax and without bias: [batch, count,
	// heads, head_dim] (HeadsFirst: [batch, heads, count, head_dim]) with the
	// heads of k. Both or none; for the fused functions.
	ExtraK, ExtraV *ts.Tensor
	// DropoutP is the probability with which an attention weight is dropped, in
	// [0, 1); the fused functions then keep the weights in memory. 0: none.
	DropoutP float64
	// Seed makes the dropout mask reproducible. nil: libtorch's generator.
	Seed *int64
	// Backend forces a class of CUDA kernels in the forward pass, as natten info
	// --why lists them ("tile", "naive" and so on), and an error says why where it
	// cannot run the call. "" or "auto": NATTEN_BACKEND, or where that is not set
	// the fastest that can. On the CPU there is nothing to choose.
	Backend string
	// Layout of q, k, v, the attention weights and the output.
	Layout Layout
}

// K is shorthand for the most common options: one kernel_size for all axes.
func K(kernelSize int64) Options { return Options{KernelSize: []int64{kernelSize}} }

// arguments are Options with one entry per axis.
type arguments struct {
	kernelSize, dilation, stride []int64
	isCausal                     []bool
}

func (o *Options) arguments(rank int) (arguments, error) {
	var a arguments
	var err error
	if len(o.KernelSize) == 0 {
		return a, fmt.Errorf("KernelSize is empty, want 1 or %d entries", rank)
	}
	if a.kernelSize, err = perAxis("KernelSize", o.KernelSize, rank, 1); err != nil {
		return a, err
	}
	if a.dilation, err = perAxis("Dilation", o.Dilation, rank, 1); err != nil {
		return a, err
	}
	if a.stride, err = perAxis("Stride", o.Stride, rank, 1); err != nil {
		return a, err
	}
	a.isCausal, err = perAxis("IsCausal", o.IsCausal, rank, false)
	return a, err
}

// without refuses options that a function has no use for.
func (o *Options) without(names ...string) error {
	given := map[string]bool{
		"ExtraK": o.ExtraK != nil, "ExtraV": o.ExtraV != nil, "DropoutP": o.DropoutP != 0, "Seed": o.Seed != nil,
		"Layout": o.Layout != HeadsLast,
	}
	for _, name := range names {
		if given[name] {
			return fmt.Errorf("%s does not apply", name)
		}
	}
	return nil
}

// perAxis spreads a list of none or one entry over the axes.
func perAxis[T any](name string, list []T, rank int, missing T) ([]T, error) {
	switch len(list) {
	case rank:
		return list, nil
	case 0, 1:
		spread := make([]T, rank)
		for i := range spread {
			spread[i] = missing
			if len(list) == 1 {
				spread[i] = list[0]
			}
		}
		return spread, nil
	}
	return nil, fmt.Errorf("%s has %d entries, want 1 or %d", name, len(list), rank)
}
