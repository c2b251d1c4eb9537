package dist_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
)

func init() {
	roles["talk"] = func(e dist.Environment) error {
		g, err := join(e, time.Minute)
		if err != nil {
			return err
		}
		defer g.Close()
		values := []float64{float64(e.Rank), 1}
		if err := g.Sum(values); err != nil {
			return err
		}
		all, err := g.Gather([]byte{byte(10 * e.Rank), 7})
		if err != nil {
			return err
		}
		word, err := g.Share(func() (string, error) { return "from rank 0", nil })
		if err != nil {
			return err
		}
		_, failure := g.Share(func() (string, error) { return "", errors.New("no such file") })
		once := 0
		if err := g.Once(context.Background(), "x", func() error { once++; return nil }); err != nil {
			return err
		}
		fmt.Println(values, all, word, failure, once)
		return nil
	}
	// Sums until something breaks; rank 1 does what DIST_TEST_END says at the third.
	roles["until"] = func(e dist.Environment) error {
		seconds, err := strconv.Atoi(os.Getenv("DIST_TEST_TIMEOUT"))
		if err != nil {
			return err
		}
		g, err := join(e, time.Duration(seconds)*time.Second)
		if err != nil {
			return err
		}
		defer g.Close()
		s := torch.NewScope()
		defer s.Close()
		x := torch.Upload(s, make([]float32, 1000), deviceOf(e), 1000)
		for i := 0; ; i++ {
			if i == 3 && e.Rank == 1 {
				switch os.Getenv("DIST_TEST_END") {
				case "kill":
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				case "stop":
					_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				case "sleep":
					time.Sleep(time.Hour)
				case "error":
					err := errors.New("no space left on device")
					g.Fail(err)
					return err
				}
			}
			if err := g.Broadcast(0, x); err != nil {
				return err
			}
		}
	}
}

func TestTalk(t *testing.T) {
	for rank, p := range launch(t, 2, "talk") {
		failure := "no such file"
		if rank > 0 {
			failure = "rank 0: no such file"
		}
		require.Equal(t, fmt.Sprintf("[1 2] [[0 7] [10 7]] from rank 0 %s 1\n", failure), p.wait(t))
	}
}

// TestMissing: who does not come is named by those who wait.
func TestMissing(t *testing.T) {
	port, seconds := freePort(t), shortest(t)
	var list []*process
	for _, rank := range []int{0, 2} {
		list = append(list, start(t, 4, rank, port, "until", fmt.Sprint("DIST_TEST_TIMEOUT=", seconds)))
	}
	for _, p := range list {
		require.Contains(t, p.fails(t), fmt.Sprintf("of 4: after %v, missing: rank 1, 3", time.Duration(seconds)*time.Second))
	}
}

// TestWaitingEnds: a context ends the wait for others.
func TestWaitingEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := dist.Join(ctx, dist.Environment{World: 2, Host: "127.0.0.1", Port: freePort(t)}, time.Minute, gotch.CPU)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "dist: rank 0 of 2, waiting for rank 1")
	_, err = dist.Join(context.Background(), dist.Environment{World: 1}, time.Minute, gotch.CPU)
	require.ErrorContains(t, err, "1 processes, want at least 2")
}

// TestLost: when one process dies or fails, the others end at once and name it,
// whatever the time-out; when it stands still, after the time-out.
func TestLost(t *testing.T) {
	for end, c := range map[string]struct {
		want string
		wait bool // for the time-out
	}{
		"kill":  {"rank 1 (host ", false},
		"error": {"rank 1 failed: no space left on device", false},
		"stop":  {"rank 1 (host ", true},
		"sleep": {"rank 1 (host ", true},
	} {
		t.Run(end, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			world, seconds := atMost(t, 3), 3600
			if c.wait {
				seconds = shortest(t)
			}
			list := launch(t, world, "until", "DIST_TEST_END="+end, fmt.Sprint("DIST_TEST_TIMEOUT=", seconds))
			for _, rank := range []int{0, 2}[:world-1] {
				began := time.Now()
				message := list[rank].fails(t)
				t.Logf("%v: %s", time.Since(began).Round(time.Second), message)
				require.Contains(t, message, fmt.Sprintf("dist: rank %d of %d stops: %s", rank, world, c.want))
				require.NotContains(t, message, "rank 0 (host")
				require.NotContains(t, message, "rank 2 (host")
			}
		})
	}
}

func init() {
	// Watched as on CUDA, where an operation ends no sooner than the group is aborted.
	roles["watched"] = func(e dist.Environment) error {
		g, err := join(e, time.Minute)
		if err != nil {
			return err
		}
		defer g.Close()
		aborted := g.Watch()
		if e.Rank == 1 {
			time.Sleep(2 * time.Second)
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		for !aborted() {
			time.Sleep(10 * time.Millisecond)
		}
		return g.Sum([]float64{1})
	}
	roles["mixed"] = func(e dist.Environment) error {
		_, err := dist.Join(context.Background(), e, time.Minute, map[int]gotch.Device{0: gotch.CPU, 1: gotch.CudaBuilder(1)}[e.Rank])
		return err
	}
}

// TestWatch: a group on CUDA is aborted soon after one process shows no sign of
// life, whatever its time-out, and then names it.
func TestWatch(t *testing.T) {
	list := launch(t, 2, "watched")
	message := list[0].fails(t)
	require.Contains(t, message, "dist: rank 0 of 2 stops: rank 1 (host ")
	require.Contains(t, message, "no sign of life of rank 1 for 10s")
}

// TestMixedDevices: all processes are on the CPU, or all on CUDA.
func TestMixedDevices(t *testing.T) {
	list := launch(t, 2, "mixed")
	require.Regexp(t, `rank 0 of 2 trains on the CPU and rank 1 \(host .*, cuda:1\) on CUDA: give all the same device`, list[0].fails(t))
	require.Regexp(t, `rank 1 of 2 trains on CUDA and rank 0 \(host .*\) on the CPU`, list[1].fails(t))
}
