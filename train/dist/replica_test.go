package dist_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
	"github.com/gonatten/gonatten/train/optim"
)

// outcome is what a process of the role "step" prints.
type outcome struct {
	Gradients  [][]float64
	Weights    [][]float64
	Reductions int
}

var shapes = [][]int64{{12, 16}, {12}, {3, 12}}

// computeSteps trains a two-layer network for two steps on rows first, first +
// stride, ... of 24 samples, in so many batches per step, and returns the last
// gradients and weights.
func computeSteps(device torch.Device, first, stride, batches int, peers func([]optim.Parameter) (*dist.Replica, func(string) bool, error)) (o outcome, err error) {
	s := torch.NewScope()
	defer s.Close()
	var parameters []optim.Parameter
	for i, shape := range shapes {
		n := int64(1)
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for j := range values {
			values[j] = float32(math.Sin(float64(1+i+first) + 0.37*float64(j))) // differs per rank until rank 0's are handed out
		}
		p := torch.Upload(s, values, device, shape...)
		s.RequiresGrad(p, true)
		parameters = append(parameters, optim.Parameter{Name: fmt.Sprint("p", i), Tensor: p})
	}
	replica, owned, err := peers(parameters)
	if err != nil {
		return o, err
	}
	opt, err := optim.New("adamw", []optim.Group{{Parameters: parameters, WeightDecay: 0.05}}, optim.Options{Owned: owned})
	if err != nil {
		return o, err
	}
	defer opt.Close()
	for step := range 2 {
		for b := range batches {
			if replica != nil {
				if err := replica.Forward(b == batches-1); err != nil {
					return o, err
				}
			}
			err := backward(device, parameters, step, first, stride, b, batches)
			if replica != nil {
				err = replica.Backward(err)
			}
			if err != nil {
				return o, err
			}
		}
		o.Gradients = nil
		for _, p := range parameters {
			g, err := torch.Grad(p.Tensor)
			if err != nil {
				return o, err
			}
			v, err := torch.Slice[float64](g)
			g.MustDrop()
			if err != nil {
				return o, err
			}
			o.Gradients = append(o.Gradients, v)
		}
		if err := opt.Step(0.01); err != nil {
			return o, err
		}
		if err := opt.ZeroGrad(); err != nil {
			return o, err
		}
		if replica != nil {
			if err := replica.Updated(); err != nil {
				return o, err
			}
		}
	}
	for _, p := range parameters {
		v, err := torch.Slice[float64](p.Tensor)
		if err != nil {
			return o, err
		}
		o.Weights = append(o.Weights, v)
	}
	return o, nil
}

// backward adds the gradients of batch b, a share of this process's samples.
func backward(device torch.Device, parameters []optim.Parameter, step, first, stride, b, batches int) error {
	const samples = 24
	var rows []float32
	n := int64(0)
	share := samples / stride / batches
	for i := b * share; i < (b+1)*share; i++ {
		for j := range 16 {
			rows = append(rows, float32(math.Cos(float64(step)+1.3*float64(first+i*stride)+0.7*float64(j))))
		}
		n++
	}
	s := torch.NewScope()
	defer s.Close()
	x := torch.Upload(s, rows, device, n, 16)
	var w []*ts.Tensor
	for _, p := range parameters {
		w = append(w, p.Tensor)
	}
	h := s.GELU(s.Linear(x, w[0], w[1]))
	y := s.Linear(h, w[2], nil)
	loss := s.Op(opMean, s.Op(opSquare, y))
	if batches > 1 {
		loss = s.MulScalar(loss, 1/float64(batches))
	}
	if s.Err() != nil {
		return s.Err()
	}
	return torch.Backward(loss)
}

var (
	opMean   = torch.NewOp("aten::mean")
	opSquare = torch.NewOp("aten::square")
)

func init() {
	roles["step"] = func(e dist.Environment) error {
		g, err := join(e, time.Minute)
		if err != nil {
			return err
		}
		defer g.Close()
		batches, err := strconv.Atoi(os.Getenv("DIST_TEST_BATCHES"))
		if err != nil {
			return err
		}
		var replica *dist.Replica
		o, err := computeSteps(deviceOf(e), e.Rank, e.World, batches, func(parameters []optim.Parameter) (*dist.Replica, func(string) bool, error) {
			var owners map[string]int
			var owned func(string) bool
			if os.Getenv("DIST_TEST_ZERO") != "" {
				if owners, err = dist.Owners(parameters, e.World); err != nil {
					return nil, nil, err
				}
				owned = func(name string) bool { return owners[name] == e.Rank }
			}
			replica, err = dist.NewReplica(g, optim.Tensors(parameters), parameters, 1<<20, owners)
			return replica, owned, err
		})
		if err != nil {
			return err
		}
		o.Reductions = g.Reductions()
		if err := replica.Close(); err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(o)
	}
}

// TestEqualsOneProcess: 2 and 4 processes have the gradients of one that sees the
// whole batch, also with batches added up, and also with sharded optimizer state;
// the gradients travel once per step. TORCHRUN names a torchrun to start them.
func TestEqualsOneProcess(t *testing.T) {
	want, err := computeSteps(deviceOf(dist.Environment{}), 0, 1, 1, func([]optim.Parameter) (*dist.Replica, func(string) bool, error) { return nil, nil, nil })
	require.NoError(t, err)
	for _, c := range []struct{ world, batches, zero int }{{2, 1, 0}, {4, 1, 0}, {2, 3, 1}} {
		c.world = atMost(t, c.world)
		extra := []string{fmt.Sprint("DIST_TEST_BATCHES=", c.batches)}
		if c.zero > 0 {
			extra = append(extra, "DIST_TEST_ZERO=1")
		}
		var texts []string
		if torchrun := os.Getenv("TORCHRUN"); torchrun != "" {
			job := exec.Command(torchrun, "--no-python", "--standalone", fmt.Sprint("--nproc-per-node=", c.world), os.Args[0])
			job.Env = append(append(os.Environ(), roleVariable+"=step"), extra...)
			out, err := job.Output()
			require.NoError(t, err)
			texts = strings.Split(strings.TrimSpace(string(out)), "\n")
		} else {
			for _, p := range launch(t, c.world, "step", extra...) {
				texts = append(texts, p.wait(t))
			}
		}
		require.Len(t, texts, c.world)
		most := 0.0
		for _, text := range texts {
			var got outcome
			require.NoError(t, json.Unmarshal([]byte(text), &got), text)
			require.Equal(t, 2, got.Reductions, "one bucket in each of two steps")
			for i := range shapes {
				require.InDeltaSlice(t, want.Gradients[i], got.Gradients[i], 1e-6, "%+v", c)
				require.InDeltaSlice(t, want.Weights[i], got.Weights[i], 1e-6, "%+v", c)
				for j, g := range want.Gradients[i] {
					most = max(most, math.Abs(g-got.Gradients[i][j]))
				}
			}
		}
		t.Logf("%+v: gradients differ by at most %.1e", c, most)
	}
}

func TestOwners(t *testing.T) {
	s := torch.NewScope()
	defer s.Close()
	var parameters []optim.Parameter
	for i, n := range []int64{8, 1, 5, 4, 2} {
		parameters = append(parameters, optim.Parameter{Name: fmt.Sprint(i), Tensor: s.Own(torch.FromSlice(make([]float32, n), n))})
	}
	require.NoError(t, s.Err())
	owners, err := dist.Owners(parameters, 2)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"0": 0, "2": 1, "3": 1, "4": 0, "1": 1}, owners)
}
