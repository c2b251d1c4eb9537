package train_test

import (
	"context"
	"flag"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/dist"
	"github.com/gonatten/gonatten/train/optim"
)

var (
	stepModel = flag.String("step-model", "nat_nano_28", "model that BenchmarkStep trains")
	stepBatch = flag.Int64("step-batch", 32, "its images per step")
	stepAMP   = flag.Bool("step-amp", true, "mixed precision (float16)")
)

// One training step on a batch that lies on the device: what a step takes, and
// how much of that passes until the host has handed the work of each part over.
// Where the device is slower than the host, the rest is waiting for it. Started by
// torchrun, the processes train one model, and images/s are those of all.
//
//	go test ./train -run - -bench Step -step-model nat_tiny -step-batch 128
func BenchmarkStep(b *testing.B) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	environment, err := dist.FromEnvironment(os.Getenv)
	require.NoError(b, err)
	device := torch.CPU
	if functional.HasCUDA() {
		device = torch.CUDAIndex(environment.LocalRank)
		require.NoError(b, device.Use())
	}
	vs := gotchnn.NewVarStore(device.Gotch())
	m, err := models.New(*stepModel, vs.Root())
	require.NoError(b, err)
	var parameters []optim.Parameter
	for _, t := range m.Trainable() {
		parameters = append(parameters, optim.Parameter(t))
	}
	groups, err := optim.Groups(parameters, optim.Grouping{WeightDecay: 0.05})
	require.NoError(b, err)
	o, err := optim.New("adamw", groups, optim.Options{})
	require.NoError(b, err)
	defer o.Close()
	var replica *dist.Replica
	if environment.World > 1 {
		group, err := dist.Join(context.Background(), environment, time.Minute, device.Gotch())
		require.NoError(b, err)
		defer group.Close()
		replica, err = dist.NewReplica(group, optim.Tensors(parameters), parameters, 25<<20, nil)
		require.NoError(b, err)
		defer replica.Close()
	}
	data := torch.NewScope()
	defer data.Close()
	side := m.Config.ImageSize
	images := data.Randn([]int64{*stepBatch, m.Config.InChans, side, side}, gotch.Float, device)
	labels := data.Zeros([]int64{*stepBatch}, gotch.Int64, device)
	require.NoError(b, data.Err())
	loss := train.CrossEntropy(0.1)

	var parts [4]time.Duration // forward, backward, optimizer, waiting
	step := func() {
		s := torch.NewScope()
		defer s.Close()
		last := time.Now()
		lap := func(i int) {
			now := time.Now()
			parts[i] += now.Sub(last)
			last = now
		}
		if replica != nil {
			require.NoError(b, replica.Forward(true))
		}
		var value *ts.Tensor
		forward := func() error {
			value = loss(s, s.Own(m.Apply(images, true)), labels)
			return s.Err()
		}
		if *stepAMP {
			require.NoError(b, torch.Autocast(device, gotch.Half, forward))
		} else {
			require.NoError(b, forward())
		}
		lap(0)
		require.NoError(b, torch.Backward(s.MulScalar(value, 1024)))
		lap(1)
		if replica != nil {
			require.NoError(b, replica.Backward(nil))
		}
		lap(3)
		require.NoError(b, o.Step(0))
		require.NoError(b, o.ZeroGrad())
		lap(2)
		_, err := torch.Scalar(value)
		require.NoError(b, err)
		lap(3)
	}
	for range 3 {
		step()
	}
	parts = [4]time.Duration{}
	b.ResetTimer()
	for b.Loop() {
		step()
	}
	n := float64(b.N)
	for i, name := range []string{"forward-ms", "backward-ms", "optimizer-ms", "waiting-ms"} {
		b.ReportMetric(parts[i].Seconds()*1e3/n, name)
	}
	b.ReportMetric(float64(environment.World)*float64(*stepBatch)*n/b.Elapsed().Seconds(), "images/s")
}
