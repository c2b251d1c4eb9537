package dist

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/optim"
)

// Owners divides parameters among processes for sharded optimizer state: the
// largest first, each to the process that has least. All processes come to the
// same result.
func Owners(parameters []optim.Parameter, world int) (map[string]int, error) {
	sizes := make(map[string]int64, len(parameters))
	order := make([]string, 0, len(parameters))
	for _, p := range parameters {
		info, err := torch.InfoOf(p.Tensor)
		if err != nil {
			return nil, fmt.Errorf("dist: Owners: %s: %w", p.Name, err)
		}
		sizes[p.Name] = info.Numel()
		order = append(order, p.Name)
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(sizes[b], sizes[a]) })
	owners, load := make(map[string]int, len(order)), make([]int64, world)
	for _, name := range order {
		rank := slices.Index(load, slices.Min(load))
		owners[name] = rank
		load[rank] += sizes[name]
	}
	return owners, nil
}

// Replica keeps this process's copy of a model equal to the others'. It has the
// methods that a training loop calls on its peers.
type Replica struct {
	group   *Group
	reducer *torch.Reducer
	reduces bool           // the backward pass at hand averages gradients
	shards  [][]*ts.Tensor // parameters by owner; nil: all processes update all
}

// NewReplica gives every process rank 0's values of tensors, and from then on
// averages the gradients of parameters in buckets of bucketBytes. owners are
// those of Owners where optimizer state is sharded, else nil.
func NewReplica(g *Group, tensors []*ts.Tensor, parameters []optim.Parameter, bucketBytes int64, owners map[string]int) (*Replica, error) {
	if err := g.Broadcast(0, tensors...); err != nil {
		return nil, err
	}
	r := &Replica{group: g}
	if err := g.watched(func() (err error) {
		r.reducer, err = torch.NewReducer(g.group, optim.Tensors(parameters), bucketBytes)
		return err
	}); err != nil {
		return nil, err
	}
	if owners != nil {
		r.shards = make([][]*ts.Tensor, g.World)
		for _, p := range parameters {
			rank := owners[p.Name]
			r.shards[rank] = append(r.shards[rank], p.Tensor)
		}
	}
	return r, nil
}

// Forward is called before the forward pass of a batch; with reduce its backward
// pass averages the gradients, those of earlier batches included.
func (r *Replica) Forward(reduce bool) error {
	r.reduces = reduce
	if !reduce {
		return nil
	}
	if r.group.failed != nil {
		return r.group.failed
	}
	r.group.begin()
	if err := r.reducer.Prepare(); err != nil {
		return r.group.finish(err)
	}
	return nil
}

// Backward is called after the backward pass, with the error of that, if any.
func (r *Replica) Backward(err error) error {
	if !r.reduces {
		return err
	}
	if err == nil {
		err = r.reducer.Check()
	}
	if err == nil {
		err = r.group.group.Wait()
	}
	return r.group.finish(err)
}

// Sum adds up numbers over the processes, in place.
func (r *Replica) Sum(values []float64) error { return r.group.Sum(values) }

// Updated is called after the optimizer's step: each owner hands out what it has
// updated.
func (r *Replica) Updated() error {
	for rank, tensors := range r.shards {
		if err := r.group.Broadcast(rank, tensors...); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the parameters; before the group is closed.
func (r *Replica) Close() error { return r.reducer.Close() }
