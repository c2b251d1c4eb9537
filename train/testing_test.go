package train_test

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/optim"
)

// linear is the smallest model: one layer on flattened images.
type linear struct {
	layer  *nn.Linear
	params []optim.Parameter
}

func newLinear(t testing.TB, in, out int64, seed uint64) *linear {
	t.Helper()
	require.NoError(t, torch.ManualSeed(seed))
	layer, err := nn.NewLinear(gotchnn.NewVarStore(device.Gotch()).Root(), in, out, nn.LinearConfig{})
	require.NoError(t, err)
	m := &linear{layer, []optim.Parameter{{Name: "weight", Tensor: layer.Weight}, {Name: "bias", Tensor: layer.Bias}}}
	t.Cleanup(func() {
		for _, p := range m.params {
			p.Tensor.MustDrop()
		}
	})
	return m
}

func (m *linear) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	s := torch.NewScope()
	defer s.Close()
	return s.Return(s.Own(m.layer.Apply(s.Flatten(x, 1, -1), train)))
}

func (m *linear) weights(t testing.TB) []float32 {
	t.Helper()
	v, err := torch.Slice[float32](m.layer.Weight)
	require.NoError(t, err)
	return v
}

// blobs is a dataset of 8x8 gray pictures whose class shows in which quarter is
// bright.
func blobs(t testing.TB, n int) *data.Memory {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	pix, labels := make([]uint8, n*64), make([]uint8, n)
	for i := range n {
		labels[i] = uint8(i % 4)
		for y := range 8 {
			for x := range 8 {
				v := 40 + rng.IntN(60)
				if y/4*2+x/4 == i%4 {
					v += 100
				}
				pix[i*64+y*8+x] = uint8(v)
			}
		}
	}
	m, err := data.NewMemory("blobs", pix, 8, 8, 1, labels, []string{"a", "b", "c", "d"})
	require.NoError(t, err)
	return m
}

// plain normalises pixels to [-1, 1].
type plain struct{}

func (plain) Shape() (int, int, int) { return 1, 8, 8 }

func (plain) Apply(dst []float32, s *data.Sample, _ *rand.Rand) error {
	for i, v := range s.Pixels.Pix {
		dst[i] = float32(v)/127.5 - 1
	}
	return nil
}

func loader(t testing.TB, ds data.Dataset, o data.LoaderOptions) *data.Loader {
	t.Helper()
	l, err := data.NewLoader(ds, plain{}, o)
	require.NoError(t, err)
	return l
}

// newLoop is a loop over blobs with AdamW at a constant rate.
func newLoop(t testing.TB, m *linear, source train.Source) *train.Loop {
	t.Helper()
	opt, err := optim.New("adamw", []optim.Group{{Parameters: m.params, WeightDecay: 0.05}}, optim.Options{})
	require.NoError(t, err)
	t.Cleanup(opt.Close)
	return &train.Loop{
		Model: m, Optimizer: opt, Source: source, Loss: train.CrossEntropy(0.1),
		Schedule: func(int) float64 { return 0.01 }, Epochs: 1, Device: device,
	}
}

// imageFolder writes PNG pictures of a few colours: dir/train/CLASS, dir/val/CLASS.
func imageFolder(t testing.TB, size, trainImages, valImages int) string {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	for split, n := range map[string]int{"train": trainImages, "val": valImages} {
		for class, base := range map[string]color.NRGBA{"red one": {R: 200, A: 255}, "green": {G: 200, A: 255}, "blue": {B: 200, A: 255}} {
			folder := filepath.Join(dir, split, class)
			require.NoError(t, os.MkdirAll(folder, 0o755))
			for i := range n {
				m := image.NewNRGBA(image.Rect(0, 0, size, size))
				for k := range m.Pix {
					m.Pix[k] = uint8(rng.IntN(56)) + []uint8{base.R, base.G, base.B, base.A - 55}[k%4]
				}
				f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%d.png", i)))
				require.NoError(t, err)
				require.NoError(t, png.Encode(f, m))
				require.NoError(t, f.Close())
			}
		}
	}
	return dir
}
