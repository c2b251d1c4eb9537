package train

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/state"
)

// join meets the other processes, where the environment says that there are any.
// Only rank 0 speaks and writes files.
func (r *run) join(ctx context.Context) error {
	env, err := dist.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	if env.Restarts > 0 && r.config.Resume == "" {
		r.config.Resume, r.restarted = ResumeAuto, true // the launcher has started the job again
	}
	if err := r.useDevice(env); err != nil {
		return err
	}
	if env.World == 1 {
		return nil
	}
	seconds := time.Duration(r.config.DistTimeout * float64(time.Second))
	if r.group, err = dist.Join(ctx, env, seconds, r.device.Gotch()); err != nil {
		return err
	}
	if !r.leads() {
		r.options.Progress = nil
		r.options.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r.options.Log.Info("processes", "world_size", env.World, "launcher", env.Launcher, "store", env.Address(), "restarts", env.Restarts)
	return nil
}

// leads tells whether this process writes the files: rank 0, or the only one.
func (r *run) leads() bool { return r.group == nil || r.group.Rank == 0 }

// world is the number of processes, rank this one's place.
func (r *run) world() int {
	if r.group == nil {
		return 1
	}
	return r.group.World
}

func (r *run) rank() int {
	if r.group == nil {
		return 0
	}
	return r.group.Rank
}

// share lets rank 0 make a value and hands it to every process.
func share[T any](r *run, make func() (T, error)) (T, error) {
	if r.group == nil {
		return make()
	}
	var value T
	text, err := r.group.Share(func() (string, error) {
		v, err := make()
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(v)
		return string(text), err
	})
	if err == nil {
		err = json.Unmarshal([]byte(text), &value)
	}
	return value, err
}

// owners divides the optimizer's state among the processes; nil: it is not divided.
func (r *run) owners(parameters []optim.Parameter) (map[string]int, error) {
	if r.group == nil || !r.config.ZeRO {
		return nil, nil
	}
	return dist.Owners(parameters, r.world())
}

// replicate makes all processes start from rank 0's weights and ties their
// gradients together. Each process has random numbers of its own from here on.
func (r *run) replicate(parameters []optim.Parameter) error {
	if r.group == nil {
		return nil
	}
	var tensors []*ts.Tensor
	for _, t := range r.model.Tensors() {
		tensors = append(tensors, t.Tensor)
	}
	var err error
	bucket := int64(r.config.BucketMB * (1 << 20))
	if r.replica, err = dist.NewReplica(r.group, tensors, parameters, bucket, r.shards); err != nil {
		return err
	}
	if r.rank() > 0 {
		return torch.ManualSeed(uint64(r.config.Seed) + uint64(r.rank())<<32)
	}
	return nil
}

// leave parts from the other processes, telling them why where it is for an error.
func (r *run) leave(err error) {
	r.group.Fail(err)
	if r.replica != nil {
		_ = r.replica.Close() // the parameters go with the model
	}
	r.group.Close()
}

// shardedPart is the state of an optimizer of which each process has a part. All
// processes take part in saving it; each reads its own share.
type shardedPart struct {
	optimizerPart
	group      *dist.Group
	owners     map[string]int
	parameters []optim.Parameter
}

func (p shardedPart) SaveState(s *state.Section) error {
	own := map[string]*ts.Tensor{}
	err := p.StateTensors(func(slot, parameter string, t *ts.Tensor) error {
		own[slot+"."+parameter] = t
		return nil
	})
	if err != nil {
		return err
	}
	counts := make([]float64, len(p.parameters))
	updates := p.Updates()
	for i, parameter := range p.parameters {
		counts[i] = float64(updates[parameter.Name])
		for _, slot := range p.Slots() {
			if err := p.saveOne(s, slot+"."+parameter.Name, parameter, own); err != nil {
				return err
			}
		}
	}
	if err := p.group.Sum(counts); err != nil {
		return err
	}
	all := map[string]int{}
	for i, parameter := range p.parameters {
		all[parameter.Name] = int(counts[i])
	}
	return s.PutValue(optimizerValue{p.Name(), all})
}

// saveOne fetches one tensor from its owner.
func (p shardedPart) saveOne(s *state.Section, name string, parameter optim.Parameter, own map[string]*ts.Tensor) error {
	scope := torch.NewScope()
	defer scope.Close()
	t, ok := own[name]
	if !ok {
		t = scope.Op(opZerosLike, parameter.Tensor)
	}
	if scope.Err() != nil {
		return scope.Err()
	}
	return errors.Join(p.group.Broadcast(p.owners[parameter.Name], t), s.PutTensor(name, t))
}

var opZerosLike = torch.NewOp("aten::zeros_like")
