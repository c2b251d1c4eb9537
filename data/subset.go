package data

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Subset is a view of some samples of a dataset, in the given order.
type Subset struct {
	of      Dataset
	indices []int
}

// NewSubset returns the samples of ds at the given indices. It fails on an index
// that ds does not have.
func NewSubset(ds Dataset, indices []int) (*Subset, error) {
	for _, i := range indices {
		if err := checkIndex("subset", i, ds.Len()); err != nil {
			return nil, err
		}
	}
	return &Subset{of: ds, indices: slices.Clone(indices)}, nil
}

// Head returns the first n samples of ds, or all of them where there are fewer.
func Head(ds Dataset, n int) *Subset {
	s := &Subset{of: ds, indices: make([]int, max(0, min(n, ds.Len())))}
	for i := range s.indices {
		s.indices[i] = i
	}
	return s
}

// Len is the number of samples of the view.
func (s *Subset) Len() int { return len(s.indices) }

// Classes are the classes of the underlying dataset, also those without a sample
// in the view.
func (s *Subset) Classes() []string { return s.of.Classes() }

// Label is the label of sample i of the view. Where the underlying dataset does
// not tell labels, the sample is read; -1 means that it cannot be.
func (s *Subset) Label(i int) int {
	if l, ok := s.of.(Labeled); ok {
		return l.Label(s.indices[i])
	}
	sample, err := s.of.Sample(s.indices[i])
	if err != nil {
		return -1
	}
	return sample.Label
}

// Sample reads sample i of the view; its Index is i, its Name that of the
// underlying dataset.
func (s *Subset) Sample(i int) (Sample, error) {
	if err := checkIndex("subset", i, s.Len()); err != nil {
		return Sample{}, err
	}
	out, err := s.of.Sample(s.indices[i])
	if err != nil {
		return Sample{}, err
	}
	out.Index = i
	return out, nil
}

// Close closes the underlying dataset.
func (s *Subset) Close() error { return Close(s.of) }

// HoldOut splits ds in two by chance: val gets the given fraction of every class
// (rounded, at least one sample of a class that has two), train the rest. The
// same seed gives the same split. It fails on a fraction outside (0, 1).
func HoldOut(ds Dataset, fraction float64, seed uint64) (train, val *Subset, err error) {
	if !(fraction > 0 && fraction < 1) {
		return nil, nil, fmt.Errorf("data: HoldOut: fraction %v is not between 0 and 1", fraction)
	}
	l, ok := ds.(Labeled)
	if !ok {
		return nil, nil, fmt.Errorf("data: HoldOut: %T does not tell its labels", ds)
	}
	byClass := make([][]int, len(ds.Classes()))
	for i := 0; i < ds.Len(); i++ {
		byClass[l.Label(i)] = append(byClass[l.Label(i)], i)
	}
	train, val = &Subset{of: ds}, &Subset{of: ds}
	for class, indices := range byClass {
		rng := rand.New(rand.NewPCG(seed, uint64(class)))
		rng.Shuffle(len(indices), func(i, j int) { indices[i], indices[j] = indices[j], indices[i] })
		n := int(float64(len(indices))*fraction + 0.5)
		if n == 0 && len(indices) > 1 {
			n = 1
		}
		val.indices = append(val.indices, indices[:n]...)
		train.indices = append(train.indices, indices[n:]...)
	}
	slices.Sort(val.indices)
	slices.Sort(train.indices)
	return train, val, nil
}
