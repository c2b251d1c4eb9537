package optim

import (
	"fmt"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// StateTensors visits the state that has a parameter's shape: slot is its name
// in the algorithm ("exp_avg"), parameter the parameter's. The tensors stay the
// optimizer's; writing to them restores a state.
func (o *Optimizer) StateTensors(visit func(slot, parameter string, t *ts.Tensor) error) error {
	for _, g := range o.groups {
		for j, slot := range o.rule.slots() {
			for i, t := range g.slots[j] {
				if err := visit(slot, g.Parameters[i].Name, t); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Slots names the state tensors that each parameter has.
func (o *Optimizer) Slots() []string { return o.rule.slots() }

// Updates is the number of updates done to each owned parameter.
func (o *Optimizer) Updates() map[string]int {
	updates := map[string]int{}
	for _, g := range o.groups {
		for i, n := range g.count {
			updates[g.Parameters[i].Name] = int(n)
		}
	}
	return updates
}

// SetUpdates restores what Updates gave, of other processes too. It fails where a
// parameter is missing.
func (o *Optimizer) SetUpdates(updates map[string]int) error {
	return torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		for _, g := range o.groups {
			for i, p := range g.Parameters {
				n, ok := updates[p.Name]
				if !ok {
					return fmt.Errorf("optim: SetUpdates: nothing for %s", p.Name)
				}
				g.count[i] = float64(n)
				s.Copy(g.steps[i], s.Own(torch.FromSlice([]float32{float32(n)})))
			}
		}
		return s.Err()
	})
}
