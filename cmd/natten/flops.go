package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/flops"
	"github.com/gonatten/gonatten/flops/chart"
	"github.com/gonatten/gonatten/internal/plotfile"
)

// flopsOptions are the flags of natten flops.
type flopsOptions struct {
	sizes, inputs      []string
	batch              int64
	kernels, dilations []int64
	model              string
	convention         flops.Convention
	by                 string
	depth              int
	chart, chartKind   string
}

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var o flopsOptions
		var convention string
		c := &cobra.Command{
			Use:   "flops MODEL|FILE...",
			Short: "Count a model's multiply-accumulates, FLOPs, parameters, activations and bytes",
			Long: `Count what a forward pass costs, without computing it. MODEL is a name or a pattern of names ("dinat_*"); FILE a
checkpoint that says its model, or any TorchScript file.

MACs are multiply-accumulates, what papers print as FLOPs; FLOPs are single operations, two for each of those, with
norms, softmax and elementwise operators. Several models, or lists for --size, --kernel or --dilation, give a table.`,
			Example: "  natten flops dinat_large_384\n  natten flops nat_mini --by operator --chart nat_mini.png\n" +
				"  natten flops 'dinat_*'\n  natten flops nat_tiny --size 224,384,512 --chart resolution.png\n" +
				"  natten flops script.pt --input 1x3x224x224",
			Args: cobra.MinimumNArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				var err error
				if o.convention, err = flops.ParseConvention(convention); err != nil {
					return fmt.Errorf("--convention: %w", err)
				}
				return a.flops(args, &o)
			},
		}
		f := c.Flags()
		f.StringSliceVar(&o.sizes, "size", nil, "picture sizes, N or HEIGHTxWIDTH; empty: the model's own")
		f.StringSliceVar(&o.sizes, "resolution", nil, "the same as --size")
		f.Int64Var(&o.batch, "batch", 1, "pictures")
		f.StringSliceVar(&o.inputs, "input", nil, "inputs of a TorchScript file, shape[:dtype]: 1x3x224x224, 8x128:int64")
		f.Int64SliceVar(&o.kernels, "kernel", nil, "what if: other kernel sizes")
		f.Int64SliceVar(&o.dilations, "dilation", nil, "what if: other dilations, in every block")
		f.StringVar(&o.model, "model", "", "model name, where a checkpoint does not say it")
		f.StringVar(&convention, "convention", flops.NATTEN0175.String(), "what counts as a MAC: natten-0.17.5 (as published), natten-0.15.1, exact")
		f.StringVar(&o.by, "by", "all", "show by operator, by module, or all")
		f.IntVar(&o.depth, "depth", 3, "levels of the tree of modules; 0: all")
		f.StringVar(&o.chart, "chart", "", "also draw to this file (png, svg or pdf): a treemap of modules; of a table MACs by size or model")
		f.StringVar(&o.chartKind, "chart-kind", "treemap", "for one model: treemap, or bars by module or operator")
		if err := f.MarkHidden("resolution"); err != nil {
			panic(err)
		}
		return c
	})
}

func (o *flopsOptions) check() error {
	switch {
	case o.batch < 1:
		return fmt.Errorf("--batch is %d, want at least 1", o.batch)
	case o.depth < 0:
		return fmt.Errorf("--depth is %d, want at least 0", o.depth)
	case o.by != "all" && o.by != "operator" && o.by != "module":
		return fmt.Errorf("--by is %q, want operator, module or all", o.by)
	case slices.ContainsFunc(o.kernels, func(k int64) bool { return k < 1 || k > maxSide }):
		return fmt.Errorf("--kernel is %v, want 1 to %d", o.kernels, maxSide)
	case slices.ContainsFunc(o.dilations, func(d int64) bool { return d < 1 || d > maxSide }):
		return fmt.Errorf("--dilation is %v, want 1 to %d", o.dilations, maxSide)
	case o.chartKind != "treemap" && o.chartKind != "module" && o.chartKind != "operator":
		return fmt.Errorf("--chart-kind is %q, want treemap, module or operator", o.chartKind)
	}
	if o.chart != "" {
		if err := plotfile.Check(o.chart); err != nil {
			return fmt.Errorf("--chart: %w", err)
		}
	}
	return nil
}

func (a *app) flops(args []string, o *flopsOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	cases, err := o.cases(args)
	if err != nil {
		return err
	}
	if len(cases) > 1 {
		return a.sweep(cases, o)
	}
	r, err := cases[0].count(o)
	if err != nil {
		return err
	}
	if o.chart != "" {
		if err := o.draw(r); err != nil {
			return err
		}
	}
	return a.emit(r, func(w io.Writer) {
		fmt.Fprint(w, r.Summary())
		if published := cases[0].published(o); published > 0 {
			fmt.Fprintf(w, "published: %.1f GFLOPs, which are MACs\n", published)
		}
		if o.by != "module" {
			fmt.Fprintf(w, "\n%s", r.Table())
		}
		if o.by != "operator" {
			fmt.Fprintf(w, "\n%s", r.Tree(o.depth))
		}
	})
}

func (o *flopsOptions) draw(r *flops.Report) error {
	title := fmt.Sprintf("%s: %.4g GMACs (%s)", r.Model, float64(r.MACs)/1e9, r.Convention)
	switch o.chartKind {
	case "module":
		return chart.Bars(o.chart, title, chart.ByModule(r, max(o.depth-1, 1)))
	case "operator":
		return chart.Bars(o.chart, title, chart.ByOperator(r))
	}
	return chart.Treemap(o.chart, title, r)
}
