package dist

import (
	"fmt"
	"sync"
	"time"

	"github.com/gonatten/gonatten/internal/torch"
)

// beatEvery is the time between two signs of life.
const beatEvery = time.Second

// heartbeat counts up a number in the store as long as the process runs, whatever
// its other threads are busy with. It has a connection of its own: one that waits
// for a key would hold up the others.
type heartbeat struct {
	store *torch.Store
	end   chan struct{}
	done  sync.WaitGroup
}

func beatKey(rank int) string { return fmt.Sprint("beat/", rank) }

func (g *Group) startBeating() (*heartbeat, error) {
	store, err := torch.OpenStore(g.Host, g.Port, false, prefix(g.Environment), g.timeout)
	if err != nil {
		return nil, fmt.Errorf("dist: rank %d of %d: store at %s: %w", g.Rank, g.World, g.Address(), err)
	}
	h := &heartbeat{store: store, end: make(chan struct{})}
	h.done.Add(1)
	go func() {
		defer h.done.Done()
		ticks := time.NewTicker(beatEvery)
		defer ticks.Stop()
		for {
			if _, err := store.Add(beatKey(g.Rank), 1); err != nil {
				return // without a store there is nobody to tell
			}
			select {
			case <-ticks.C:
			case <-h.end:
				return
			}
		}
	}()
	return h, nil
}

func (h *heartbeat) stop() {
	close(h.end)
	h.done.Wait()
	h.store.Close()
}

// beats are the counts of all ranks.
func (g *Group) beats() ([]int64, error) {
	counts := make([]int64, g.World)
	for rank := range counts {
		var err error
		if counts[rank], err = g.store.Add(beatKey(rank), 0); err != nil {
			return nil, err
		}
	}
	return counts, nil
}
