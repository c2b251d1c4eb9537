package data

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
)

// epochRun is the work of one epoch, shared by its goroutines.
type epochRun struct {
	l      *Loader
	epoch  int
	visits []Visit
}

// task is a few neighbouring samples of one batch.
type task struct {
	batch   *Batch
	first   int // position in visits
	slot, n int
}

// start runs the workers and a goroutine that lays out batches. Batches come out
// of the queue in order, not yet filled: wait for done. The returned function
// waits until all goroutines have ended, which they do when the context is done
// or the epoch is.
func (r *epochRun) start(ctx context.Context, from int) (<-chan *Batch, func()) {
	o := r.l.opts
	queue := make(chan *Batch, o.Prefetch)
	tasks := make(chan task, o.Workers)
	// Chunks keep the hand-over cheap for tiny images, yet small enough that all
	// workers share the batch that is waited for.
	chunk := min(16, max(1, o.BatchSize/(4*o.Workers)))
	var wg sync.WaitGroup
	wg.Add(1 + o.Workers)
	go func() {
		defer wg.Done()
		defer close(tasks)
		for number := from; number < r.l.Len(); number++ {
			b := r.newBatch(number)
			select {
			case queue <- b:
			case <-ctx.Done():
				return
			}
			for slot := 0; slot < len(b.Labels); slot += chunk {
				t := task{batch: b, first: number*o.BatchSize + slot, slot: slot, n: min(chunk, len(b.Labels)-slot)}
				select {
				case tasks <- t:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	for range o.Workers {
		go func() {
			defer wg.Done()
			pcg := rand.NewPCG(0, 0)
			rng := rand.New(pcg)
			for t := range tasks {
				for i := range t.n {
					if ctx.Err() != nil {
						return
					}
					r.fill(t.batch, t.slot+i, r.visits[t.first+i], pcg, rng)
				}
				if t.batch.pending.Add(-int64(t.n)) == 0 {
					close(t.batch.done)
				}
			}
		}()
	}
	return queue, wg.Wait
}

// newBatch makes an empty batch with pixels from the free list.
func (r *epochRun) newBatch(number int) *Batch {
	first := number * r.l.opts.BatchSize
	n := min(r.l.opts.BatchSize, len(r.visits)-first)
	c, h, w := r.l.transform.Shape()
	b := &Batch{
		Number: number, Labels: make([]int64, n), Indices: make([]int, n),
		Channels: c, Height: h, Width: w, free: r.l.free, done: make(chan struct{}),
	}
	b.pending.Store(int64(n))
	select {
	case buf := <-r.l.free:
		b.Images = buf[:n*c*h*w] // all were made for a full batch
	default:
		b.Images = make([]float32, n*c*h*w, r.l.opts.BatchSize*c*h*w)
	}
	return b
}

// maxReplacements is how many samples are tried in the place of one that cannot
// be read: a whole folder that has vanished should end the run at once.
const maxReplacements = 100

// fill makes one sample of a batch, or the next readable one in its place.
func (r *epochRun) fill(b *Batch, slot int, v Visit, pcg *rand.PCG, rng *rand.Rand) {
	l := r.l
	size := b.Channels * b.Height * b.Width
	dst := b.Images[slot*size : (slot+1)*size]
	attempts := 1 + min(l.opts.MaxBad, l.ds.Len()-1, maxReplacements)
	for attempt := range attempts {
		index := (v.Index + attempt) % l.ds.Len()
		pcg.Seed(seedOf(streamSample, l.opts.Seed, uint64(r.epoch), uint64(index), uint64(v.Repeat)))
		s, err := l.ds.Sample(index)
		if err == nil {
			err = l.transform.Apply(dst, &s, rng)
		}
		if err == nil {
			b.Labels[slot], b.Indices[slot] = int64(s.Label), index
			return
		}
		var se *SampleError
		if !errors.As(err, &se) {
			se = &SampleError{Index: index, Name: s.Name, Err: err}
		}
		b.mu.Lock()
		b.bad = append(b.bad, slotError{slot: slot, attempt: attempt, last: attempt == attempts-1, err: se})
		b.mu.Unlock()
	}
}
