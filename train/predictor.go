package train

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/sugarme/gotch"
	gotchnn "github.com/sugarme/gotch/nn"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
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

// PredictorOptions say what a file of another origin does not; nil and zero
// values take it from the file.
type PredictorOptions struct {
	Model   string   // name of the variant
	Classes []string // names of the classes
	Device  string   // "cpu", "cuda"; empty: cuda where it works
}

// OpenPredictor loads weights: a file that this package saved says by itself
// what it is; a HuggingFace folder says its model; for any other checkpoint the
// options must name the variant, and pictures are treated as the published
// recipe does.
func OpenPredictor(path string, o PredictorOptions) (*Predictor, error) {
	file, err := checkpoint.Open(path, nil)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p := &Predictor{}
	card, known, err := readCard(file.Metadata)
	if err != nil {
		return nil, fmt.Errorf("train: %s: %w", path, err)
	}
	if !known || o.Model != "" {
		if card, err = foreignCard(path, file, o.Model); err != nil {
			return nil, err
		}
	}
	if len(o.Classes) > 0 {
		if int64(len(o.Classes)) != card.Model.NumClasses {
			return nil, fmt.Errorf("train: %d class names for %d classes", len(o.Classes), card.Model.NumClasses)
		}
		card.Classes = o.Classes
	}
	p.Card = card
	if p.device, err = chooseDevice(o.Device); err != nil {
		return nil, err
	}
	if p.transform, err = card.Preprocessing.Transform(); err != nil {
		return nil, fmt.Errorf("train: %s: %w", path, err)
	}
	if p.Model, err = models.FromConfig(card.Model, gotchnn.NewVarStore(p.device.Gotch()).Root()); err != nil {
		return nil, fmt.Errorf("train: %s: %w", path, err)
	}
	if p.Report, err = LoadWeights(p.Model, file, known); err != nil {
		p.Close()
		return nil, err
	}
	if n := len(p.Report.Missing) + len(p.Report.Reinitialised); n > 0 {
		p.Close()
		return nil, fmt.Errorf("train: %s does not hold the whole model: %s", path, p.Report)
	}
	return p, nil
}

// foreignCard describes a checkpoint that this package did not write.
func foreignCard(path string, file *checkpoint.Checkpoint, name string) (Card, error) {
	if name == "" {
		return Card{}, fmt.Errorf("train: %s does not say which model it is: name it (--model)", path)
	}
	classes := int64(0)
	if head, ok := file.Tensors.Get("head.weight"); ok {
		classes = head.Shape()[0]
	}
	model, err := models.ConfigOf(name, models.With(func(c *models.Config) {
		if classes > 0 {
			c.NumClasses = classes
		}
	}))
	if err != nil {
		return Card{}, err
	}
	c := config.Default()
	c.DataDir = "imagenet"
	input, err := preprocessing(c, &model)
	return Card{Model: model, Preprocessing: input}, err
}

// Close drops the model.
func (p *Predictor) Close() {
	for _, t := range p.Model.Tensors() {
		t.Tensor.MustDrop()
	}
}

// Guess is a class and the probability that the model gives it.
type Guess struct {
	Class       int     `json:"class"`
	Name        string  `json:"name"`
	Probability float64 `json:"probability"`
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
		images := s.Own(torch.FromSlice(pixels, int64(len(samples)), int64(channels), int64(height), int64(width)))
		if !p.device.Is(torch.CPU) {
			images = s.ToDevice(images, p.device, gotch.Float)
		}
		logits, err := apply(s, p.Model, images, p.device, gotch.Float)
		if err != nil {
			return err
		}
		classes, probabilities, err := rank(s, s.Op(opSoftmax, logits, -1, nil), int64(k))
		for i := range classes {
			for j, class := range classes[i] {
				guesses[i] = append(guesses[i], Guess{int(class), p.className(int(class)), probabilities[i][j]})
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("train: Predict: %w", err)
	}
	return guesses, nil
}

func (p *Predictor) className(class int) string {
	if class < len(p.Card.Classes) {
		return p.Card.Classes[class]
	}
	return fmt.Sprintf("class %d", class)
}

// OpenPicture reads an image file for Predict.
func OpenPicture(path string) (data.Sample, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return data.Sample{}, fmt.Errorf("train: picture %s: %w", path, err)
	}
	return data.Sample{Name: path, Encoded: bytes}, nil
}

// Configuration is the run's configuration that the card carries, or the
// published recipe where it has none.
func (c *Card) Configuration() (*config.Config, error) {
	cfg := config.Default()
	if c.Run == nil {
		return cfg, nil
	}
	return cfg, cfg.Read(c.Run) // JSON is YAML
}
