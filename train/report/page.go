package report

import (
	_ "embed" // page.html
	"fmt"
	"html/template"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot/plotter"

	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/progress"
	"github.com/gonatten/gonatten/train/record"
)

//go:embed page.html
var pageHTML string

var layout = template.Must(template.New("page").Funcs(template.FuncMap{
	"percent": func(x float64) string { return fmt.Sprintf("%.2f%%", x) },
	"whole":   func(x float64) string { return fmt.Sprintf("%.0f", x) },
	"one":     func(x float64) string { return fmt.Sprintf("%.1f", x) },
}).Parse(pageHTML))

// page is what the layout shows.
type page struct {
	Title, Subtitle string
	State           string // what became of the run
	Facts           []Fact
	Charts          []Chart

	Evaluated  *train.Evaluation // nil where the pictures were not looked at
	NoPictures string            // why
	Matrix     bool
	Numbers    bool
	Classes    []ClassRow
	Pairs      []Pair
	Mistakes   []Picture

	Sections []Section
}

// Fact is a figure at the top of the page.
type Fact struct{ Value, Unit, Name, Note string }

// Chart is a drawn chart and its legend.
type Chart struct {
	Title  string
	Legend []Legend
	Body   template.HTML
}

// Legend is a line's entry.
type Legend struct{ Name, Style string }

// Section is a part of the configuration.
type Section struct {
	Name string
	Keys []Setting
}

// Setting is a key of the configuration; Own where it is not the default.
type Setting struct {
	Key, Value, Help string
	Own              bool
}

func newPage(r *run) *page {
	source := r.Config.Dataset
	if source == "" {
		source = filepath.Base(filepath.Clean(r.Config.DataDir))
	}
	p := &page{Title: r.Config.Model + " on " + source, Subtitle: filepath.Base(r.Folder)}
	p.addState(r)
	p.addFacts(r)
	p.addCharts(r.Rows, stepsPerEpoch(r.Rows))
	p.addConfiguration(r.Config)
	return p
}

func (p *page) addState(r *run) {
	when := ""
	if n := len(r.Rows); n > 0 {
		if t, err := time.Parse(time.RFC3339, r.Rows[n-1].Time); err == nil {
			when = t.Format("2 January 2006, 15:04 UTC")
		}
	}
	switch s := r.Summary; {
	case s == nil:
		p.State = "has not ended"
	case s.Interrupted:
		p.State = fmt.Sprintf("stopped after %d steps", s.Steps)
	case s.StopReason != "":
		p.State = fmt.Sprintf("ended after %d steps: %s", s.Steps, s.StopReason)
	default:
		p.State = fmt.Sprintf("%d epochs, %d steps", s.Epochs, s.Steps)
	}
	if when != "" {
		p.State += " · " + when
	}
}

func (p *page) addFacts(r *run) {
	fact := func(value, unit, name, note string) { p.Facts = append(p.Facts, Fact{value, unit, name, note}) }
	best, peak := record.Row{}, int64(0)
	var speeds []float64
	flops := 0.0
	for _, row := range r.Rows {
		peak = max(peak, row.ResidentBytes)
		switch {
		case row.Kind == "eval" && row.Top1 > best.Top1:
			best = row
		case row.Kind == "train":
			speeds = append(speeds, float64(row.ImagesPerSecond))
			flops = max(flops, float64(row.FLOPsPerSecond/max(row.ImagesPerSecond, 1e-9)))
		}
	}
	if best.Top1 > 0 {
		fact(fmt.Sprintf("%.2f", float64(best.Top1)), "%", "top-1 accuracy", reached(&best))
		fact(fmt.Sprintf("%.2f", float64(best.Top5)), "%", "top-5 accuracy", fmt.Sprintf("loss %.4f", float64(best.Loss)))
	}
	if len(speeds) > 0 {
		slices.Sort(speeds)
		speed := speeds[len(speeds)/2]
		note := ""
		if flops > 0 {
			note = progress.Rate(speed * flops)
		}
		fact(fmt.Sprintf("%.4g", speed), "images/s", "training speed", note)
	}
	if s := r.Summary; s != nil {
		fact(short(float64(s.Parameters)), "", "parameters", s.Model)
		fact(progress.Duration(time.Duration(s.Seconds*float64(time.Second))), "", "in all", "evaluation included")
	}
	if peak > 0 {
		value, unit, _ := strings.Cut(progress.Bytes(peak), " ")
		fact(value, unit, "memory", "largest seen")
	}
}

// reached says how far a run had come at an evaluation.
func reached(r *record.Row) string {
	if r.Partial {
		return fmt.Sprintf("after step %d", r.Step)
	}
	return fmt.Sprintf("after epoch %d", r.Epoch+1)
}

// stepsPerEpoch is what the rows tell: an evaluation's step is a multiple of it.
func stepsPerEpoch(rows []record.Row) float64 {
	for _, r := range rows {
		if r.Kind == "eval" && !r.Partial && r.Epoch >= 0 && r.Step%(r.Epoch+1) == 0 && r.Step > 0 {
			return float64(r.Step) / float64(r.Epoch+1)
		}
	}
	most := 1
	for _, r := range rows {
		if r.Epoch == 0 {
			most = max(most, r.Step)
		}
	}
	return float64(most)
}

func (p *page) addCharts(rows []record.Row, perEpoch float64) {
	of := func(kind string, value func(record.Row) record.Number) plotter.XYs {
		return record.Points(rows, kind, perEpoch, value)
	}
	loss := of("train", func(r record.Row) record.Number { return r.Loss })
	evalLoss := of("eval", func(r record.Row) record.Number { return r.Loss })
	speed := of("train", func(r record.Row) record.Number { return r.ImagesPerSecond })
	p.chart(chart{"Loss", "", []series{{"", "a faint", loss, false}, {"training", "a", record.Smooth(loss), false}, {"evaluation", "b", evalLoss, true}}})
	p.chart(chart{"Accuracy, %", "%", []series{
		{"top-1", "a", of("eval", func(r record.Row) record.Number { return r.Top1 }), true},
		{"top-5", "b", of("eval", func(r record.Row) record.Number { return r.Top5 }), true}}})
	p.chart(chart{"Learning rate", "", []series{{"", "a", of("train", func(r record.Row) record.Number { return r.LR }), false}}})
	p.chart(chart{"Images per second, training", "", []series{{"", "a faint", speed, false}, {"", "a", record.Smooth(speed), false}}})
}

func (p *page) chart(c chart) {
	drawn := Chart{Title: c.title, Body: c.draw()}
	if drawn.Body == "" {
		return
	}
	for _, s := range c.series {
		if s.name != "" && len(s.points) > 0 {
			drawn.Legend = append(drawn.Legend, Legend{s.name, s.style})
		}
	}
	p.Charts = append(p.Charts, drawn)
}

func (p *page) addConfiguration(c *config.Config) {
	defaults := config.Default()
	for _, f := range config.Fields() {
		if n := len(p.Sections); n == 0 || p.Sections[n-1].Name != f.Section {
			p.Sections = append(p.Sections, Section{Name: f.Section})
		}
		s := &p.Sections[len(p.Sections)-1]
		s.Keys = append(s.Keys, Setting{f.Key, c.Get(f.Key), f.Help, c.Get(f.Key) != defaults.Get(f.Key)})
	}
}
