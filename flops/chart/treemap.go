package chart

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/internal/plotfile"
)

// Treemap writes a picture of a model's modules to a file, by its ending .png,
// .svg or .pdf: each is a rectangle whose area is its share of the MACs (of the
// FLOPs, in a model without MACs), inside the rectangle of the module that
// holds it. What a module does besides its modules, attention for example, is a
// rectangle of its own.
func Treemap(file, title string, r *flops.Report) error {
	value := func(m *flops.Module) int64 { return m.MACs }
	if r.MACs == 0 {
		value = func(m *flops.Module) int64 { return m.FLOPs }
	}
	root := cellOf(r.Root, "", value)
	if root.value == 0 {
		return fmt.Errorf("flops/chart: Treemap: there is nothing to draw")
	}
	p := plot.New()
	p.Title.Text = title
	p.HideAxes()
	p.Add(&treemap{groups: root.groups(), style: p.Legend.TextStyle})
	if err := plotfile.Save(p, 240*vg.Millimeter, 160*vg.Millimeter, file); err != nil {
		return fmt.Errorf("flops/chart: Treemap: %w", err)
	}
	return nil
}

// cell is a rectangle of a treemap.
type cell struct {
	name     string
	value    float64
	children []*cell // largest first
}

// cellOf is a module's cell; holder is the name of the module that holds it.
func cellOf(m *flops.Module, holder string, value func(*flops.Module) int64) *cell {
	name := m.Name
	if holder != "" {
		name = strings.TrimPrefix(m.Name, holder+".")
	}
	c := &cell{name: name, value: float64(value(m))}
	own := value(m)
	for _, child := range m.Children {
		if value(child) > 0 {
			c.children = append(c.children, cellOf(child, m.Name, value))
			own -= value(child)
		}
	}
	if len(c.children) > 0 && own > 0 {
		c.children = append(c.children, &cell{name: "(itself)", value: float64(own)})
	}
	c.sort()
	return c
}

func (c *cell) sort() {
	slices.SortStableFunc(c.children, func(x, y *cell) int {
		switch {
		case x.value > y.value:
			return -1
		case x.value < y.value:
			return 1
		}
		return 0
	})
}

// groups are the cells that get a colour each: the model's own modules, or the
// modules of one that makes up most of the model.
func (c *cell) groups() *cell {
	top := &cell{value: c.value, children: slices.Clone(c.children)}
	if len(top.children) == 0 {
		top.children = []*cell{c}
	}
	for {
		first := top.children[0]
		if first.value < 0.6*c.value || len(first.children) == 0 {
			return top
		}
		rest := top.children[1:]
		top.children = nil
		for _, child := range first.children {
			top.children = append(top.children, &cell{name: first.name + "." + child.name, value: child.value, children: child.children})
		}
		top.children = append(top.children, rest...)
		top.sort()
	}
}

// treemap draws cells on a plot.
type treemap struct {
	groups *cell
	style  draw.TextStyle
}

// Plot implements plot.Plotter.
func (t *treemap) Plot(c draw.Canvas, _ *plot.Plot) {
	for i, r := range squarify(t.groups, c.Rectangle) {
		if r.Size().X > 0 && r.Size().Y > 0 {
			t.draw(c, t.groups.children[i], r, palette[i%len(palette)], 0)
		}
	}
}

const (
	smallest = vg.Length(3) // a side below which nothing is told apart, in points
	gap      = vg.Length(1)
)

func (t *treemap) draw(c draw.Canvas, cell *cell, r vg.Rectangle, shade color.RGBA, depth int) {
	r.Min, r.Max = r.Min.Add(vg.Point{X: gap / 2, Y: gap / 2}), r.Max.Sub(vg.Point{X: gap / 2, Y: gap / 2})
	if r.Size().X <= 0 || r.Size().Y <= 0 {
		return
	}
	c.FillPolygon(shade, corners(r))
	style := t.style
	style.Color = color.Black
	if 0.3*float64(shade.R)+0.6*float64(shade.G)+0.1*float64(shade.B) < 140 {
		style.Color = color.White
	}
	style.Font.Size = max(vg.Points(6), vg.Points(10)-vg.Points(float64(depth)))
	line := style.Height(cell.name)
	fits := style.Width(cell.name)+4 <= r.Size().X && line+2 <= r.Size().Y
	if len(cell.children) == 0 || r.Size().X < 4*smallest || r.Size().Y < 4*smallest {
		if fits {
			style.XAlign, style.YAlign = draw.XCenter, draw.YCenter
			c.FillText(style, vg.Point{X: (r.Min.X + r.Max.X) / 2, Y: (r.Min.Y + r.Max.Y) / 2}, cell.name)
		}
		return
	}
	if fits && r.Size().Y > 3*line {
		style.XAlign, style.YAlign = draw.XLeft, draw.YTop
		c.FillText(style, vg.Point{X: r.Min.X + 2, Y: r.Max.Y - 1}, cell.name)
		r.Max.Y -= line + 2
	}
	for i, inner := range squarify(cell, r) {
		t.draw(c, cell.children[i], inner, lighter(shade), depth+1)
	}
}

func lighter(c color.RGBA) color.RGBA {
	mix := func(v uint8) uint8 { return v + (255-v)/4 }
	return color.RGBA{mix(c.R), mix(c.G), mix(c.B), 255}
}

func corners(r vg.Rectangle) []vg.Point {
	return []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}}
}

// squarify divides a rectangle among a cell's children in proportion to their
// values: rows along the shorter side, each as long as that makes its cells
// more square (Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000).
func squarify(parent *cell, r vg.Rectangle) []vg.Rectangle {
	total := 0.0
	for _, child := range parent.children {
		total += child.value
	}
	scale := float64(r.Size().X) * float64(r.Size().Y) / total // square points per unit
	cells := parent.children
	var placed []vg.Rectangle
	for len(cells) > 0 {
		side := float64(min(r.Size().X, r.Size().Y))
		n, sum := 1, cells[0].value*scale
		for n < len(cells) {
			next := sum + cells[n].value*scale
			if worst(cells[:n+1], scale, next, side) > worst(cells[:n], scale, sum, side) {
				break
			}
			n, sum = n+1, next
		}
		thick := vg.Length(0)
		if side > 0 {
			thick = vg.Length(sum / side)
		}
		at := r.Min
		for _, c := range cells[:n] {
			long := vg.Length(0)
			if thick > 0 {
				long = vg.Length(c.value*scale) / thick
			}
			if r.Size().X >= r.Size().Y { // a column at the left
				placed = append(placed, vg.Rectangle{Min: at, Max: vg.Point{X: at.X + thick, Y: at.Y + long}})
				at.Y += long
			} else {
				placed = append(placed, vg.Rectangle{Min: at, Max: vg.Point{X: at.X + long, Y: at.Y + thick}})
				at.X += long
			}
		}
		if r.Size().X >= r.Size().Y {
			r.Min.X += thick
		} else {
			r.Min.Y += thick
		}
		cells = cells[n:]
	}
	return placed
}

// worst is the largest ratio of sides in a row of that total area along a side.
func worst(row []*cell, scale, sum, side float64) float64 {
	largest, least := row[0].value*scale, row[len(row)-1].value*scale
	return math.Max(side*side*largest/(sum*sum), sum*sum/(side*side*least))
}
