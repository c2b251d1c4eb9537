package train

import (
	"fmt"
	"runtime"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/record"
)

var opSoftmax = torch.NewOp("aten::softmax.int")

// Predictor is a model with all that is needed to name what a picture shows.
type Predictor struct {
	Model  *models.Model
	Card   Card
	Report *checkpoint.Report // how the file met the model

	device    torch.Device
	transform data.Transform
}

// PredictorOptions say what a file does not say itself.
type PredictorOptions struct {
	Model   string   // name of the variant, for a file of another origin
	Classes []string // names of the classes in place of the file's
	Device  string   // "cpu", "cuda"; empty: cuda where it works
}

// OpenPredictor loads weights. A file that this project saved says by itself
// what it is, and so does a HuggingFace folder; for any other checkpoint the
// options must name the variant, and pictures are treated as the published
// recipe does. A published variant of 1,000 classes without names gets
// ImageNet's. The whole model must be in the file.
func OpenPredictor(path string, o PredictorOptions) (*Predictor, error) {
	file, err := checkpoint.Open(path, nil)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	card, err := readCard(file, o.Model)
	if err != nil {
		return nil, err
	}
	if len(o.Classes) > 0 {
		if int64(len(o.Classes)) != card.Config.NumClasses {
			return nil, fmt.Errorf("train: %d class names for %d classes", len(o.Classes), card.Config.NumClasses)
		}
		card.Classes = o.Classes
	}
	if _, published := models.Lookup(card.Config.Name); published && len(card.Classes) == 0 && card.Config.NumClasses == 1000 {
		card.Classes = data.ImageNetClasses() // what the published classifiers were trained on
	}
	p := &Predictor{Card: *card}
	if p.device, err = chooseDevice(o.Device); err != nil {
		return nil, err
	}
	if p.transform, err = evalTransform(card.Preprocess, int(card.Config.InChans)); err != nil {
		return nil, fmt.Errorf("train: %s: %w", path, err)
	}
	if p.Model, err = models.FromConfig(card.Config, gotchnn.NewVarStore(p.device.Gotch()).Root()); err != nil {
		return nil, fmt.Errorf("train: %s: %w", path, err)
	}
	p.Report, err = p.Model.Load(file, nil)
	if err == nil && len(p.Report.Missing)+len(p.Report.Reinitialised) > 0 {
		err = fmt.Errorf("train: %s does not hold the whole model: %s", path, p.Report)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close drops the model.
func (p *Predictor) Close() { dropModel(p.Model) }

func dropModel(m *models.Model) {
	if m == nil {
		return
	}
	for _, t := range m.Tensors() {
		t.Tensor.MustDrop()
	}
}

// Guess is a class and the probability that the model gives it.
type Guess struct {
	Class       int           `json:"class"`
	Name        string        `json:"name"`
	Probability record.Number `json:"probability"`
}

// Predict names what pictures show: for each the k most probable classes, the
// most probable first.
func (p *Predictor) Predict(samples []data.Sample, k int) ([][]Guess, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	channels, height, width := p.transform.Shape()
	size := channels * height * width
	pixels := make([]float32, len(samples)*size)
	for i := range samples {
		if err := p.transform.Apply(pixels[i*size:(i+1)*size], &samples[i], data.NewRand(0)); err != nil {
			return nil, err
		}
	}
	guesses := make([][]Guess, len(samples))
	err := torch.NoGrad(func() error {
		s := torch.NewScope()
		defer s.Close()
		images := p.Upload(s, pixels, int64(len(samples)), int64(channels), int64(height), int64(width))
		logits, err := apply(s, p.Model, images, p.device, gotch.Float)
		if err != nil {
			return err
		}
		classes, probabilities, err := rank(s, s.Op(opSoftmax, logits, -1, nil), int64(k))
		for i := range classes {
			for j, class := range classes[i] {
				guesses[i] = append(guesses[i], Guess{int(class), p.className(int(class)), record.Number(probabilities[i][j])})
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("train: Predict: %w", err)
	}
	return guesses, nil
}

// Upload makes a tensor of that shape where the model is.
func (p *Predictor) Upload(s *torch.Scope, values []float32, shape ...int64) *ts.Tensor {
	return torch.Upload(s, values, p.device, shape...)
}

func (p *Predictor) className(class int) string {
	if class < len(p.Card.Classes) {
		return data.ClassName(p.Card.Classes[class])
	}
	return unnamed(class)
}

// unnamed is what a class without a name is called.
func unnamed(class int) string { return fmt.Sprintf("class %d", class) }
