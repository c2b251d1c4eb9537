package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/verify"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var all bool
		c := &cobra.Command{
			Use:   "verify DIR",
			Short: "Check this machine against reference results",
			Long: "Run the reference files in DIR (operators, layers, models) on every device and in every\n" +
				"dtype that work here, and fail where a result is further off than allowed.",
			Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				a.bar.Start("verifying")
				report, err := verify.Run(cmd.Context(), args[0], verify.Options{
					Progress: func(done, total int, name string) { a.bar.Update(int64(done), int64(total), name) },
				})
				if err != nil {
					return err
				}
				if err := a.emit(report, func(w io.Writer) { printReport(w, report, all) }); err != nil {
					return err
				}
				return report.Err()
			},
		}
		c.Flags().BoolVar(&all, "all", false, "list the cases that pass, too")
		return c
	})
}

func printReport(w io.Writer, r *verify.Report, all bool) {
	for _, c := range r.Cases {
		if all || !c.OK {
			fmt.Fprintln(w, c)
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(w, "skipped:", s)
	}
	worst := verify.Case{}
	for _, c := range r.Cases {
		if c.OK && c.Share > worst.Share {
			worst = c
		}
	}
	fmt.Fprintf(w, "%d cases, %d failed", len(r.Cases), r.Failed)
	if worst.Name != "" {
		fmt.Fprintf(w, "; the nearest to its limit: %s, %.0f%% of it", worst.Name, 100*worst.Share)
	}
	fmt.Fprintln(w)
}
