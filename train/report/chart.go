package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"

	"gonum.org/v1/plot/plotter"
)

// series is one line of a chart. Style is a class of the page's style sheet.
type series struct {
	name, style string
	points      plotter.XYs
	dots        bool // with a value to read at each point
}

// chart is a line chart against the epoch.
type chart struct {
	title  string
	unit   string
	series []series
}

// Measures of a chart in its own units.
const (
	chartWidth, chartHeight = 560, 300
	left, right, top, below = 58, 16, 16, 40
)

// draw makes the chart as inline SVG that takes its colours from the page. A
// chart without points is "".
func (c chart) draw() template.HTML {
	minX, maxX, minY, maxY := 0.0, math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range c.series {
		for _, p := range s.points {
			maxX = max(maxX, p.X)
			minY, maxY = min(minY, p.Y), max(maxY, p.Y)
		}
	}
	if math.IsInf(maxX, -1) {
		return ""
	}
	if pad := 0.05 * (maxY - minY); pad > 0 {
		low := minY
		minY, maxY = minY-pad, maxY+pad
		if low >= 0 {
			minY = max(minY, 0)
		}
	} else {
		minY, maxY = minY-0.5, maxY+0.5
	}
	maxX = max(maxX, minX+1e-9)
	x := func(v float64) float64 { return left + (v-minX)/(maxX-minX)*(chartWidth-left-right) }
	y := func(v float64) float64 {
		return chartHeight - below - (v-minY)/(maxY-minY)*(chartHeight-top-below)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, chartHeight, html.EscapeString(c.title))
	for _, t := range ticks(minY, maxY) {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="tick" x="%d" y="%.1f" text-anchor="end">%s</text>`,
			left, chartWidth-right, y(t), y(t), left-8, y(t)+4, short(t))
	}
	for _, t := range ticks(minX, maxX) {
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(t), chartHeight-below+18, short(t))
	}
	fmt.Fprintf(&b, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`, left, chartWidth-right, chartHeight-below, chartHeight-below)
	fmt.Fprintf(&b, `<text class="tick" x="%d" y="%d" text-anchor="end">epoch</text>`, chartWidth-right, chartHeight-4)
	for _, s := range c.series {
		var path strings.Builder
		for i, p := range s.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "LM"[btoi(i == 0)], x(p.X), y(p.Y))
		}
		fmt.Fprintf(&b, `<path class="line %s" d="%s"/>`, s.style, path.String())
		if s.dots && len(s.points) <= 100 {
			for _, p := range s.points {
				fmt.Fprintf(&b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3.2"><title>epoch %s: %s%s</title></circle>`,
					s.style, x(p.X), y(p.Y), short(p.X), short(p.Y), c.unit)
			}
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// ticks are round numbers of a range, four to ten of them: multiples of 1, 2 or 5
// times a power of ten.
func ticks(low, high float64) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
	for _, factor := range []float64{5, 2} {
		if (high-low)/(step*factor) >= 4 {
			step *= factor
			break
		}
	}
	var list []float64
	for i := math.Ceil(low / step); i*step <= high; i++ {
		list = append(list, i*step)
	}
	return list
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// short writes a number for an axis: 4 digits, k and M for large ones.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	case a != 0 && a < 1e-3:
		return strings.Replace(strings.Replace(fmt.Sprintf("%.2g", v), "e-0", "e-", 1), "e+0", "e", 1)
	}
	return fmt.Sprintf("%.4g", v)
}
