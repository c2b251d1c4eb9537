package dist_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train/dist"
)

func init() {
	roles["talk"] = func(e dist.Environment) error {
		g, err := dist.Join(context.Background(), e, 20*time.Second)
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
		if err := g.Once("x", func() error { once++; return nil }); err != nil {
			return err
		}
		fmt.Println(values, all, word, failure, once)
		return nil
	}
	// Sums until something breaks; rank 1 does what DIST_TEST_END says at the third.
	roles["until"] = func(e dist.Environment) error {
		g, err := dist.Join(context.Background(), e, 5*time.Second)
		if err != nil {
			return err
		}
		defer g.Close()
		for i := 0; ; i++ {
			if i == 3 && e.Rank == 1 {
				switch os.Getenv("DIST_TEST_END") {
				case "kill":
					_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				case "stop":
					_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				case "error":
					err := errors.New("no space left on device")
					g.Fail(err)
					return err
				}
			}
			if err := g.Sum([]float64{1}); err != nil {
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
	port := freePort(t)
	var list []*process
	for _, rank := range []int{0, 2} {
		list = append(list, start(t, 4, rank, port, "until"))
	}
	for _, p := range list {
		require.Contains(t, p.fails(t, 30*time.Second), "of 4: after 5s, missing: rank 1, 3")
	}
}

// TestWaitingEnds: a context ends the wait for others.
func TestWaitingEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := dist.Join(ctx, dist.Environment{World: 2, Host: "127.0.0.1", Port: freePort(t)}, time.Minute)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "dist: rank 0 of 2, waiting for rank 1")
	_, err = dist.Join(context.Background(), dist.Environment{World: 1}, time.Minute)
	require.ErrorContains(t, err, "1 processes, want at least 2")
}

// TestLost: when one process dies, hangs or fails, the others end within the
// time-out and name it.
func TestLost(t *testing.T) {
	for end, want := range map[string]string{
		"kill":  "rank 1 (host ",
		"stop":  "rank 1 (host ",
		"error": "rank 1 failed: no space left on device",
	} {
		t.Run(end, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			list := launch(t, 3, "until", "DIST_TEST_END="+end)
			for _, rank := range []int{0, 2} {
				message := list[rank].fails(t, 30*time.Second)
				require.Contains(t, message, fmt.Sprintf("dist: rank %d of 3 stops: %s", rank, want))
				require.NotContains(t, message, "rank 0 (host")
				require.NotContains(t, message, "rank 2 (host")
			}
		})
	}
}
