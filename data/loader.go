package data

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Transform turns a sample into the input of a network. It is used by several
// goroutines at once.
type Transform interface {
	// Shape is the shape of the result.
	Shape() (channels, height, width int)
	// Apply decodes s and writes channels*height*width values into dst, planes one
	// after another. It takes every random choice from rng, a stream of this
	// sample's own.
	Apply(dst []float32, s *Sample, rng *rand.Rand) error
}

// LoaderOptions of NewLoader; zero values mean the defaults named here.
type LoaderOptions struct {
	BatchSize int    // samples per batch, 1
	Workers   int    // goroutines that decode and transform, GOMAXPROCS
	Prefetch  int    // batches made ahead of the consumer, 2
	Seed      uint64 // of order and augmentation
	Shuffle   bool
	DropLast  bool // leave out a last batch that is not full

	Repeats         int // repeated augmentation, see Sampler
	Rank, WorldSize int // share of this process, see Sampler
	Uneven          bool

	// MaxBad is the number of samples that may turn out unreadable before the
	// loader gives up; each is replaced by the next readable one. 0 means one per
	// cent of the dataset, rounded up; a negative number means none.
	MaxBad int
	// OnBad is told about each unreadable sample once, from the consumer's
	// goroutine.
	OnBad func(*SampleError)
}

// Batch is a number of transformed samples. Call Release after use.
type Batch struct {
	Number  int       // position in its epoch
	Images  []float32 // [len(Labels), Channels, Height, Width]
	Labels  []int64
	Indices []int // in the dataset, after replacement of unreadable samples

	Channels, Height, Width int

	// Bad are the samples of this batch that could not be read.
	Bad []*SampleError

	free    chan []float32
	pending atomic.Int64
	done    chan struct{}
	mu      sync.Mutex // guards bad while workers fill the batch
	bad     []slotError
}

// slotError orders the unreadable samples of a batch by place.
type slotError struct {
	slot, attempt int
	last          bool // no further sample was tried in its place
	err           *SampleError
}

// Replaced tells whether sample i of the batch stands in for one that could not be
// read.
func (b *Batch) Replaced(i int) bool {
	return slices.ContainsFunc(b.bad, func(e slotError) bool { return e.slot == i })
}

// Release gives the pixels back for later batches; Images is nil afterwards.
func (b *Batch) Release() {
	if b.Images != nil {
		select {
		case b.free <- b.Images:
		default: // enough are waiting
		}
	}
	b.Images = nil
}

// Loader makes batches of a dataset in a fixed order with several goroutines.
type Loader struct {
	ds        Dataset
	transform Transform
	opts      LoaderOptions
	sampler   Sampler
	free      chan []float32 // pixels given back; a sync.Pool would drop them at every collection

	mu  sync.Mutex
	bad map[int]*SampleError
}

// maxValues is how many a batch may have, 8 GB: several batches are under way, and
// a process that asks for more than there is ends without a word.
const maxValues = 1 << 31

