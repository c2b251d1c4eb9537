package dist_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
)

// The test binary is one process of a group where this names what it does.
const roleVariable = "DIST_TEST_ROLE"

// kind is the device of these tests: the CPU, or CUDA where NATTEN_TEST_DEVICE is
// cuda (scripts/gpu-check), with a device for each process.
var kind = os.Getenv("NATTEN_TEST_DEVICE")

func deviceOf(e dist.Environment) torch.Device {
	if kind == "cuda" {
		return torch.CUDAIndex(e.LocalRank)
	}
	return torch.CPU
}

// atMost is as many processes as there are devices for, at least 2.
func atMost(t testing.TB, world int) int {
	t.Helper()
	if kind == "cuda" {
		world = min(world, torch.CUDA.Count())
	}
	if world < 2 {
		t.Skip("this machine has no two CUDA devices")
	}
	return world
}

// join is dist.Join on the device of these tests.
func join(e dist.Environment, timeout time.Duration) (*dist.Group, error) {
	device := deviceOf(e)
	if device.Is(torch.CUDA) {
		if err := device.Use(); err != nil {
			return nil, err
		}
	}
	return dist.Join(context.Background(), e, timeout, device.Gotch())
}

// roles are what processes of a group do in tests.
var roles = map[string]func(e dist.Environment) error{
	"start": func(dist.Environment) error { return nil },
}

func TestMain(m *testing.M) {
	name := os.Getenv(roleVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	e, err := dist.FromEnvironment(os.Getenv)
	if err == nil {
		err = roles[name](e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is one of a group.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// launch starts world processes as a launcher would.
func launch(t testing.TB, world int, role string, extra ...string) []*process {
	t.Helper()
	port := freePort(t)
	list := make([]*process, world)
	for rank := range list {
		list[rank] = start(t, world, rank, port, role, extra...)
	}
	return list
}

func start(t testing.TB, world, rank, port int, role string, extra ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0])}
	p.Env = append(os.Environ(), roleVariable+"="+role, "MASTER_ADDR=127.0.0.1", "OMP_NUM_THREADS=1", "TORCH_CPP_LOG_LEVEL=ERROR",
		fmt.Sprint("RANK=", rank), fmt.Sprint("WORLD_SIZE=", world), fmt.Sprint("LOCAL_RANK=", rank), fmt.Sprint("MASTER_PORT=", port))
	p.Env = append(p.Env, extra...)
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	return p
}

// wait returns what a process printed; it must end well.
func (p *process) wait(t testing.TB) string {
	t.Helper()
	require.NoError(t, p.Wait(), p.stderr.String())
	return p.stdout.String()
}

// startUp is how long a process of a group takes to come up under the present load.
func startUp(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"=start")
	require.NoError(t, c.Run())
	return time.Since(began)
}

// shortest is a time-out, in seconds, for groups whose processes are to run into it.
// It grows with the load: all processes must have come before.
func shortest(t testing.TB) int {
	t.Helper()
	return min(5+int((10*startUp(t)).Seconds()), 100)
}

// fails waits for a process to fail, half a minute and more where the machine is
// busy, and returns its message.
func (p *process) fails(t testing.TB) string {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	const tick = 100 * time.Millisecond
	limit := 30*time.Second + 60*startUp(t)
	// Counted, not timed: when the machine stands still, nothing can have ended.
	for waited := time.Duration(0); ; waited += tick {
		select {
		case err := <-ended:
			require.Error(t, err)
			return strings.TrimSpace(p.stderr.String())
		case <-time.After(tick):
			if waited < limit {
				continue
			}
			_ = p.Process.Kill()
			<-ended
			require.FailNow(t, "a process goes on that ought to fail", "for %v: %s", limit, p.stderr.String())
		}
	}
}
