package record

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

var (
	blue   = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	faint  = color.NRGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0x50}
	orange = color.RGBA{R: 0xff, G: 0x7f, B: 0x0e, A: 0xff}
	green  = color.RGBA{R: 0x2c, G: 0xa0, B: 0x2c, A: 0xff}
)

// SaveCurve draws loss and accuracy against the epoch as a PNG, side by side,
// and writes it whole or not at all. epochSteps is the number of steps in an
// epoch. Rows that are not numbers are left out.
func SaveCurve(path, title string, rows []Row, epochSteps int) error {
	loss, err := lossPlot(rows, float64(max(epochSteps, 1)))
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	accuracy, err := accuracyPlot(rows, float64(max(epochSteps, 1)))
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	loss.Title.Text = title
	const width, height = 24 * vg.Centimeter, 10 * vg.Centimeter
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(110))
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Centimeter, PadTop: vg.Millimeter * 3, PadBottom: vg.Millimeter * 3,
		PadLeft: vg.Millimeter * 3, PadRight: vg.Millimeter * 5}
	area := draw.New(canvas)
	plots := plot.Align([][]*plot.Plot{{loss, accuracy}}, tiles, area)
	loss.Draw(plots[0][0])
	accuracy.Draw(plots[0][1])
	if err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
		return err
	}); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func lossPlot(rows []Row, epochSteps float64) (*plot.Plot, error) {
	p := newPlot("loss")
	train := Points(rows, "train", epochSteps, func(r Row) Number { return r.Loss })
	if err := addLine(p, train, faint, ""); err != nil {
		return nil, err
	}
	if err := addLine(p, Smooth(train), blue, "training"); err != nil {
		return nil, err
	}
	eval := Points(rows, "eval", epochSteps, func(r Row) Number { return r.Loss })
	return p, addLine(p, eval, orange, "evaluation")
}

func accuracyPlot(rows []Row, epochSteps float64) (*plot.Plot, error) {
	p := newPlot("top-1 accuracy, %")
	p.Legend.Top = false
	eval := Points(rows, "eval", epochSteps, func(r Row) Number { return r.Top1 })
	if len(eval) > 0 {
		best := eval[0]
		for _, xy := range eval {
			if xy.Y > best.Y {
				best = xy
			}
		}
		p.Title.Text = fmt.Sprintf("best %.2f%%", best.Y)
	}
	return p, addLine(p, eval, green, "evaluation")
}

func newPlot(y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "epoch", y
	p.Legend.Top = true
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xe0}, color.Gray{0xe0}
	p.Add(grid)
	return p
}

// addLine draws points, dotted where they are few; none are no error.
func addLine(p *plot.Plot, xys plotter.XYs, c color.Color, name string) error {
	if len(xys) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, vg.Points(1.5)
	p.Add(line)
	if len(xys) <= 60 && name != "" {
		dots.Color, dots.Shape, dots.Radius = c, draw.CircleGlyph{}, vg.Points(2.2)
		p.Add(dots)
	}
	if name != "" {
		p.Legend.Add(name, line)
	}
	return nil
}

// Points are a kind of row's values against the epoch, numbers only.
func Points(rows []Row, kind string, epochSteps float64, value func(Row) Number) plotter.XYs {
	var xys plotter.XYs
	for _, r := range rows {
		y := float64(value(r))
		if r.Kind == kind && !math.IsNaN(y) && !math.IsInf(y, 0) {
			xys = append(xys, plotter.XY{X: float64(r.Step) / epochSteps, Y: y})
		}
	}
	return xys
}

// Smooth averages each point with its neighbours, a twentieth of all together;
// at the ends with as many as there are on both sides.
func Smooth(xys plotter.XYs) plotter.XYs {
	out := make(plotter.XYs, len(xys))
	for i, xy := range xys {
		reach := min(len(xys)/40, i, len(xys)-1-i)
		sum := 0.0
		for _, near := range xys[i-reach : i+reach+1] {
			sum += near.Y
		}
		out[i] = plotter.XY{X: xy.X, Y: sum / float64(2*reach+1)}
	}
	return out
}
