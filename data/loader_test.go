package data

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbered is a dataset of n samples whose label is their number mod 7; the bad
// ones cannot be read.
type numbered struct {
	n    int
	bad  map[int]bool
	read atomic.Int64
}

func (d *numbered) Len() int          { return d.n }
func (d *numbered) Classes() []string { return make([]string, 7) }
func (d *numbered) Label(i int) int   { return i % 7 }
func (d *numbered) Sample(i int) (Sample, error) {
	d.read.Add(1)
	s := Sample{Index: i, Label: i % 7, Name: fmt.Sprintf("file%d", i)}
	if d.bad[i] {
		return Sample{}, s.fail(errors.New("damaged"))
	}
	return s, nil
}

// noisy writes the index and two random numbers; it takes its time at random, so
// that workers overtake each other.
type noisy struct{ slow bool }

func (noisy) Shape() (c, h, w int) { return 1, 1, 3 }
func (t noisy) Apply(dst []float32, s *Sample, rng *rand.Rand) error {
	if t.slow && s.Index%5 == 0 {
		time.Sleep(time.Millisecond)
	}
	dst[0], dst[1], dst[2] = float32(s.Index), rng.Float32(), rng.Float32()
	return nil
}

// record collects an epoch as one comparable slice.
func record(t *testing.T, l *Loader, epoch, from int) []string {
	t.Helper()
	var out []string
	for b, err := range l.Epoch(context.Background(), epoch, from) {
		require.NoError(t, err)
		require.Len(t, b.Images, len(b.Labels)*3)
		out = append(out, fmt.Sprint(b.Number, b.Labels, b.Indices, b.Images))
		b.Release()
		assert.Nil(t, b.Images)
	}
	return out
}

func loader(t *testing.T, ds Dataset, tr Transform, o LoaderOptions) *Loader {
	t.Helper()
	l, err := NewLoader(ds, tr, o)
	require.NoError(t, err)
	return l
}

func TestLoaderIsTheSameForEveryNumberOfWorkers(t *testing.T) {
	for _, o := range []LoaderOptions{
		{BatchSize: 8, Shuffle: true, Seed: 3},
		{BatchSize: 7, Shuffle: true, Seed: 3, DropLast: true, Prefetch: 5},
		{BatchSize: 64, Shuffle: true, Repeats: 3, Rank: 1, WorldSize: 2},
		{BatchSize: 3, MaxBad: 5},
	} {
		var want [2][]string
		for i, workers := range []int{1, 2, 5} {
			o.Workers = workers
			l := loader(t, &numbered{n: 300, bad: map[int]bool{10: true, 11: true, 299: true}}, noisy{slow: true}, o)
			for epoch := range 2 {
				got := record(t, l, epoch, 0)
				require.Len(t, got, l.Len())
				if i == 0 {
					want[epoch] = got
				}
				assert.Equal(t, want[epoch], got, "%d workers", workers)
			}
		}
		if o.Shuffle {
			assert.NotEqual(t, want[0], want[1], "epochs differ")
		}
	}
}

func TestLoaderSeedsMatter(t *testing.T) {
	ds := &numbered{n: 50}
	a := record(t, loader(t, ds, noisy{}, LoaderOptions{BatchSize: 50, Seed: 1}), 0, 0)
	b := record(t, loader(t, ds, noisy{}, LoaderOptions{BatchSize: 50, Seed: 2}), 0, 0)
	c := record(t, loader(t, ds, noisy{}, LoaderOptions{BatchSize: 50, Seed: 1}), 1, 0)
	assert.NotEqual(t, a, b)
	assert.NotEqual(t, a, c)
}

func TestLoaderResumes(t *testing.T) {
	o := LoaderOptions{BatchSize: 8, Shuffle: true, Workers: 3}
	l := loader(t, &numbered{n: 100}, noisy{}, o)
	whole := record(t, l, 4, 0)
	require.Len(t, whole, 13)
	for _, from := range []int{1, 7, 12, 13} {
		assert.ElementsMatch(t, whole[from:], record(t, l, 4, from))
	}
	for b, err := range l.Epoch(context.Background(), 4, 14) {
		assert.Nil(t, b)
		assert.ErrorContains(t, err, "batch 14 is not in [0, 13]")
	}
}

