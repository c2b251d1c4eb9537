package report

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"html/template"
	"image/jpeg"
	"image/png"
	"math"
	"slices"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/train"
)

// evidence is what an evaluation shows picture by picture.
type evidence struct {
	images int
	counts [][]int // counts[label][guess]
	worst  []mistake
	keep   int
}

// mistake is a picture whose label is not the most probable class.
type mistake struct {
	index        int // in the dataset
	label, guess int
	loss         float64 // -log of the probability that the label got
}

func newEvidence(classes, keep int) *evidence {
	e := &evidence{counts: make([][]int, classes), keep: keep}
	for i := range e.counts {
		e.counts[i] = make([]int, classes)
	}
	return e
}

func (e *evidence) add(b *data.Batch, ranked [][]int64, losses []float64) {
	for i, label := range b.Labels {
		if b.Replaced(i) {
			continue
		}
		guess := int(ranked[i][0])
		e.images++
		if int(label) >= len(e.counts) || guess >= len(e.counts) {
			continue // a model with more classes than the data
		}
		e.counts[label][guess]++
		if guess != int(label) {
			e.worst = append(e.worst, mistake{b.Indices[i], int(label), guess, losses[i]})
		}
	}
	if len(e.worst) > 4*e.keep {
		e.trim()
	}
}

// trim keeps the mistakes of highest loss, the highest first.
func (e *evidence) trim() {
	slices.SortStableFunc(e.worst, func(a, b mistake) int { return cmp.Compare(b.loss, a.loss) })
	e.worst = e.worst[:min(len(e.worst), e.keep)]
}

// Cell is one entry of the confusion matrix. Share is of its row.
type Cell struct {
	Count int
	Share float64
	Right bool
	Dark  bool // its colour is, so that the number must be light
	Style template.CSS
	Hint  string
}

// ClassRow is a class's line of the matrix and its rates, in percent.
type ClassRow struct {
	Name              string
	Images            int
	Recall, Precision float64
	Cells             []Cell
}

// Pair is two classes that are taken for each other.
type Pair struct {
	Label, Guess string
	Count        int
	Share        float64 // percent of the label's pictures
}

// The sizes up to which a matrix is drawn and has numbers in it.
const (
	maxMatrix  = 60
	maxNumbers = 20
)

func (p *page) addEvidence(e *evidence, classes []string, result *train.Evaluation) {
	p.Evaluated = result
	highest := 0.0 // share of a mistake, for the scale of colours
	guessed := make([]int, len(classes))
	totals := make([]int, len(classes))
	for i, row := range e.counts {
		for j, n := range row {
			guessed[j] += n
			totals[i] += n
		}
		for j, n := range row {
			if i != j && n > 0 {
				share := float64(n) / float64(totals[i])
				highest = max(highest, share)
				p.Pairs = append(p.Pairs, Pair{classes[i], classes[j], n, 100 * share})
			}
		}
	}
	slices.SortStableFunc(p.Pairs, func(a, b Pair) int { return b.Count - a.Count })
	p.Pairs = p.Pairs[:min(len(p.Pairs), 10)]
	var seen []int // classes that have pictures or were guessed: a model may know many more
	for i := range classes {
		if totals[i]+guessed[i] > 0 {
			seen = append(seen, i)
		}
	}
	p.Matrix, p.Numbers = len(seen) <= maxMatrix, len(seen) <= maxNumbers
	for _, i := range seen {
		row := e.counts[i]
		line := ClassRow{Name: classes[i], Images: totals[i], Recall: percent(row[i], totals[i]), Precision: percent(row[i], guessed[i])}
		for _, j := range seen {
			n := row[j]
			c := Cell{Count: n, Share: percent(n, totals[i]), Right: i == j,
				Hint: fmt.Sprintf("%s taken for %s: %d of %d", classes[i], classes[j], n, totals[i])}
			strength := c.Share / 100
			if !c.Right {
				strength = 0.85 * math.Sqrt(strength/max(highest, 1e-9))
			}
			c.Dark = strength > 0.55
			c.Style = template.CSS(fmt.Sprintf("--v:%.0f%%", 100*strength))
			line.Cells = append(line.Cells, c)
		}
		p.Classes = append(p.Classes, line)
	}
	if !p.Matrix { // the classes that are recognised least
		slices.SortStableFunc(p.Classes, func(a, b ClassRow) int { return cmp.Compare(a.Recall, b.Recall) })
		p.Classes = p.Classes[:min(len(p.Classes), 20)]
	}
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// Picture is a mistake to look at.
type Picture struct {
	Source       template.URL
	Label, Guess string
	Belief       string // probability that the label got
	Small        bool
}

// addPictures embeds the worst mistakes as the model saw them.
func (p *page) addPictures(e *evidence, ds data.Dataset, model *train.Predictor) error {
	e.trim()
	for _, m := range e.worst {
		sample, err := ds.Sample(m.index)
		if err != nil {
			return err
		}
		view, err := model.Picture(&sample)
		if err != nil {
			return err
		}
		var file bytes.Buffer
		kind := "png"
		small := view.Bounds().Dx() <= 64
		if small {
			err = png.Encode(&file, view)
		} else {
			kind = "jpeg"
			err = jpeg.Encode(&file, view, &jpeg.Options{Quality: 85})
		}
		if err != nil {
			return err
		}
		p.Mistakes = append(p.Mistakes, Picture{
			Source: template.URL("data:image/" + kind + ";base64," + base64.StdEncoding.EncodeToString(file.Bytes())),
			Label:  ds.Classes()[m.label], Guess: ds.Classes()[m.guess], Belief: belief(math.Exp(-m.loss)), Small: small,
		})
	}
	return nil
}

// belief writes a small probability: 12%, 0.3%, 1e-5.
func belief(x float64) string {
	switch {
	case x >= 0.01:
		return fmt.Sprintf("%.0f%%", 100*x)
	case x >= 0.0001:
		return fmt.Sprintf("%.2f%%", 100*x)
	}
	return fmt.Sprintf("%.0e", x)
}
