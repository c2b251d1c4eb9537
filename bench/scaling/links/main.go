// Command links measures the sums of processes that a launcher starts, for the
// model of docs/scaling.md: the time for a small message and for large ones.
//
//	torchrun --no-python --nproc-per-node 2 build/links
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/sugarme/gotch"

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
	e, err := dist.FromEnvironment(os.Getenv)
	if err != nil {
		return err
	}
	g, err := dist.Join(context.Background(), e, time.Minute, gotch.CPU)
	if err != nil {
		return err
	}
	defer g.Close()
	for _, numbers := range []int{4, 1 << 10, 1 << 17, 1 << 19, 1 << 21} {
		values := make([]float64, numbers)
		var times []float64
		for range 15 {
			start := time.Now()
			if err := g.Sum(values); err != nil {
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
