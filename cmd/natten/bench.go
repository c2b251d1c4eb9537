package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/bench"
	"github.com/gonatten/gonatten/internal/plotfile"
	"github.com/gonatten/gonatten/internal/torch"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var (
			set, dtype, plot string
			o                bench.Options
			list             bool
			step             bench.StepOptions
		)
		c := &cobra.Command{
			Use:   "bench",
			Short: "Time the operators against the unfused pair, dense attention and sgemm",
			Long: "Time fused neighborhood attention, forward and forward+backward, against the\n" +
				"unfused pair, dense attention over all tokens and a matrix product: in turn, in\n" +
				"one process, judged by medians over rounds of blocks of calls (--cold: of single\n" +
				"calls, each after all the others). Rates count the neighborhood's useful work;\n" +
				"sgemm is float32's, whatever --dtype is. On the CPU; natten bench does not set\n" +
				"GOMP_SPINCOUNT, as natten train does: where other programs use the cores, set it\n" +
				"to 1000. Interrupted, it prints what it has.\n\n" +
				"With --model: time training steps (forward, backward, AdamW) and evaluation of a\n" +
				"whole model instead.",
			Example: "  natten bench --set all\n  natten bench --model nat_mini --batch 8",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				for _, flag := range []struct {
					name  string
					value int64
				}{{"rounds", int64(o.Rounds)}, {"duration", int64(o.Duration)}, {"block", int64(o.Block)}, {"batch", int64(step.Batch)}, {"steps", int64(step.Steps)}} {
					if flag.value < 1 {
						return fmt.Errorf("--%s is %v, want more than 0", flag.name, cmd.Flags().Lookup(flag.name).Value)
					}
				}
				if cmd.Flags().Changed("model") {
					if step.Model == "" {
						return errors.New("--model is empty, want a variant (natten flops --list has them)")
					}
					a.bar.Start("bench")
					step.Progress = func(done, total int, what string) { a.bar.Update(int64(done), int64(total), what) }
					report, err := bench.Step(cmd.Context(), step)
					if err != nil {
						return err
					}
					return a.emit(report, func(w io.Writer) { _ = report.Write(w) })
				}
				if given := changed(cmd, "batch", "size", "steps", "profile"); len(given) > 0 {
					return fmt.Errorf("--%s is of a whole model: give --model too", given[0])
				}
				var err error
				if o.Shapes, err = bench.Select(set); err != nil {
					return err
				}
				if list {
					return json.NewEncoder(a.stdout).Encode(o.Shapes)
				}
				var known bool
				if o.DType, known = torch.FloatDType(dtype); !known {
					return fmt.Errorf("--dtype is %q, want float32, float64, float16 or bfloat16", dtype)
				}
				if plot != "" {
					if err := plotfile.Check(plot); err != nil {
						return fmt.Errorf("--plot: %w", err)
					}
				}
				a.bar.Start("bench")
				o.Progress = func(done, total int, what string) { a.bar.Update(int64(done), int64(total), what) }
				report, err := bench.Run(cmd.Context(), o)
				if report == nil || len(report.Rows) == 0 {
					return err
				}
				err = errors.Join(err, a.emit(report, func(w io.Writer) { _ = report.Write(w) }))
				if plot != "" {
					err = errors.Join(err, report.Plot(plot))
				}
				return err
			},
		}
		flags := c.Flags()
		flags.StringVar(&set, "set", "core", "shapes: core, models, kernels, ranks or all")
		flags.StringVar(&dtype, "dtype", "float32", "element type: float32, float64, float16 or bfloat16")
		flags.IntVar(&o.Rounds, "rounds", 7, "rounds of each shape and pass, at least")
		flags.DurationVar(&o.Duration, "duration", 500*time.Millisecond, "time for each shape and pass, at least; a round takes as long as its slowest contender")
		flags.DurationVar(&o.Block, "block", 20*time.Millisecond, "length of a contender's block in a round")
		flags.BoolVar(&o.Cold, "cold", false, "no blocks: single calls, each after all the others")
		flags.StringVar(&plot, "plot", "", "also write a bar chart of the forward pass to this file (png, svg or pdf)")
		flags.StringVar(&step.Model, "model", "", "time this model's training step and evaluation instead")
		flags.IntVar(&step.Batch, "batch", 8, "with --model: images")
		flags.Int64Var(&step.Size, "size", 0, "with --model: height and width of an image; 0: the model's own")
		flags.IntVar(&step.Steps, "steps", 5, "with --model: timed steps")
		flags.StringVar(&step.Profile, "profile", "", "with --model: write Go's CPU profile of the training steps to this file")
		flags.BoolVar(&list, "list", false, "print the shapes as JSON and stop")
		for _, other := range []string{"set", "dtype", "rounds", "duration", "block", "cold", "plot", "list"} {
			c.MarkFlagsMutuallyExclusive("model", other)
		}
		for _, other := range []string{"dtype", "rounds", "duration", "block", "cold", "plot"} {
			c.MarkFlagsMutuallyExclusive("list", other)
		}
		c.MarkFlagsMutuallyExclusive("cold", "block")
		return c
	})
}
