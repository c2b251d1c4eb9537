package data

import "fmt"

// Sampler lists which samples one process sees in an epoch, and in which order.
// It is a pure function of its fields and the epoch's number.
type Sampler struct {
	Len     int    // samples of the dataset
	Seed    uint64 // of the order
	Shuffle bool   // else in the dataset's order

	// Repeats > 1 is repeated augmentation (Hoffer et al. 2020, arXiv 1901.09335,
	// as in DeiT): every chosen sample comes Repeats times in a row, spread over the
	// processes, each time with random numbers of its own. An epoch keeps its
	// length, rounded down to a multiple of 256 where it is longer than that, and so
	// sees one in Repeats of the samples.
	Repeats int

	// Rank of WorldSize processes; each gets every WorldSize-th element of the
	// common order. WorldSize 0 means 1.
	Rank, WorldSize int

	// Uneven leaves the last elements to the first processes. Otherwise elements
	// from the start are repeated until all processes have equally many, without
	// which gradient averaging would hang. Evaluation wants Uneven: each sample
	// counted once.
	Uneven bool
}

// Visit is one element of an epoch's order: a sample and how many times it came
// before in this epoch's order.
type Visit struct {
	Index  int
	Repeat int
}

const repeatRound = 256

// check tells whether the fields make sense together.
func (s *Sampler) check() error {
	switch {
	case s.Len < 1:
		return fmt.Errorf("data: sampler: no samples")
	case s.WorldSize < 0 || s.Rank < 0 || s.Rank >= max(1, s.WorldSize):
		return fmt.Errorf("data: sampler: rank %d is not in [0, %d)", s.Rank, max(1, s.WorldSize))
	case s.Repeats < 0:
		return fmt.Errorf("data: sampler: %d repeats", s.Repeats)
	}
	return nil
}

// Epoch returns the visits of this process in the given epoch.
func (s *Sampler) Epoch(epoch int) []Visit {
	world, repeats := max(1, s.WorldSize), max(1, s.Repeats)
	order := make([]int32, s.Len)
	for i := range order {
		order[i] = int32(i)
	}
	if s.Shuffle {
		rng := NewRand(streamOrder, s.Seed, uint64(epoch))
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	total := s.Len * repeats
	n := s.Count()
	visits := make([]Visit, n)
	for i := range visits {
		p := i*world + s.Rank
		round := p / total // > 0: an element repeated to even out the processes
		p %= total
		visits[i] = Visit{Index: int(order[p/repeats]), Repeat: p%repeats + round*repeats}
	}
	return visits
}

// Count is the number of visits of an epoch.
func (s *Sampler) Count() int {
	world := max(1, s.WorldSize)
	n := s.Len
	if s.Repeats > 1 && n > repeatRound {
		return n / repeatRound * repeatRound / world
	}
	if s.Uneven {
		return (n - s.Rank + world - 1) / world
	}
	return (n + world - 1) / world
}
