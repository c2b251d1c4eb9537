package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// actAsTorchrun makes the test binary stand in for torchrun, as far as
// examples/jobs/torchrun.sh uses it: it starts the processes with its variables,
// and all of them again where one fails.
const actAsTorchrun = "NATTEN_TEST_TORCHRUN"

func torchrun(args []string) int {
	processes, restarts := 1, 0
	for len(args) > 0 && strings.HasPrefix(args[0], "--") {
		var err error
		switch args[0] {
		case "--nproc-per-node":
			processes, err = strconv.Atoi(args[1])
			args = args[1:]
		case "--max-restarts":
			restarts, err = strconv.Atoi(args[1])
			args = args[1:]
		case "--no-python", "--standalone":
		default:
			err = fmt.Errorf("unknown flag %s", args[0])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "torchrun:", err)
			return 2
		}
		args = args[1:]
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for attempt := 0; ; attempt++ {
		port, err := openPort()
		if err != nil {
			fmt.Fprintln(os.Stderr, "torchrun:", err)
			return 2
		}
		ended := make(chan error)
		var list []*exec.Cmd
		for rank := range processes {
			c := exec.Command(args[0], args[1:]...)
			c.Env = append(os.Environ(), actAsCommand+"=1", "MASTER_ADDR=127.0.0.1", "OMP_NUM_THREADS=1", fmt.Sprint("MASTER_PORT=", port),
				fmt.Sprint("RANK=", rank), fmt.Sprint("LOCAL_RANK=", rank), fmt.Sprint("WORLD_SIZE=", processes), fmt.Sprint("TORCHELASTIC_RESTART_COUNT=", attempt))
			c.Stdout, c.Stderr = os.Stdout, os.Stderr
			if err := c.Start(); err != nil {
				fmt.Fprintln(os.Stderr, "torchrun:", err)
				return 2
			}
			list = append(list, c)
			go func() { ended <- c.Wait() }()
		}
		failed := false
		for left := processes; left > 0; {
			select {
			case err := <-ended:
				left--
				if err == nil || failed {
					continue
				}
				failed = true
			case <-stop:
			}
			for _, c := range list {
				_ = c.Process.Signal(syscall.SIGTERM) // those that have ended do not mind
			}
		}
		if !failed {
			return 0
		} else if attempt == restarts {
			return 1
		}
	}
}

func openPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// torchrunJob is examples/jobs/torchrun.sh with the torchrun that TORCHRUN names,
// or the stand-in.
func torchrunJob(t testing.TB, processes int, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	bin := t.TempDir()
	real := os.Getenv("TORCHRUN")
	target := real
	if real == "" {
		target = self
	}
	require.NoError(t, os.Symlink(target, bin+"/torchrun"))
	c := exec.Command("../../examples/jobs/torchrun.sh", args...)
	c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NATTEN="+self, fmt.Sprint("NPROC=", processes))
	if real == "" {
		c.Env = append(c.Env, actAsTorchrun+"=1")
	} else {
		c.Env = append(c.Env, actAsCommand+"=1")
	}
	return c
}
