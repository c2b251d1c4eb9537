package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/gonatten/gonatten/internal/plotfile"
)

// Write prints the report as a table: milliseconds are medians, with minimum
// and maximum of the fused operator and its first call after the others
// ("cold"); the peers' columns say how many times as long they take.
func (r *Report) Write(w io.Writer) error {
	how := "blocks of calls"
	if r.Cold {
		how = "single calls"
	}
	fmt.Fprintf(w, "%s, %d threads, %s kernels, libtorch %s, %s\n", r.DType, r.Threads, r.InstructionSet, r.Libtorch, how)
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "shape\tpass\tfused ms\tmin-max\tcold ms\tGFLOP/s\tof sgemm\tunfused\tdense\t")
	for _, row := range r.Rows {
		t := row.Timings[0]
		fmt.Fprintf(tab, "%s\t%s\t%.3f\t%.3f-%.3f\t%.3f\t%.1f\t%.0f%%\t%s\t%s\t\n", row.Shape, row.Pass, 1e3*t.Median, 1e3*t.Min, 1e3*t.Max,
			1e3*t.First, t.GFLOPS, 100*row.Share, ratio(row.Speedup, "unfused"), ratio(row.Speedup, "dense"))
	}
	return tab.Flush()
}

func ratio(speedup map[string]float64, peer string) string {
	if v, ok := speedup[peer]; ok {
		return fmt.Sprintf("%.1fx", v)
	}
	return "-"
}

// Plot writes a bar chart of useful GFLOP/s per contender and shape (forward),
// in the format of the file's ending (png, svg, pdf).
func (r *Report) Plot(path string) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("Neighborhood attention, forward, %s, %d threads, %s", r.DType, r.Threads, r.InstructionSet)
	p.Y.Label.Text = "useful GFLOP/s"
	p.Legend.Top = true
	names := []string{"fused", "unfused", "dense", "sgemm"}
	values := make([]plotter.Values, len(names))
	var labels []string
	var highest float64
	for _, row := range r.Rows {
		if row.Pass != "forward" {
			continue
		}
		labels = append(labels, row.Shape.Name)
		for i, name := range names {
			rate := 0.0
			for _, t := range row.Timings {
				if t.Name == name {
					rate = t.GFLOPS
				}
			}
			values[i] = append(values[i], rate)
			highest = max(highest, rate)
		}
	}
	if len(labels) == 0 {
		return fmt.Errorf("bench: Plot: the report has no forward rows")
	}
	width := vg.Points(9)
	for i := range names {
		bars, err := plotter.NewBarChart(values[i], width)
		if err != nil {
			return fmt.Errorf("bench: Plot: %w", err)
		}
		bars.LineStyle.Width = 0
		bars.Color = plotutil.Color(i)
		bars.Offset = (vg.Length(i) - 1.5) * width
		p.Add(bars)
		if slices.Max(values[i]) > 0 {
			p.Legend.Add(names[i], bars)
		}
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.5, float64(len(labels))-0.5 // whole bars
	p.Y.Min, p.Y.Max = 0, 1.25*highest                // room for the legend
	p.X.Tick.Label.Rotation = 0.5
	p.X.Tick.Label.XAlign = -1
	if err := plotfile.Save(p, vg.Length(len(labels)+2)*2.2*vg.Centimeter, 11*vg.Centimeter, path); err != nil {
		return fmt.Errorf("bench: Plot: %w", err)
	}
	return nil
}