func TestLoaderVisitsEverySampleOnce(t *testing.T) {
	l := loader(t, &numbered{n: 101}, noisy{}, LoaderOptions{BatchSize: 10, Shuffle: true, Workers: 2})
	seen := map[int]int{}
	for b, err := range l.Epoch(context.Background(), 0, 0) {
		require.NoError(t, err)
		for i, index := range b.Indices {
			seen[index]++
			assert.Equal(t, int64(index%7), b.Labels[i])
			assert.Equal(t, float32(index), b.Images[3*i])
		}
	}
	require.Len(t, seen, 101)
	assert.Equal(t, [2]int{11, 101}, [2]int{l.Len(), l.Samples()})
}

func TestLoaderReplacesUnreadableSamples(t *testing.T) {
	ds := &numbered{n: 20, bad: map[int]bool{4: true, 5: true, 19: true}}
	var told []int
	l := loader(t, ds, noisy{}, LoaderOptions{BatchSize: 5, MaxBad: 3, Workers: 2, OnBad: func(e *SampleError) { told = append(told, e.Index) }})
	var indices []int
	var bad []string
	for range 2 {
		indices, bad = nil, nil
		for b, err := range l.Epoch(context.Background(), 0, 0) {
			require.NoError(t, err)
			indices = append(indices, b.Indices...)
			for _, e := range b.Bad {
				bad = append(bad, e.Error())
			}
		}
	}
	assert.Equal(t, []int{0, 1, 2, 3, 6, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 0}, indices)
	assert.Equal(t, []string{
		"data: sample 4 (file4): damaged", "data: sample 5 (file5): damaged", // in the place of 4
		"data: sample 5 (file5): damaged", "data: sample 19 (file19): damaged",
	}, bad)
	assert.Equal(t, []int{4, 5, 19}, told, "each once, in two epochs")
	assert.Len(t, l.Bad(), 3)
}

func TestLoaderGivesUp(t *testing.T) {
	cases := []struct {
		name, want string
		n, maxBad  int
		bad        func(int) bool
	}{
		{"over the limit", "3 unreadable samples, at most 2 are put up with; the last: data: sample 30 (file30): damaged", 100, 2, func(i int) bool { return i%10 == 0 && i > 0 }},
		{"none allowed", "1 unreadable samples, at most 0", 100, -1, func(i int) bool { return i == 50 }},
		{"default of one per cent", "at most 1 are put up with", 100, 0, func(i int) bool { return i%10 == 0 }},
		{"all of few", "3 unreadable samples in a row", 3, 9, func(int) bool { return true }},
		{"a folder gone", "101 unreadable samples in a row", 1000, 500, func(i int) bool { return i >= 200 }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bad := map[int]bool{}
			for i := range c.n {
				bad[i] = c.bad(i)
			}
			l := loader(t, &numbered{n: c.n, bad: bad}, noisy{}, LoaderOptions{BatchSize: 4, MaxBad: c.maxBad, Workers: 3})
			var last error
			for b, err := range l.Epoch(context.Background(), 0, 0) {
				require.NoError(t, last, "nothing after an error")
				if last = err; err != nil {
					assert.Nil(t, b)
				}
			}
			require.ErrorContains(t, last, c.want)
			var se *SampleError
			assert.ErrorAs(t, last, &se)
		})
	}
}

// settled waits until no more goroutines run than before.
func settled(before int) bool {
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

func TestLoaderLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	ds := &numbered{n: 10000}
	l := loader(t, ds, noisy{slow: true}, LoaderOptions{BatchSize: 16, Workers: 4, Prefetch: 3})

	for b, err := range l.Epoch(context.Background(), 0, 0) { // left early
		require.NoError(t, err)
		if b.Number == 2 {
			break
		}
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before, "all have ended when the loop is left")

	ctx, cancel := context.WithCancel(context.Background())
	var last error
	n := 0
	for _, err := range l.Epoch(ctx, 0, 0) { // cancelled
		if n++; n == 3 {
			cancel()
		}
		last = err
	}
	assert.ErrorIs(t, last, context.Canceled)
	assert.Less(t, n, 10)

	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	for _, err := range l.Epoch(ctx, 0, 0) { // timed out
		last = err
	}
	assert.ErrorIs(t, last, context.DeadlineExceeded)
	assert.True(t, settled(before))
}

