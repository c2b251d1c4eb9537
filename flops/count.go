package flops

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/sugarme/gotch/ts"
)

// layer is this project's own kind of module, which returns errors.
type layer interface {
	Apply(x *ts.Tensor, train bool) (*ts.Tensor, error)
}

// Count counts the forward pass of a model on one input, without computing it:
// operators get tensors without data, parameters are only looked at, and how
// long it takes depends on the number of operators alone. The model is a
// gotch ts.ModuleT or ts.Module, or has a method
// Apply(x *ts.Tensor, train bool) (*ts.Tensor, error). Of the input only shape
// and dtype matter; see [Input].
//
// Counts may run at the same time, of one model too. The forward pass must run
// on the goroutine that calls it: operators called from others are not seen.
//
// An operator without handler does not fail the count: it is listed in
// Unsupported. A panic of the model with an error is returned; an operator that
// fails inside one of gotch's Must functions ends the process, as these do.
func Count(model any, input *ts.Tensor, opts ...Option) (*Report, error) {
	o := collect(opts)
	var forward func(*ts.Tensor) (*ts.Tensor, error)
	switch m := model.(type) {
	case layer:
		forward = func(x *ts.Tensor) (*ts.Tensor, error) { return m.Apply(x, o.train) }
	case ts.ModuleT:
		forward = func(x *ts.Tensor) (*ts.Tensor, error) { return m.ForwardT(x, o.train), nil }
	case ts.Module:
		forward = func(x *ts.Tensor) (*ts.Tensor, error) { return m.Forward(x), nil }
	default:
		return nil, fmt.Errorf("flops: Count: model is a %T, want a ts.Module, a ts.ModuleT or a type with Apply", model)
	}
	if o.name == "" {
		o.name = fmt.Sprintf("%T", model)
	}
	return count("Count", o, findVariables(model, o.store), func() error {
		y, err := forward(input)
		if y != nil && y != input {
			y.MustDrop()
		}
		return err
	})
}

// CountFunc counts a function of several inputs. f drops what it makes. Names
// come from [WithVariables] alone.
func CountFunc(f func(inputs ...*ts.Tensor) error, inputs []*ts.Tensor, opts ...Option) (*Report, error) {
	o := collect(opts)
	if o.name == "" {
		o.name = "function"
	}
	return count("CountFunc", o, findVariables(nil, o.store), func() error { return f(inputs...) })
}

// CountFile counts a TorchScript file (torch.jit.save of a traced or scripted
// module), with the names it has inside. Its name is the file's unless given.
func CountFile(file string, inputs []*ts.Tensor, opts ...Option) (*Report, error) {
	o := collect(opts)
	if o.name == "" {
		o.name = filepath.Base(file)
	}
	script, err := torch.LoadScript(file)
	if err != nil {
		return nil, fmt.Errorf("flops: CountFile: %s: %w", file, err)
	}
	defer script.Close()
	return count("CountFile", o, script, func() error { return script.Run(inputs...) })
}

// GetFLOPs is what natten.flops.get_flops gave: the MACs of a forward pass by
// NATTEN 0.17.5's convention, which the field prints as FLOPs.
func GetFLOPs(model any, input *ts.Tensor) (int64, error) {
	r, err := Count(model, input, WithConvention(NATTEN0175))
	if err != nil {
		return 0, err
	}
	return r.MACs, nil
}

func failed(caller, name string, err error) error {
	return fmt.Errorf("flops: %s: %s: %w", caller, name, err)
}

// namer makes parameters known to a recording and describes them.
type namer interface {
	Name(r *torch.Recording) ([]torch.Named, error)
}

func count(caller string, o *options, names namer, run func() error) (*Report, error) {
	a, parameters, err := record(o, names, !o.compute, run)
	if err != nil {
		return nil, failed(caller, o.name, err)
	}
	return a.report(o.name, parameters), nil
}

// record runs and accounts for what ran.
func record(o *options, names namer, shapesOnly bool, run func() error) (*account, []parameter, error) {
	recording, err := torch.StartRecording(shapesOnly)
	if err != nil {
		return nil, nil, err
	}
	defer recording.Stop()
	named, err := names.Name(recording)
	if err != nil {
		return nil, nil, err
	}
	if shapesOnly {
		err = torch.NoGrad(func() error { return guarded(run) })
	} else {
		err = guarded(run)
	}
	if err != nil {
		return nil, nil, err
	}
	nodes, err := recording.End()
	if err != nil {
		return nil, nil, err
	}
	a := newAccount(nodes, o.convention, o.registry.snapshot(), named)
	a.assign()
	parameters := make([]parameter, len(named))
	for i, n := range named {
		parameters[i] = parameter{name: n.Name, elements: n.Elements, buffer: n.Buffer}
	}
	return a, parameters, nil
}

// guarded turns panics with errors, as layers raise them, into errors.
// Programming mistakes keep panicking.
func guarded(run func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			var mistake runtime.Error
			if errors.As(p, &mistake) {
				panic(p)
			}
			err = p
		default:
			panic(p)
		}
	}()
	return run()
}
