package dist

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// LostError is the error of a group that has broken: which ranks are to blame,
// as far as the others can tell.
type LostError struct {
	Rank, World int      // who noticed
	Reasons     []string // one per rank to blame, naming it
	Err         error    // what the operation said
}

func (e *LostError) Error() string {
	why := "no rank is known to have failed"
	if len(e.Reasons) > 0 {
		why = strings.Join(e.Reasons, "; ")
	}
	return fmt.Sprintf("dist: rank %d of %d stops: %s (%s)", e.Rank, e.World, why, firstLine(e.Err))
}

func (e *LostError) Unwrap() error { return e.Err }

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

const (
	// patience is how long a process waits for signs of life of the others.
	patience = 4 * beatEvery
	// linger is how long rank 0 keeps the store up for others to read.
	lingering = 2 * patience
	// noticed is the word of a process that ends because of others.
	noticed = "noticed"
)

// endedKey counts the processes that have said why they end.
const endedKey = "ended"

func endKey(rank int) string { return fmt.Sprint("end/", rank) }
func byeKey(rank int) string { return fmt.Sprint("bye/", rank) }

// lost finds out who broke the group. Whoever notices says so in the store and
// cuts its connections, so that all notice; whoever fails by itself says why
// (Fail). Of those that say nothing, the ones whose heart has stopped are dead.
func (g *Group) lost(cause error) error {
	if g.failed != nil {
		return g.failed
	}
	e := &LostError{Rank: g.Rank, World: g.World, Err: cause}
	g.failed = e
	before, err := g.beats()
	if err == nil {
		err = g.say(noticed)
	}
	g.abort()
	if err == nil {
		e.Reasons, err = g.blame(before)
	}
	if err != nil {
		reason := "rank 0, which runs the store, has ended"
		if g.AgentStore {
			reason = "the launcher, which runs the store, has ended"
		}
		e.Reasons = append(e.Reasons, reason)
		return e
	}
	_ = g.store.Set(byeKey(g.Rank), "") // rank 0 waits for it, but not for ever
	return e
}

// blame lists the ranks that have failed, died or stopped since their hearts
// were heard as given, or where there are none those that do not come.
func (g *Group) blame(before []int64) (reasons []string, err error) {
	deadline := time.Now().Add(patience)
	var silent []int
	for rank := range g.World {
		if rank == g.Rank {
			continue
		}
		word, ok, err := g.store.Get(endKey(rank), time.Until(deadline))
		switch {
		case err != nil:
			return nil, err
		case !ok:
			silent = append(silent, rank)
		case word != noticed:
			reasons = append(reasons, fmt.Sprintf("rank %d failed: %s", rank, word))
		}
	}
	if len(silent) == 0 {
		return reasons, nil
	}
	now, err := g.beats()
	if err != nil {
		return nil, err
	}
	var absent []string // alive, and not here
	for _, rank := range silent {
		who, _, err := g.store.Get(joinKey(rank), beatEvery)
		if err != nil {
			return nil, err
		}
		if now[rank] == before[rank] {
			g.dead = append(g.dead, rank)
			reasons = append(reasons, fmt.Sprintf("rank %d (%s) has died or was stopped", rank, who))
		} else {
			absent = append(absent, fmt.Sprintf("rank %d (%s) lives, but is busy with something else", rank, who))
		}
	}
	if len(reasons) == 0 { // else they will notice, and are not to blame
		reasons = absent
	}
	return reasons, nil
}

// say tells the others that, and why, this process ends.
func (g *Group) say(why string) error {
	err := g.store.Set(endKey(g.Rank), why)
	if err == nil {
		_, err = g.store.Add(endedKey, 1)
	}
	return err
}

// abort lets those notice who wait for this process.
func (g *Group) abort() {
	if g.group == nil {
		return
	}
	if g.watch == nil || !g.watch.stop() {
		_ = g.group.Abort() // it can only say that there is nothing left to cut
	}
	g.group = nil
}

// Fail tells the others why this process ends, unless it is they who ended it.
// A nil group or error does nothing.
func (g *Group) Fail(err error) {
	var lost *LostError
	if g == nil || g.store == nil || err == nil || errors.As(err, &lost) || g.failed != nil {
		return
	}
	g.failed = &LostError{Rank: g.Rank, World: g.World, Err: err}
	_ = g.say(firstLine(err)) // without it they notice, too, only not why
	g.abort()
}

// linger keeps the store of rank 0 up until the others have read from it.
func (g *Group) linger() {
	deadline := time.Now().Add(lingering)
	for rank := 1; rank < g.World; rank++ {
		if slices.Contains(g.dead, rank) {
			continue
		}
		if _, came, _ := g.store.Get(joinKey(rank), time.Millisecond); !came {
			continue
		}
		if _, _, err := g.store.Get(byeKey(rank), time.Until(deadline)); err != nil {
			return
		}
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
