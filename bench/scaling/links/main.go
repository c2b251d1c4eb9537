// Command links measures messages between processes that a launcher starts, for
// the model of docs/scaling.md: the time for a small one and for large ones. On the
// CPU they are sums over Gloo. On CUDA (-cuda) they are broadcasts over NCCL, which
// between two processes send as many bytes as a sum.
//
//	torchrun --no-python --nproc-per-node 2 build/links [-cuda]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
)

func main() {
	runtime.LockOSThread()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "links:", err)
		os.Exit(1)
	}
}

func run() error {
	cuda := flag.Bool("cuda", false, "between CUDA devices")
	flag.Parse()
	e, err := dist.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	device := torch.CPU
	if *cuda {
		device = torch.CUDAIndex(e.LocalRank)
		if err := device.Use(); err != nil {
			return err
		}
	}
	g, err := dist.Join(context.Background(), e, time.Minute, device.Gotch())
	if err != nil {
		return err
	}
	defer g.Close()
	for _, numbers := range []int{4, 1 << 10, 1 << 17, 1 << 19, 1 << 21, 1 << 23} {
		values := make([]float64, numbers)
		s := torch.NewScope()
		defer s.Close()
		send := func() error { return g.Sum(values) }
		if *cuda {
			x := torch.Upload(s, values, device, int64(numbers))
			send = func() error { return g.Broadcast(0, x) }
		}
		if s.Err() != nil {
			return s.Err()
		}
		var times []float64
		for range 15 {
			start := time.Now()
			if err := send(); err != nil {
				return err
			}
			times = append(times, time.Since(start).Seconds())
		}
		if e.Rank == 0 {
			slices.Sort(times)
			fmt.Printf("%d processes, %d bytes: %.3f ms\n", e.World, 8*numbers, 1000*times[len(times)/2])
		}
	}
	return nil
}