// NewLoader checks the options and returns a loader; no goroutine runs before
// Epoch is iterated.
func NewLoader(ds Dataset, t Transform, o LoaderOptions) (*Loader, error) {
	if ds == nil || t == nil {
		return nil, errors.New("data: NewLoader: dataset and transform are needed")
	}
	if o.BatchSize < 0 || o.Workers < 0 || o.Prefetch < 0 {
		return nil, fmt.Errorf("data: NewLoader: negative batch size %d, workers %d or prefetch %d", o.BatchSize, o.Workers, o.Prefetch)
	}
	if o.BatchSize == 0 {
		o.BatchSize = 1
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Prefetch == 0 {
		o.Prefetch = 2
	}
	switch {
	case o.MaxBad == 0:
		o.MaxBad = (ds.Len() + 99) / 100
	case o.MaxBad < 0:
		o.MaxBad = 0
	}
	l := &Loader{ds: ds, transform: t, opts: o, bad: map[int]*SampleError{}, free: make(chan []float32, o.Prefetch+2)}
	l.sampler = Sampler{Len: ds.Len(), Seed: o.Seed, Shuffle: o.Shuffle, Repeats: o.Repeats, Rank: o.Rank, WorldSize: o.WorldSize, Uneven: o.Uneven}
	if err := l.sampler.check(); err != nil {
		return nil, err
	}
	if l.Len() == 0 {
		return nil, fmt.Errorf("data: NewLoader: %d samples do not fill one batch of %d: want a smaller batch size", l.sampler.Count(), o.BatchSize)
	}
	l.opts.BatchSize = min(l.opts.BatchSize, l.sampler.Count()) // room for more would stay empty
	channels, height, width := t.Shape()
	if float64(l.opts.BatchSize)*float64(channels)*float64(height)*float64(width) > maxValues {
		return nil, fmt.Errorf("data: NewLoader: a batch of %d images of %dx%d is more than 2^31 values", l.opts.BatchSize, height, width)
	}
	return l, nil
}

// Len is the number of batches of an epoch.
func (l *Loader) Len() int {
	if l.opts.DropLast {
		return l.sampler.Count() / l.opts.BatchSize
	}
	return (l.sampler.Count() + l.opts.BatchSize - 1) / l.opts.BatchSize
}

// Samples is the number of samples of an epoch for this process.
func (l *Loader) Samples() int {
	if l.opts.DropLast {
		return l.Len() * l.opts.BatchSize
	}
	return l.sampler.Count()
}

// Dataset is the dataset that is read.
func (l *Loader) Dataset() Dataset { return l.ds }

// Bad are the unreadable samples met so far, by index.
func (l *Loader) Bad() []*SampleError {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*SampleError, 0, len(l.bad))
	for _, e := range l.bad {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *SampleError) int { return a.Index - b.Index })
	return out
}

// Epoch iterates over the batches of an epoch from batch number from on, in order.
// An error (a cancelled context, too many unreadable samples) is yielded once, as
// the last element. Leaving the loop early stops the workers; when the iteration
// is over, none is left.
//
//	for batch, err := range loader.Epoch(ctx, epoch, 0) {
//		if err != nil {
//			return err
//		}
//		...
//		batch.Release()
//	}
func (l *Loader) Epoch(ctx context.Context, epoch, from int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if from < 0 || from > l.Len() {
			yield(nil, fmt.Errorf("data: loader: batch %d is not in [0, %d]", from, l.Len()))
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		run := &epochRun{l: l, epoch: epoch, visits: l.sampler.Epoch(epoch)[:l.Samples()]}
		queue, wait := run.start(ctx, from)
		defer wait()
		defer cancel(nil)
		for range l.Len() - from {
			b, err := l.next(ctx, queue)
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// next waits for the next batch of the queue and settles its unreadable samples.
func (l *Loader) next(ctx context.Context, queue <-chan *Batch) (*Batch, error) {
	var b *Batch
	select {
	case b = <-queue:
	case <-ctx.Done():
	}
	if b != nil {
		select {
		case <-b.done:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("data: loader: %w", context.Cause(ctx))
	}
	slices.SortFunc(b.bad, func(x, y slotError) int {
		if x.slot != y.slot {
			return x.slot - y.slot
		}
		return x.attempt - y.attempt
	})
	for _, s := range b.bad {
		b.Bad = append(b.Bad, s.err)
		err := l.note(s.err)
		if err == nil && s.last {
			err = fmt.Errorf("data: loader: %d unreadable samples in a row; the last: %w", s.attempt+1, s.err)
		}
		if err != nil {
			b.Release()
			return nil, err
		}
	}
	return b, nil
}

// note counts an unreadable sample and fails when there are too many.
func (l *Loader) note(e *SampleError) error {
	l.mu.Lock()
	_, known := l.bad[e.Index]
	l.bad[e.Index] = e
	n := len(l.bad)
	l.mu.Unlock()
	if known {
		return nil
	}
	if l.opts.OnBad != nil {
		l.opts.OnBad(e)
	}
	if n > l.opts.MaxBad {
		return fmt.Errorf("data: loader: %d unreadable samples, at most %d are put up with; the last: %w: mend or remove them, or allow more (max_bad_samples)", n, l.opts.MaxBad, e)
	}
	return nil
}
