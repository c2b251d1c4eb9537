package dist

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gonatten/gonatten/internal/torch"
)

// silence is how long a process on CUDA may show no sign of life.
const silence = 10 * beatEvery

// watch ends this process's waiting for others on CUDA. Gloo's operations fail
// when a connection breaks; NCCL's wait inside the device, and whoever waits for
// the device waits with them. Therefore every process watches over the next one's
// heartbeat and over a count of those that have said that they end, and aborts
// NCCL where either tells that the group is broken, or one operation has taken
// longer than the time-out.
type watch struct {
	group  *torch.Group
	busy   atomic.Pointer[time.Time] // when the operation at hand began
	broken atomic.Pointer[error]     // why NCCL has been aborted
	end    chan struct{}
	once   sync.Once
	done   sync.WaitGroup
}

func leftKey(rank int) string { return fmt.Sprint("left/", rank) }

func (g *Group) startWatching() {
	w := &watch{group: g.group, end: make(chan struct{})}
	g.watch = w
	// The heartbeat's connection: nobody waits for a key on it.
	store, timeout, next := g.beat.store, g.timeout, (g.Rank+1)%g.World
	w.done.Add(1)
	go func() {
		defer w.done.Done()
		ticks := time.NewTicker(beatEvery)
		defer ticks.Stop()
		heard, count := time.Now(), int64(-1)
		for {
			select {
			case <-ticks.C:
			case <-w.end:
				return
			}
			beats, ended, err := listen(store, next)
			if beats != count || err != nil {
				heard, count = time.Now(), beats
			}
			began := w.busy.Load()
			switch {
			case err != nil:
				err = fmt.Errorf("the store is gone: %w", err)
			case ended:
				err = fmt.Errorf("another rank has ended")
			case time.Since(heard) > min(silence, timeout):
				if left, _ := store.Add(leftKey(next), 0); left > 0 {
					heard = time.Now()
					continue // it has done its part
				}
				err = fmt.Errorf("no sign of life of rank %d for %v", next, min(silence, timeout))
			case began != nil && time.Since(*began) > timeout:
				err = fmt.Errorf("not all processes came to this operation in %v", timeout)
			default:
				continue
			}
			w.broken.Store(&err)
			_ = w.group.Abort() // it can only say that there is nothing left to cut
			return
		}
	}()
}

// listen asks the store for the heartbeat of a rank, and whether any has ended.
func listen(store *torch.Store, rank int) (beats int64, ended bool, err error) {
	if beats, err = store.Add(beatKey(rank), 0); err != nil {
		return 0, false, err
	}
	n, err := store.Add(endedKey, 0)
	return beats, n > 0, err
}

// stop ends the watch and tells whether it has aborted the group.
func (w *watch) stop() bool {
	w.once.Do(func() { close(w.end) })
	w.done.Wait()
	return w.broken.Load() != nil
}

// begin notes that an operation begins that may wait for others.
func (g *Group) begin() {
	if g.watch != nil {
		now := time.Now()
		g.watch.busy.Store(&now)
	}
}

// finish ends what began, with its error. What ended because NCCL was aborted has
// no result, whatever it says.
func (g *Group) finish(err error) error {
	if g.watch != nil {
		g.watch.busy.Store(nil)
		if cause := g.watch.broken.Load(); cause != nil {
			err = *cause
		}
	}
	if err != nil {
		return g.lost(err)
	}
	return nil
}

// watched does what may wait for other processes.
func (g *Group) watched(do func() error) error {
	if g.failed != nil {
		return g.failed
	}
	g.begin()
	return g.finish(do())
}

// connect sets NCCL up. Until all have come its set-up waits where no abort
// reaches it, so this waits on its behalf.
func (g *Group) connect() error {
	result := make(chan error, 1)
	group := g.group
	go func() { result <- group.Connect() }()
	deadline := time.NewTimer(g.timeout)
	defer deadline.Stop()
	ticks := time.NewTicker(beatEvery)
	defer ticks.Stop()
	for {
		select {
		case err := <-result:
			return g.finish(err)
		case <-deadline.C:
			return g.lost(fmt.Errorf("NCCL did not connect the processes in %v", g.timeout))
		case <-ticks.C:
			if g.watch.broken.Load() != nil {
				return g.finish(nil)
			}
		}
	}
}

// leave says that the process ends because all is done.
func (g *Group) leave() { _, _ = g.beat.store.Add(leftKey(g.Rank), 1) } // where the store is gone nobody asks
