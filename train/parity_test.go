package train_test

import (
	"context"
	"encoding/json"
	"hash/crc32"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/optim"
	"github.com/gonatten/gonatten/train/schedule"
)

// parityNumbers are count numbers in [-1, 1) that belong to a name, as in
// testdata/parity.py.
func parityNumbers(name string, count int) []float64 {
	x, out := crc32.ChecksumIEEE([]byte(name)), make([]float64, count)
	for i := range out {
		x = x*1664525 + 1013904223
		out[i] = float64(x)/(1<<31) - 1
	}
	return out
}

// paritySource yields ten batches over and over.
type paritySource struct{ size, channels, side, classes int }

func (s paritySource) Len() int { return 10 }

func (s paritySource) Epoch(_ context.Context, _, from int) iter.Seq2[*data.Batch, error] {
	return func(yield func(*data.Batch, error) bool) {
		for n := from; n < s.Len(); n++ {
			b := &data.Batch{Number: n, Channels: s.channels, Height: s.side, Width: s.side}
			suffix := string(rune('0' + n))
			for _, v := range parityNumbers("images."+suffix, s.size*s.channels*s.side*s.side) {
				b.Images = append(b.Images, float32(v))
			}
			for _, v := range parityNumbers("labels."+suffix, s.size) {
				b.Labels = append(b.Labels, int64((v+1)*float64(s.classes)/2))
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// inDType computes with images of the model's dtype.
type inDType struct {
	train.Model
	dtype gotch.DType
}

func (m inDType) Apply(images *ts.Tensor, train bool) (*ts.Tensor, error) {
	s := torch.NewScope()
	defer s.Close()
	images = s.To(images, m.dtype)
	if s.Err() != nil {
		return nil, s.Err()
	}
	return m.Model.Apply(images, train)
}

type parityRun struct {
	Losses []float64          `json:"losses"`
	Norms  []float64          `json:"norms"`
	EMA    map[string]float64 `json:"ema"`
}

// fillParity gives the model the weights of testdata/parity.py.
func fillParity(t *testing.T, m *models.Model) {
	t.Helper()
	for _, p := range m.Parameters() {
		info, err := torch.InfoOf(p.Tensor)
		require.NoError(t, err)
		values := make([]float32, info.Numel())
		fan := 1.0
		for _, d := range info.Shape[1:] {
			fan *= float64(d)
		}
		for i, v := range parityNumbers(p.Name, len(values)) {
			switch {
			case strings.Contains(p.Name, "norm") && strings.HasSuffix(p.Name, "weight"):
				v = 1 + 0.1*v
			case len(info.Shape) > 1 && !strings.HasSuffix(p.Name, "rpb"):
				v = math.Sqrt(1/fan) * v
			default:
				v = 0.1 * v
			}
			values[i] = float32(v)
		}
		s := torch.NewScope()
		require.NoError(t, torch.NoGrad(func() error {
			s.Copy(p.Tensor, s.Own(torch.FromSlice(values, info.Shape...)))
			return s.Err()
		}))
		s.Close()
	}
}

// TestParityWithPyTorch trains 50 steps beside a plain PyTorch loop over the
// same weights, pictures and settings (testdata/parity.py): losses, norms of
// gradients, averaged weights. In float64 what differs is only rounding; in
// float32 rounding grows with the steps.
func TestParityWithPyTorch(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "parity.json"))
	require.NoError(t, err)
	var want map[string]parityRun
	require.NoError(t, json.Unmarshal(text, &want))
	for name, c := range map[string]struct {
		dtype     gotch.DType
		tolerance float64
	}{"float64": {gotch.Double, 1e-9}, "float32": {gotch.Float, 1e-5}} {
		t.Run(name, func(t *testing.T) {
			m, err := models.FromConfig(models.Config{
				Family: models.DiNAT, ImageSize: 32, NumClasses: 10, EmbedDim: 32, Depths: []int64{2, 2}, NumHeads: []int64{1, 2},
				KernelSize: 3, Dilations: [][]int64{{1, 2}, {1, 1}}, MLPRatio: 2,
			}, gotchnn.NewVarStore(gotch.CPU).Root())
			require.NoError(t, err)
			defer func() {
				for _, p := range m.Tensors() {
					p.Tensor.MustDrop()
				}
			}()
			fillParity(t, m)
			require.NoError(t, m.ToDType(c.dtype))
			lr, err := schedule.New(schedule.Settings{Name: "cosine", LR: 1e-3, MinLR: 5e-6, WarmupLR: 1e-6, Warmup: 5, Steps: 50})
			require.NoError(t, err)
			l := modelLoop(t, m, paritySource{size: 8, channels: 3, side: 32, classes: 10})
			l.Model, l.Schedule, l.Epochs, l.ClipNorm = inDType{m, c.dtype}, lr, 5, 1
			l.Loss = func(s *torch.Scope, logits, labels *ts.Tensor) *ts.Tensor { return s.CrossEntropy(logits, labels, 0.1) }
			l.EMA, err = optim.NewEMA(parametersOf(m), 0.99, false)
			require.NoError(t, err)
			defer l.EMA.Close()
			var got parityRun
			l.On(train.StepEnd, func(context.Context, *train.Loop) error {
				norm, err := torch.Scalar(l.State.GradNorm)
				got.Losses, got.Norms = append(got.Losses, l.State.Loss), append(got.Norms, norm)
				return err
			})
			require.NoError(t, l.Run(context.Background()))
			w := want[name]
			require.Len(t, got.Losses, 50)
			worst := 0.0
			for i := range got.Losses {
				worst = max(worst, math.Abs(got.Losses[i]-w.Losses[i])/w.Losses[i])
			}
			t.Logf("losses agree to %.1e relative", worst)
			for i := range got.Losses {
				require.InEpsilon(t, w.Losses[i], got.Losses[i], c.tolerance, "loss of step %d", i)
				require.InEpsilon(t, w.Norms[i], got.Norms[i], 100*c.tolerance, "norm of step %d", i)
			}
			require.Less(t, got.Losses[49], 0.8*got.Losses[0], "it learns")
			for _, p := range l.EMA.Parameters() {
				v, err := torch.Slice[float64](p.Tensor)
				require.NoError(t, err)
				sum := 0.0
				for _, x := range v {
					sum += x * x
				}
				require.InEpsilon(t, w.EMA[p.Name], math.Sqrt(sum), 10*c.tolerance, p.Name)
			}
		})
	}
}