func TestLoaderPrefetchIsBounded(t *testing.T) {
	ds := &numbered{n: 1000}
	l := loader(t, ds, noisy{}, LoaderOptions{BatchSize: 10, Workers: 2, Prefetch: 3})
	for b, err := range l.Epoch(context.Background(), 0, 0) {
		require.NoError(t, err)
		if b.Number == 1 {
			time.Sleep(30 * time.Millisecond) // a slow consumer
			// Two taken, three in the queue, one waiting to get in.
			assert.LessOrEqual(t, ds.read.Load(), int64(60))
			break
		}
	}
}

func TestLoaderReusesPixels(t *testing.T) {
	l := loader(t, &numbered{n: 400}, noisy{}, LoaderOptions{BatchSize: 10, Workers: 2, Prefetch: 2})
	buffers := map[*float32]bool{}
	for b, err := range l.Epoch(context.Background(), 0, 0) {
		require.NoError(t, err)
		buffers[&b.Images[0]] = true
		b.Release()
		b.Release() // harmless
	}
	assert.LessOrEqual(t, len(buffers), 5, "40 batches share a few buffers")
}

func TestLoaderOptionErrors(t *testing.T) {
	ds := &numbered{n: 10}
	for want, o := range map[string]LoaderOptions{
		"do not fill one batch of 11": {BatchSize: 11, DropLast: true},
		"rank 2 is not in [0, 2)":     {Rank: 2, WorldSize: 2},
		"negative batch size":         {BatchSize: -1},
		"-1 repeats":                  {Repeats: -1},
	} {
		_, err := NewLoader(ds, noisy{}, o)
		assert.ErrorContains(t, err, want)
	}
	_, err := NewLoader(&numbered{}, noisy{}, LoaderOptions{})
	assert.ErrorContains(t, err, "no samples")
	_, err = NewLoader(nil, nil, LoaderOptions{})
	assert.Error(t, err)
}

func TestSamplerShares(t *testing.T) {
	for _, n := range []int{10, 11, 12, 301} {
		even, uneven := map[int]int{}, map[int]int{}
		var counts []int
		for rank := range 4 {
			s := Sampler{Len: n, Shuffle: true, Rank: rank, WorldSize: 4}
			counts = append(counts, len(s.Epoch(0)))
			for _, v := range s.Epoch(0) {
				even[v.Index]++
			}
			s.Uneven = true
			assert.Len(t, s.Epoch(0), s.Count())
			for _, v := range s.Epoch(0) {
				uneven[v.Index]++
			}
		}
		for _, c := range counts {
			assert.Equal(t, (n+3)/4, c)
		}
		assert.Len(t, even, n)
		assert.Len(t, uneven, n)
		for _, times := range uneven {
			assert.Equal(t, 1, times)
		}
	}
}

func TestSamplerRepeats(t *testing.T) {
	const n, world = 1000, 2
	seen := map[Visit]int{}
	for rank := range world {
		s := Sampler{Len: n, Shuffle: true, Repeats: 3, Rank: rank, WorldSize: world}
		visits := s.Epoch(1)
		assert.Len(t, visits, 384) // 1000 rounded down to 768, halved
		for _, v := range visits {
			seen[v]++
		}
	}
	require.Len(t, seen, 768, "no repeat of a sample comes twice")
	perSample := map[int]int{}
	for v := range seen {
		perSample[v.Index]++
		assert.Less(t, v.Repeat, 3)
	}
	assert.Len(t, perSample, 256)
	for _, times := range perSample {
		assert.Equal(t, 3, times)
	}
}

func TestNewRandStreamsAreUnrelated(t *testing.T) {
	const n = 20000
	var sum, cross float64
	prev := 0.0
	for i := range uint64(n) {
		x := NewRand(1, i).Float64() - 0.5
		sum += x
		cross += x * prev
		prev = x
	}
	assert.InDelta(t, 0, sum/n, 4*0.289/141.4)    // four standard errors
	assert.InDelta(t, 0, cross/n, 4*1.0/12/141.4) // neighbours are uncorrelated
	assert.NotEqual(t, NewRand(1, 2).Uint64(), NewRand(2, 1).Uint64())
	assert.Equal(t, NewRand(1, 2).Uint64(), NewRand(1, 2).Uint64())
}
