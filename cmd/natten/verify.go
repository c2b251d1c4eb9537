package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/verify"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var dtypes, devices []string
		c := &cobra.Command{
			Use:   "verify DIR",
			Short: "Check operators, layers and models on this machine against reference files",
			Long: "Run the reference files in DIR on this machine's devices and in its dtypes, forward and backward,\n" +
				"and print the largest absolute and relative error of each case. Fails when any exceeds its limit\n" +
				"or a file is damaged. DIR has one or more of the folders ops, modules, models and hf; a checkout of this\n" +
				"project has one, verify/testdata/golden.",
			Example: "  natten verify verify/testdata/golden\n  natten verify golden --dtype float32 --device cuda --json",
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				o, err := verifyOptions(dtypes, devices)
				if err != nil {
					return err
				}
				a.bar.Start("verifying")
				o.Progress = func(done, total int, name string) { a.bar.Update(int64(done), int64(total), name) }
				report, err := verify.Run(cmd.Context(), args[0], o)
				if err != nil {
					return err
				}
				if err := a.emit(report, func(w io.Writer) { printReport(w, report) }); err != nil {
					return err
				}
				return report.Err()
			},
		}
		c.Flags().StringSliceVar(&dtypes, "dtype", nil, "float64, float32, bfloat16, float16; empty: all that work here")
		c.Flags().StringSliceVar(&devices, "device", nil, "cpu, cuda, cuda:1 and so on; empty: cpu, and cuda where it works")
		return c
	})
}

// verifyOptions reads the flags' names.
func verifyOptions(dtypes, devices []string) (o verify.Options, err error) {
	for _, name := range dtypes {
		dtype, ok := torch.FloatDType(name)
		if !ok {
			return o, fmt.Errorf("--dtype is %q, want float64, float32, bfloat16 or float16", name)
		}
		o.DTypes = append(o.DTypes, dtype)
	}
	for _, name := range devices {
		index := uint(0)
		switch _, err := fmt.Sscanf(name, "cuda:%d", &index); {
		case name == "cpu":
			o.Devices = append(o.Devices, gotch.CPU)
		case name == "cuda" || err == nil && name == fmt.Sprintf("cuda:%d", index):
			o.Devices = append(o.Devices, gotch.CudaBuilder(index))
		default:
			return o, fmt.Errorf("--device is %q, want cpu, cuda or cuda:INDEX", name)
		}
	}
	return o, nil
}

// printReport is a line a case, what was not run, and the sum.
func printReport(w io.Writer, r *verify.Report) {
	var nearest verify.Case
	for _, c := range r.Cases {
		fmt.Fprintln(w, c)
		if c.OK && c.Share > nearest.Share {
			nearest = c
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(w, "not run:", s)
	}
	fmt.Fprintf(w, "%d cases, %d failed", len(r.Cases), r.Failed)
	if nearest.Name != "" {
		fmt.Fprintf(w, "; nearest to its limit: %s, %.0f%% of it", nearest.Name, 100*nearest.Share)
	}
	fmt.Fprintln(w)
}
