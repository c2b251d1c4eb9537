package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/flops/chart"
)

// sweepRow is one line of the table that natten flops prints for several models.
type sweepRow struct {
	Model      string           `json:"model"`
	Height     int64            `json:"height"`
	Width      int64            `json:"width"`
	Batch      int64            `json:"batch"`
	KernelSize int64            `json:"kernel_size,omitempty"`
	Dilation   int64            `json:"dilation,omitempty"` // asked for by --dilation
	Convention flops.Convention `json:"convention"`
	Params     int64            `json:"params"`
	MACs       int64            `json:"macs"`
	FLOPs      int64            `json:"flops"`
	Acts       int64            `json:"activations"`
	Bytes      int64            `json:"bytes"`
	Intensity  float64          `json:"flops_per_byte"`
	// The model with other operators in place of its neighborhood attention; 0: it has none.
	IfDense       int64          `json:"macs_if_dense,omitempty"`
	IfConvolution int64          `json:"macs_if_convolution,omitempty"`
	Published     float64        `json:"published_gmacs,omitempty"`
	Unsupported   map[string]int `json:"unsupported"`

	name string // of the model with its what-ifs, but for the size
}

func (a *app) sweep(cases []*flopsCase, o *flopsOptions) error {
	var rows []*sweepRow
	a.bar.Start("counting")
	for i, c := range cases {
		a.bar.Update(int64(i), int64(len(cases)), c.name)
		r, err := c.count(o)
		if err != nil {
			return err
		}
		row := &sweepRow{Model: c.name, Height: c.height, Width: c.width, Batch: o.batch, Dilation: c.dilation, Convention: r.Convention,
			Params: r.Parameters, MACs: r.MACs, FLOPs: r.FLOPs, Acts: r.Activations, Bytes: r.Bytes, Intensity: r.Intensity(),
			Published: c.published(o), Unsupported: r.Unsupported, name: c.label()}
		if c.script == "" && !c.config.GlobalAttention {
			row.KernelSize, row.IfDense, row.IfConvolution = c.config.KernelSize, r.IfDense(), r.IfConvolution()
		}
		rows = append(rows, row)
	}
	if o.chart != "" {
		if err := drawSweep(o.chart, rows); err != nil {
			return err
		}
	}
	return a.emit(rows, func(w io.Writer) { printSweep(w, rows) })
}

func printSweep(w io.Writer, rows []*sweepRow) {
	width := len("model")
	for _, r := range rows {
		width = max(width, len(r.Model))
	}
	fmt.Fprintf(w, "MACs by %s, batch %d; the last columns: with dense attention and with convolution in attention's place\n",
		rows[0].Convention, rows[0].Batch)
	fmt.Fprintf(w, "%-*s %9s %6s %8s %9s %8s %9s %8s %8s %6s %9s %9s %9s\n", width, "model", "size", "kernel", "dilation", "params, M",
		"GMACs", "published", "GFLOPs", "acts, M", "GB", "FLOP/B", "dense", "conv")
	for _, r := range rows {
		fmt.Fprintf(w, "%-*s %9s %6s %8s %9.2f %8.4g %9s %8.4g %8.4g %6.3g %9.1f %9s %9s\n", width, r.Model, resolution(r.Height, r.Width),
			unlessZero(r.KernelSize), unlessZero(r.Dilation), float64(r.Params)/1e6, giga(r.MACs), figure(r.Published, "%.1f"),
			giga(r.FLOPs), float64(r.Acts)/1e6, giga(r.Bytes), r.Intensity, figure(giga(r.IfDense), "%.4g"), figure(giga(r.IfConvolution), "%.4g"))
		if len(r.Unsupported) > 0 {
			fmt.Fprintf(w, "  NOT COUNTED: %s\n", strings.Trim(fmt.Sprint(r.Unsupported), "map[]"))
		}
	}
}

func giga(n int64) float64 { return float64(n) / 1e9 }

// drawSweep draws MACs against the picture's side where a model comes in several
// sizes, and bars otherwise.
func drawSweep(file string, rows []*sweepRow) error {
	var names []string
	groups, several := map[string][]*sweepRow{}, false
	for _, r := range rows {
		if groups[r.name] == nil {
			names = append(names, r.name)
		}
		groups[r.name] = append(groups[r.name], r)
		several = several || r.Height*r.Width != groups[r.name][0].Height*groups[r.name][0].Width
	}
	title := fmt.Sprintf("MACs by %s, batch %d", rows[0].Convention, rows[0].Batch)
	if !several {
		var bars []chart.Bar
		for _, r := range rows {
			bars = append(bars, chart.Bar{Name: r.name, MACs: r.MACs, FLOPs: r.FLOPs})
		}
		return chart.Bars(file, title, bars)
	}
	var lines []chart.Line
	for _, name := range names {
		label := name
		if len(names) == 1 {
			title, label = name+": "+title, "neighborhood attention"
		}
		lines = append(lines, lineOf(label, groups[name], func(r *sweepRow) int64 { return r.MACs }))
		if len(names) == 1 && groups[name][0].IfDense > 0 {
			lines = append(lines, lineOf("dense attention", groups[name], func(r *sweepRow) int64 { return r.IfDense }),
				lineOf("convolution", groups[name], func(r *sweepRow) int64 { return r.IfConvolution }))
		}
	}
	return chart.Lines(file, title, "picture side, pixels", "GMACs", lines)
}

func lineOf(name string, rows []*sweepRow, value func(*sweepRow) int64) chart.Line {
	line := chart.Line{Name: name}
	for _, r := range rows {
		line.X = append(line.X, math.Sqrt(float64(r.Height*r.Width)))
		line.Y = append(line.Y, giga(value(r)))
	}
	return line
}

// label names a case but for its size.
func (c *flopsCase) label() string {
	name := c.name
	if c.kernel != 0 {
		name += fmt.Sprintf(", kernel %d", c.kernel)
	}
	if c.dilation != 0 {
		name += fmt.Sprintf(", dilation %d", c.dilation)
	}
	return name
}
