package optim

import (
	"fmt"
	"slices"
	"sort"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// Options of New. Zero values are the defaults of the published recipes.
type Options struct {
	Beta1    float64 // AdamW, LAMB: decay of the gradient's average; 0 means 0.9
	Beta2    float64 // AdamW, LAMB: decay of the squared gradient's average; 0 means 0.999
	Eps      float64 // AdamW, LAMB: added to the denominator; 0 means 1e-8 (LAMB: 1e-6)
	Momentum float64 // SGD; 0 is plain gradient descent
	Nesterov bool    // SGD

	// Owned chooses the parameters that this optimizer keeps state for and
	// updates; the others are updated by other processes (ZeRO, arXiv 1910.02054,
	// stage 1). nil: all.
	Owned func(name string) bool
}

// Optimizer updates parameters in place from their gradients.
//
// A parameter without gradient is left as it is, and its state too.
type Optimizer struct {
	rule   rule
	groups []*group
	all    []*ts.Tensor // every parameter, in group order
	mine   []*ts.Tensor // those that are updated here, in group order
}

// rule is one algorithm: which state it keeps and how it moves one group.
type rule interface {
	name() string
	slots() []string // names of the state tensors that have their parameter's shape
	update(s *torch.Scope, b batch, lr float64)
}

// group is a Group with its state, all lists in the parameters' order.
type group struct {
	Group
	tensors []*ts.Tensor
	slots   [][]*ts.Tensor
	steps   []*ts.Tensor // float32 scalars: updates done to each parameter
	count   []float64    // the same numbers
}

// batch is what a rule works on in one call: the parameters that have gradients.
type batch struct {
	tensors     []*ts.Tensor
	slots       [][]*ts.Tensor
	steps       []*ts.Tensor
	count       float64 // updates done, this one included; equal for the whole batch
	weightDecay float64
}

// Names are the optimizers that New knows.
func Names() []string {
	names := make([]string, 0, len(rules))
	for name := range rules {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

var rules = map[string]func(Options) rule{
	"adamw":    func(o Options) rule { return newAdamW(o) },
	"lamb":     func(o Options) rule { return newLAMB(o) },
	"momentum": func(o Options) rule { return sgd{momentum: o.Momentum} },
	"sgd":      func(o Options) rule { return sgd{momentum: o.Momentum, nesterov: true} },
}

// New makes an optimizer by timm's name: "adamw", "lamb", "sgd" (with Nesterov
// momentum) or "momentum" (without). Its state starts at zero, in each
// parameter's dtype and on its device. Close it to give the state back.
func New(name string, groups []Group, o Options) (*Optimizer, error) {
	make, ok := rules[name]
	if !ok {
		return nil, fmt.Errorf("optim: New: no optimizer %q, have %v", name, Names())
	}
	opt := &Optimizer{rule: make(o)}
	for _, g := range groups {
		if g.LRScale == 0 {
			g.LRScale = 1
		}
		opt.all = append(opt.all, Tensors(g.Parameters)...)
		if o.Owned != nil {
			g.Parameters = slices.DeleteFunc(slices.Clone(g.Parameters), func(p Parameter) bool { return !o.Owned(p.Name) })
		}
		state, err := newGroup(g, len(opt.rule.slots()))
		if err != nil {
			opt.Close()
			return nil, fmt.Errorf("optim: New: %w", err)
		}
		opt.groups = append(opt.groups, state)
		opt.mine = append(opt.mine, state.tensors...)
	}
	return opt, nil
}

var zerosLike = torch.NewOp("aten::zeros_like")

func newGroup(g Group, slots int) (*group, error) {
	state := &group{Group: g, tensors: Tensors(g.Parameters), slots: make([][]*ts.Tensor, slots)}
	state.count = make([]float64, len(g.Parameters))
	err := torch.NoGrad(func() error {
		for _, p := range g.Parameters {
			info, err := torch.InfoOf(p.Tensor)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			for i := range state.slots {
				result, err := zerosLike.Call(p.Tensor)
				if err != nil {
					return fmt.Errorf("%s: %w", p.Name, err)
				}
				state.slots[i] = append(state.slots[i], result[0].(*ts.Tensor))
			}
			s := torch.NewScope()
			step, err := s.Return(s.Zeros([]int64{}, float32Type, info.Device))
			s.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			state.steps = append(state.steps, step)
		}
		return nil
	})
	if err != nil {
		state.close()
		return nil, err
	}
	return state, nil
}

func (g *group) close() {
	for _, list := range append(g.slots, g.steps) {
		for _, t := range list {
			t.MustDrop()
		}
	}
	g.slots, g.steps = nil, nil
}

// Name is the algorithm's name.
func (o *Optimizer) Name() string { return o.rule.name() }

// Parameters are all parameters, group by group.
func (o *Optimizer) Parameters() []*ts.Tensor { return o.all }

// Close drops the state.
func (o *Optimizer) Close() {
	for _, g := range o.groups {
		g.close()
	}
	o.groups, o.all, o.mine = nil, nil, nil
}

// Step updates every owned parameter that has a gradient, at the learning rate lr
// times its group's scale. Gradients stay as they are.
func (o *Optimizer) Step(lr float64) error {
	defined, err := torch.HasGradients(o.mine)
	if err != nil {
		return fmt.Errorf("optim: %s: %w", o.Name(), err)
	}
	return torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		for _, g := range o.groups {
			n := len(g.tensors)
			for _, b := range g.batches(defined[:n]) {
				o.rule.update(s, b, lr*g.LRScale)
			}
			defined = defined[n:]
		}
		if err := s.Err(); err != nil {
			return fmt.Errorf("optim: %s: %w", o.Name(), err)
		}
		return nil
	})
}

// batches selects the parameters that have gradients and counts their update.
// All together are one batch while all have had equally many updates.
func (g *group) batches(defined []bool) []batch {
	byCount := map[float64]*batch{}
	var order []*batch
	whole := true
	for i := range g.tensors {
		whole = whole && defined[i] && g.count[i] == g.count[0]
	}
	if whole && len(g.tensors) > 0 {
		for i := range g.count {
			g.count[i]++
		}
		return []batch{{g.tensors, g.slots, g.steps, g.count[0], g.WeightDecay}}
	}
	for i, t := range g.tensors {
		if !defined[i] {
			continue
		}
		g.count[i]++
		b := byCount[g.count[i]]
		if b == nil {
			b = &batch{slots: make([][]*ts.Tensor, len(g.slots)), count: g.count[i], weightDecay: g.WeightDecay}
			byCount[g.count[i]] = b
			order = append(order, b)
		}
		b.tensors = append(b.tensors, t)
		b.steps = append(b.steps, g.steps[i])
		for j := range g.slots {
			b.slots[j] = append(b.slots[j], g.slots[j][i])
		}
	}
	list := make([]batch, len(order))
	for i, b := range order {
		list[i] = *b
	}
	return list
}
