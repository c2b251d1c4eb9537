package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/bench"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var (
			set, dtype, plot string
			o                bench.Options
			list             bool
		)
		c := &cobra.Command{
			Use:   "bench",
			Short: "Time the operators against the unfused pair, dense attention and sgemm",
			Long: "Time fused neighborhood attention, forward and forward+backward, against the\n" +
				"unfused pair, dense attention over all tokens and a matrix product: in turn, in\n" +
				"one process, judged by medians. Rates count the neighborhood's useful work.",
			Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var err error
				if o.Shapes, err = bench.Select(set); err != nil {
					return err
				}
				if list {
					return json.NewEncoder(a.stdout).Encode(o.Shapes)
				}
				var known bool
				if o.DType, known = benchDTypes[dtype]; !known {
					return fmt.Errorf("--dtype is %q, want float32, float64, float16 or bfloat16", dtype)
				}
				a.bar.Start("bench")
				o.Progress = func(done, total int, what string) { a.bar.Update(int64(done), int64(total), what) }
				report, err := bench.Run(cmd.Context(), o)
				if err != nil {
					return err
				}
				if plot != "" {
					if err := report.Plot(plot); err != nil {
						return err
					}
				}
				return a.emit(report, func(w io.Writer) { _ = report.Write(w) })
			},
		}
		flags := c.Flags()
		flags.StringVar(&set, "set", "core", "shapes: core, models, kernels, ranks or all")
		flags.StringVar(&dtype, "dtype", "float32", "element type: float32, float64, float16 or bfloat16")
		flags.IntVar(&o.Rounds, "rounds", 7, "rounds of each shape, at least")
		flags.DurationVar(&o.Duration, "duration", 500*time.Millisecond, "time for each shape, at least")
		flags.StringVar(&plot, "plot", "", "also write a bar chart to this file (png, svg or pdf)")
		flags.BoolVar(&list, "list", false, "print the shapes as JSON and stop")
		return c
	})
}

var benchDTypes = map[string]gotch.DType{
	"float32": gotch.Float, "float64": gotch.Double, "float16": gotch.Half, "bfloat16": gotch.BFloat16,
}
