// Package chart draws the reports of package flops. It is a package of its own
// so that counting does not bring the plotting library along.
package chart

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/plotfile"
)

// palette is Okabe and Ito's, told apart by colour-blind readers too.
var palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff},
	{0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
}

// Bar is a line of a bar chart: MACs and FLOPs of something.
type Bar struct {
	Name        string
	MACs, FLOPs int64
}

// ByOperator is a bar for each operator that computes anything.
func ByOperator(r *flops.Report) []Bar {
	var bars []Bar
	for _, op := range r.Operators {
		if op.MACs != 0 || op.FLOPs != 0 {
			bars = append(bars, Bar{op.Name, op.MACs, op.FLOPs})
		}
	}
	return bars
}

// ByModule is a bar for each module at that depth of the tree (1: the model's
// own modules), and for leaves above it.
func ByModule(r *flops.Report, depth int) []Bar {
	var bars []Bar
	var walk func(m *flops.Module, level int)
	walk = func(m *flops.Module, level int) {
		if level == depth || len(m.Children) == 0 {
			bars = append(bars, Bar{m.Name, m.MACs, m.FLOPs})
			return
		}
		for _, child := range m.Children {
			walk(child, level+1)
		}
	}
	walk(r.Root, 0)
	return bars
}

// Bars writes a bar chart of MACs and half the FLOPs (so that a bare product
// has bars of equal length) to a file; its ending says the format: .png, .svg
// or .pdf.
func Bars(file, title string, bars []Bar) error {
	if len(bars) == 0 {
		return fmt.Errorf("flops/chart: Bars: there is nothing to draw")
	}
	p := plot.New()
	p.Title.Text = title
	unit, prefix := scale(largest(bars))
	p.X.Label.Text = prefix
	names := make([]string, len(bars))
	values := [2]plotter.Values{make(plotter.Values, len(bars)), make(plotter.Values, len(bars))}
	for i, bar := range bars {
		row := len(bars) - 1 - i // the first on top
		names[row] = bar.Name
		values[0][row], values[1][row] = float64(bar.MACs)/unit, float64(bar.FLOPs)/2/unit
	}
	const width = 9 * vg.Millimeter / 2
	for i, label := range []string{"MACs", "FLOPs / 2"} {
		chart, err := plotter.NewBarChart(values[i], width)
		if err != nil {
			return fmt.Errorf("flops/chart: Bars: %w", err)
		}
		chart.Horizontal = true
		chart.LineStyle.Width = 0
		chart.Color = palette[i]
		chart.Offset = width * vg.Length(0.5-float64(i))
		p.Add(chart)
		p.Legend.Add(label, chart)
	}
	p.Legend.Top = false
	p.NominalY(names...)
	height := vg.Length(len(bars))*12*vg.Millimeter + 30*vg.Millimeter
	if err := plotfile.Save(p, 200*vg.Millimeter, height, file); err != nil {
		return fmt.Errorf("flops/chart: Bars: %w", err)
	}
	return nil
}

func largest(bars []Bar) float64 {
	most := 1.0
	for _, b := range bars {
		most = max(most, float64(b.MACs), float64(b.FLOPs)/2)
	}
	return most
}

// scale is a unit for values up to that, and its name.
func scale(most float64) (unit float64, name string) {
	prefixes := []string{"", "k", "M", "G", "T", "P", "E"}
	i := min(max(int(math.Log10(most)/3), 0), len(prefixes)-1)
	return math.Pow(1000, float64(i)), prefixes[i]
}

// Line is one curve of a line chart.
type Line struct {
	Name string
	X, Y []float64
}

// Lines writes curves to a file with a logarithmic y axis.
func Lines(file, title, x, y string, lines []Line) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.X.Tick.Marker = ticksAt(lines)
	p.Add(plotter.NewGrid())
	for i, line := range lines {
		points := make(plotter.XYs, 0, len(line.X))
		for j := range line.X {
			if line.Y[j] > 0 { // a logarithm has no zero
				points = append(points, plotter.XY{X: line.X[j], Y: line.Y[j]})
			}
		}
		if len(points) == 0 {
			continue
		}
		curve, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return fmt.Errorf("flops/chart: Lines: %s: %w", line.Name, err)
		}
		curve.Color, dots.Color = palette[i%len(palette)], palette[i%len(palette)]
		curve.Width = vg.Points(1.5)
		p.Add(curve, dots)
		p.Legend.Add(line.Name, curve, dots)
	}
	if err := plotfile.Save(p, 180*vg.Millimeter, 120*vg.Millimeter, file); err != nil {
		return fmt.Errorf("flops/chart: Lines: %w", err)
	}
	return nil
}

// ticksAt marks the places where the lines have points.
func ticksAt(lines []Line) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	seen := map[float64]bool{}
	for _, line := range lines {
		for _, x := range line.X {
			if !seen[x] {
				seen[x] = true
				ticks = append(ticks, plot.Tick{Value: x, Label: fmt.Sprintf("%.4g", x)})
			}
		}
	}
	return ticks
}
