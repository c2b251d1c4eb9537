package functional

import (
	"fmt"
	"runtime"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

var (
	opNA = torch.NewOp("natten::na")
	opQK = torch.NewOp("natten::na_qk")
	opAV = torch.NewOp("natten::na_av")
)

// NA1D is fused neighborhood attention over sequences: q, k
// [batch, length, heads, head_dim], v [batch, length, heads, value_dim]
// (heads-last), with k and v of the same or fewer heads (a divisor of q's:
// grouped-query attention). Returns [batch, length, heads, value_dim].
func NA1D(q, k, v *ts.Tensor, o Options) (*ts.Tensor, error) { return na("NA1D", 1, q, k, v, o) }

// NA2D is NA1D over images: [batch, height, width, heads, head_dim].
func NA2D(q, k, v *ts.Tensor, o Options) (*ts.Tensor, error) { return na("NA2D", 2, q, k, v, o) }

// NA3D is NA1D over volumes: [batch, depth, height, width, heads, head_dim].
func NA3D(q, k, v *ts.Tensor, o Options) (*ts.Tensor, error) { return na("NA3D", 3, q, k, v, o) }

// MustNA1D is NA1D that panics with an [*Error].
func MustNA1D(q, k, v *ts.Tensor, o Options) *ts.Tensor { return must(NA1D(q, k, v, o)) }

// MustNA2D is NA2D that panics with an [*Error].
func MustNA2D(q, k, v *ts.Tensor, o Options) *ts.Tensor { return must(NA2D(q, k, v, o)) }

// MustNA3D is NA3D that panics with an [*Error].
func MustNA3D(q, k, v *ts.Tensor, o Options) *ts.Tensor { return must(NA3D(q, k, v, o)) }

// NA1DQK is the first half of the unfused pair: the logits
// Scale q·k + RPB of every query's keys, [batch, length, heads, slots], slots
// in row-major order over the axes' windows. A causal slot without key is
// -inf. Unlike the fused functions it does not scale by default.
func NA1DQK(q, k *ts.Tensor, o Options) (*ts.Tensor, error) { return qk("NA1DQK", 1, q, k, o) }

// NA2DQK is NA1DQK over images.
func NA2DQK(q, k *ts.Tensor, o Options) (*ts.Tensor, error) { return qk("NA2DQK", 2, q, k, o) }

// NA3DQK is NA1DQK over volumes.
func NA3DQK(q, k *ts.Tensor, o Options) (*ts.Tensor, error) { return qk("NA3DQK", 3, q, k, o) }

// MustNA1DQK is NA1DQK that panics with an [*Error].
func MustNA1DQK(q, k *ts.Tensor, o Options) *ts.Tensor { return must(NA1DQK(q, k, o)) }

// MustNA2DQK is NA2DQK that panics with an [*Error].
func MustNA2DQK(q, k *ts.Tensor, o Options) *ts.Tensor { return must(NA2DQK(q, k, o)) }

// MustNA3DQK is NA3DQK that panics with an [*Error].
func MustNA3DQK(q, k *ts.Tensor, o Options) *ts.Tensor { return must(NA3DQK(q, k, o)) }

// NA1DAV is the second half: the sum of each query's values weighted by attn
// [batch, length, heads, slots], usually the softmax of NA1DQK's logits over
// the last dimension. RPB and Scale have no meaning here.
func NA1DAV(attn, v *ts.Tensor, o Options) (*ts.Tensor, error) { return av("NA1DAV", 1, attn, v, o) }

// NA2DAV is NA1DAV over images.
func NA2DAV(attn, v *ts.Tensor, o Options) (*ts.Tensor, error) { return av("NA2DAV", 2, attn, v, o) }

// NA3DAV is NA1DAV over volumes.
func NA3DAV(attn, v *ts.Tensor, o Options) (*ts.Tensor, error) { return av("NA3DAV", 3, attn, v, o) }

// MustNA1DAV is NA1DAV that panics with an [*Error].
func MustNA1DAV(attn, v *ts.Tensor, o Options) *ts.Tensor { return must(NA1DAV(attn, v, o)) }

// MustNA2DAV is NA2DAV that panics with an [*Error].
func MustNA2DAV(attn, v *ts.Tensor, o Options) *ts.Tensor { return must(NA2DAV(attn, v, o)) }

// MustNA3DAV is NA3DAV that panics with an [*Error].
func MustNA3DAV(attn, v *ts.Tensor, o Options) *ts.Tensor { return must(NA3DAV(attn, v, o)) }

// The rank is a parameter from here on.

func na(name string, rank int, q, k, v *ts.Tensor, o Options) (*ts.Tensor, error) {
	inputs := []input{{"q", q}, {"k", k}, {"v", v}}
	return run(name, rank, o, inputs, func(s *torch.Scope, t []*ts.Tensor, a arguments) *ts.Tensor {
		extraK, extraV := o.ExtraK, o.ExtraV
		if o.Layout == HeadsFirst {
			extraK, extraV = extraHeadsLast(s, extraK), extraHeadsLast(s, extraV)
		}
		var seed any
		if o.Seed != nil {
			seed = *o.Seed
		}
		return s.Op(opNA, t[0], t[1], t[2], o.RPB, a.kernelSize, a.dilation, a.isCausal, o.scale(), a.stride,
			extraK, extraV, o.DropoutP, seed)
	})
}

func qk(name string, rank int, q, k *ts.Tensor, o Options) (*ts.Tensor, error) {
	if err := o.without("ExtraK", "ExtraV", "DropoutP", "Seed"); err != nil {
		return nil, wrap(name, err)
	}
	return run(name, rank, o, []input{{"q", q}, {"k", k}}, func(s *torch.Scope, t []*ts.Tensor, a arguments) *ts.Tensor {
		scale := o.scale()
		if scale == nil {
			scale = 1.0
		}
		return s.Op(opQK, t[0], t[1], o.RPB, a.kernelSize, a.dilation, a.isCausal, scale, a.stride)
	})
}

func av(name string, rank int, attn, v *ts.Tensor, o Options) (*ts.Tensor, error) {
	if err := o.without("ExtraK", "ExtraV", "DropoutP", "Seed"); err != nil {
		return nil, wrap(name, err)
	}
	return run(name, rank, o, []input{{"attn", attn}, {"v", v}}, func(s *torch.Scope, t []*ts.Tensor, a arguments) *ts.Tensor {
		return s.Op(opAV, t[0], t[1], a.kernelSize, a.dilation, a.isCausal, a.stride)
	})
}

// input is a tensor argument and its name for errors.
type input struct {
	name   string
	tensor *ts.Tensor
}

// run is runAll for functions of one result.
func run(name string, rank int, o Options, inputs []input,
	call func(*torch.Scope, []*ts.Tensor, arguments) *ts.Tensor) (*ts.Tensor, error) {
	outs, err := runAll(name, rank, o, inputs, func(s *torch.Scope, t []*ts.Tensor, a arguments) []*ts.Tensor {
		return []*ts.Tensor{call(s, t, a)}
	})
	if err != nil {
		return nil, err
	}
	return outs[0], nil
}

// runAll brings the tensors into the operators' heads-last order by views,
// calls, and brings the results back. A second result is a log-sum-exp, whose
// last dimension is the heads.
func runAll(name string, rank int, o Options, inputs []input,
	call func(*torch.Scope, []*ts.Tensor, arguments) []*ts.Tensor) ([]*ts.Tensor, error) {
	a, err := o.arguments(rank)
	if err != nil {
		return nil, wrap(name, err)
	}
	if o.Layout != HeadsLast && o.Layout != HeadsFirst {
		return nil, wrap(name, fmt.Errorf("Layout is %d, want HeadsLast or HeadsFirst", o.Layout))
	}
	s := torch.NewScope()
	defer s.Close()
	tensors := make([]*ts.Tensor, len(inputs))
	for i, in := range inputs {
		// Nil, dropped and undefined tensors have no device to dispatch on.
		info, err := torch.InfoOf(in.tensor)
		if err != nil {
			return nil, wrap(name, fmt.Errorf("%s: %w", in.name, err))
		}
		if o.Layout == HeadsFirst && info.Nested {
			return nil, wrap(name, fmt.Errorf("Layout is %v, want %v: %s is nested", o.Layout, HeadsLast, in.name))
		}
		tensors[i] = in.tensor
		// Tensors of another rank stay as they are, for the operator's own check to name them.
		if o.Layout == HeadsFirst && len(info.Shape) == rank+3 {
			tensors[i] = s.Movedim(in.tensor, 1, -2)
		}
	}
	for _, in := range []input{{"rpb", o.RPB}, {"ExtraK", o.ExtraK}, {"ExtraV", o.ExtraV}} {
		if in.tensor == nil {
			continue
		}
		if _, err := torch.InfoOf(in.tensor); err != nil {
			return nil, wrap(name, fmt.Errorf("%s: %w", in.name, err))
		}
	}
	free, err := force(o.Backend, inputs[0])
	if err != nil {
		return nil, wrap(name, err)
	}
	defer free()
	outs := call(s, tensors, a)
	for i, heads := range []int64{-2, -1}[:len(outs)] {
		if o.Layout == HeadsFirst {
			outs[i] = s.Movedim(outs[i], heads, 1)
		}
	}
	for i := range outs {
		if outs[i], err = s.Return(outs[i]); err != nil {
			return nil, wrap(name, err)
		}
	}
	return outs, nil
}

// force makes the calls on this goroutine run a class of CUDA kernels until free; "" and "auto" choose as always.
func force(backend string, first input) (free func(), err error) {
	if backend == "" || backend == "auto" {
		return func() {}, nil
	}
	info, err := torch.InfoOf(first.tensor)
	if err != nil {
		return nil, err
	}
	if !info.Device.Is(torch.CUDA) {
		return nil, fmt.Errorf("option Backend is %q, a class of CUDA kernels, and %s is on %v", backend, first.name, info.Device)
	}
	runtime.LockOSThread()
	if err := torch.ForceCUDABackend(backend); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return func() {
		_ = torch.ForceCUDABackend("") // fails only where the first did
		runtime.UnlockOSThread()
	}, nil
}

// extraHeadsLast brings [batch, heads, count, dim] into the operator's order.
func extraHeadsLast(s *torch.Scope, t *ts.Tensor) *ts.Tensor {
	if info, err := torch.InfoOf(t); err != nil || len(info.Shape) != 4 {
		return t
	}
	return s.Transpose(t, 1, 2)
}

// scale is the operators' optional argument.
func (o *Options) scale() any {
	if o.Scale == 0 {
		return nil
	}
	return o.Scale
}
