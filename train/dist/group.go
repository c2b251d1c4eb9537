package dist

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
)

// Group is the processes that train together, seen from one of them. Its methods
// are called by all processes in the same order, from one goroutine.
type Group struct {
	Environment
	timeout time.Duration
	store   *torch.Store
	group   *torch.Group
	device  torch.Device
	failed  *LostError // what broke the group
	dead    []int      // ranks that are known to have died
	beat    *heartbeat
	watch   *watch // nil: on the CPU, where operations end by themselves
	shared  int    // strings shared so far
}

// Join meets the other processes and returns when all have come. After timeout
// it fails and names those that have not; the same time-out holds for every
// later operation. It stops waiting when the context ends. Close the group in the
// end.
//
// device is where the model of this process is, of one kind in all of them.
// Tensors on the CPU travel over Gloo, those on CUDA over NCCL.
func Join(ctx context.Context, e Environment, timeout time.Duration, device gotch.Device) (*Group, error) {
	if e.World < 2 {
		return nil, fmt.Errorf("dist: Join: %d processes, want at least 2", e.World)
	}
	serve := e.Rank == 0 && !e.AgentStore
	store, err := openStore(ctx, e, serve, timeout)
	if ctx.Err() != nil {
		if err == nil {
			store.Close()
		}
		return nil, fmt.Errorf("dist: rank %d of %d: waiting for the store at %s: %w", e.Rank, e.World, e.Address(), context.Cause(ctx))
	}
	if err != nil {
		what := "rank 0, which runs the store, did not answer"
		if e.AgentStore {
			what = "the launcher's store did not answer"
		} else if serve {
			what = "cannot open the store"
		}
		return nil, fmt.Errorf("dist: rank %d of %d: %s at %s: %w", e.Rank, e.World, what, e.Address(), err)
	}
	g := &Group{Environment: e, timeout: timeout, store: store, device: torch.DeviceOf(device)}
	if err := g.meet(ctx); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// openStore connects to the store, or until the context ends: what then comes of
// it is closed.
func openStore(ctx context.Context, e Environment, serve bool, timeout time.Duration) (*torch.Store, error) {
	type outcome struct {
		store *torch.Store
		err   error
	}
	opened := make(chan outcome, 1)
	go func() {
		store, err := torch.OpenStore(e.Host, e.Port, serve, prefix(e), timeout)
		opened <- outcome{store, err}
	}()
	select {
	case o := <-opened:
		return o.store, o.err
	case <-ctx.Done():
		go func() {
			if o := <-opened; o.err == nil {
				o.store.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func prefix(e Environment) string { return fmt.Sprintf("natten/%d/", e.Restarts) }

// meet waits until every other rank has said its name, then connects all to all.
func (g *Group) meet(ctx context.Context) error {
	if err := g.store.Set(joinKey(g.Rank), g.name()); err != nil {
		return fmt.Errorf("dist: rank %d of %d: store at %s: %w", g.Rank, g.World, g.Address(), err)
	}
	deadline := time.Now().Add(g.timeout)
	var missing []string
	for rank := range g.World {
		if rank == g.Rank {
			continue
		}
		came, word := false, ""
		for first := true; !came && (first || time.Now().Before(deadline)); first = false {
			var err error
			if word, came, err = g.store.Get(joinKey(rank), min(time.Second, time.Until(deadline))); err != nil {
				return fmt.Errorf("dist: rank %d of %d: store at %s: %w", g.Rank, g.World, g.Address(), err)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("dist: rank %d of %d, waiting for rank %d: %w", g.Rank, g.World, rank, context.Cause(ctx))
			}
		}
		if !came {
			missing = append(missing, fmt.Sprint(rank))
		} else if strings.Contains(word, onCUDA) != g.device.Is(torch.CUDA) {
			return g.mixed(rank, word)
		}
	}
	if len(missing) > 0 {
		g.failed = &LostError{Rank: g.Rank, World: g.World}
		_ = g.store.Set(byeKey(g.Rank), "") // rank 0 waits for it, but not for ever
		return fmt.Errorf("dist: rank %d of %d: after %v, missing: rank %s", g.Rank, g.World, g.timeout, strings.Join(missing, ", "))
	}
	var err error
	if g.beat, err = g.startBeating(); err != nil {
		return err
	}
	if g.group, err = torch.OpenGroup(g.store, g.Rank, g.World, g.timeout, g.device); err != nil {
		return g.lost(err)
	}
	if g.device.Is(torch.CUDA) {
		g.startWatching()
		return g.connect()
	}
	return nil
}

// onCUDA is in the names of processes on CUDA.
const onCUDA = ", cuda:"

// name is what the others call the process besides its rank.
func (g *Group) name() string {
	name := fmt.Sprintf("host %s, process %d", hostname(), os.Getpid())
	if g.device.Is(torch.CUDA) {
		name += ", " + g.device.String()
	}
	return name
}

// mixed is the error of processes on different kinds of devices.
func (g *Group) mixed(rank int, name string) error {
	g.failed = &LostError{Rank: g.Rank, World: g.World}
	_ = g.store.Set(byeKey(g.Rank), "") // rank 0 waits for it, but not for ever
	kinds := map[bool]string{false: "the CPU", true: "CUDA"}
	here := g.device.Is(torch.CUDA)
	return fmt.Errorf("dist: rank %d of %d trains on %s and rank %d (%s) on %s: give all the same device", g.Rank, g.World, kinds[here], rank, name, kinds[!here])
}

func joinKey(rank int) string { return fmt.Sprint("join/", rank) }

// Close leaves the group. A nil group does nothing.
func (g *Group) Close() {
	if g == nil || g.store == nil {
		return
	}
	broken := g.failed != nil
	if g.watch != nil {
		if !broken {
			g.leave()
		}
		broken = g.watch.stop() || broken
	}
	if g.beat != nil {
		g.beat.stop()
	}
	if g.group != nil && !broken {
		g.group.Close()
	}
	if g.failed != nil && g.Rank == 0 && !g.AgentStore {
		g.linger()
	}
	g.store.Close()
	g.store, g.group = nil, nil
}

// Sum adds up numbers over all processes, in place.
func (g *Group) Sum(values []float64) error {
	s := torch.NewScope()
	defer s.Close()
	t := s.Own(torch.FromSlice(values, int64(len(values))))
	if s.Err() != nil {
		return s.Err()
	}
	if err := g.watched(func() error { return g.group.Sum(t) }); err != nil {
		return err
	}
	sums, err := torch.Slice[float64](t)
	copy(values, sums)
	return err
}

// Gather collects equally many bytes of each process, on all of them.
func (g *Group) Gather(own []byte) ([][]byte, error) {
	all := make([]byte, len(own)*g.World)
	copy(all[len(own)*g.Rank:], own)
	s := torch.NewScope()
	defer s.Close()
	t := s.Own(torch.FromSlice(all, int64(len(all)))) // the others' places hold zeros
	if s.Err() != nil {
		return nil, s.Err()
	}
	if err := g.watched(func() error { return g.group.Sum(t) }); err != nil {
		return nil, err
	}
	if err := torch.Read(t, all); err != nil {
		return nil, err
	}
	list := make([][]byte, g.World)
	for i := range list {
		list[i] = all[i*len(own) : (i+1)*len(own)]
	}
	return list, nil
}

// Broadcast gives every process the tensors of process root.
func (g *Group) Broadcast(root int, tensors ...*ts.Tensor) error {
	return g.watched(func() error {
		if err := torch.NoGrad(func() error { return g.group.Broadcast(root, tensors...) }); err != nil {
			return err
		}
		return g.group.Wait()
	})
}

// Share gives every process the text of rank 0, which may take any time to come
// up with it. An error there becomes everybody's.
func (g *Group) Share(make func() (string, error)) (string, error) {
	g.shared++
	key := fmt.Sprint("share/", g.shared)
	if g.Rank == 0 {
		text, err := make()
		message := "+" + text
		if err != nil {
			message = "-" + err.Error()
		}
		return text, errors.Join(err, g.store.Set(key, message))
	}
	message, ok, err := g.store.Get(key, g.timeout)
	switch {
	case err != nil:
		return "", g.lost(err)
	case !ok:
		return "", g.lost(fmt.Errorf("no word from rank 0 for %v", g.timeout))
	case message[0] == '-':
		return "", fmt.Errorf("rank 0: %s", message[1:])
	}
	return message[1:], nil
}

// Once lets the first process of each machine do something before the others of
// that machine do it: fetching data, say.
func (g *Group) Once(ctx context.Context, name string, do func() error) error {
	key := fmt.Sprintf("once/%s/%s", name, hostname())
	first, err := g.store.Add(key, 1)
	if err != nil {
		return g.lost(err)
	}
	if first == 1 {
		err := do()
		return errors.Join(err, g.store.Set(key+"/done", "done"))
	}
	for since := time.Now(); time.Since(since) < 24*time.Hour; {
		_, done, err := g.store.Get(key+"/done", time.Second)
		if err != nil {
			return g.lost(err)
		}
		if done {
			return do()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("dist: rank %d of %d, waiting for another process of %s at %s: %w", g.Rank, g.World, hostname(), name, context.Cause(ctx))
		}
	}
	return g.lost(fmt.Errorf("another process of %s has been at %s for a day", hostname(), name))
}

// Reductions counts the buckets of gradients averaged so far; none for a nil group.
func (g *Group) Reductions() int {
	if g == nil || g.failed != nil {
		return 0
	}
	return g.group.Reductions()
}
