package torch_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
)

// The number of threads holds on every system thread, those that ran operators before it changed included.
func TestThreadsOfEverySystemThread(t *testing.T) {
	before := torch.Threads()
	defer func() { require.NoError(t, torch.SetThreads(before)) }()
	const systemThreads = 4
	var wg sync.WaitGroup
	changed := make(chan struct{})
	seen := make(chan int, systemThreads)
	var ready sync.WaitGroup
	for range systemThreads {
		wg.Add(1)
		ready.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
			torch.Threads()
			ready.Done()
			<-changed
			seen <- torch.Threads()
		}()
	}
	ready.Wait()
	require.NoError(t, torch.SetThreads(before+2))
	close(changed)
	wg.Wait()
	for range systemThreads {
		require.Equal(t, before+2, <-seen)
	}
}
