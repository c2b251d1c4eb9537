package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/progress"
	"github.com/gonatten/gonatten/train/report"
)

// reportResult is what natten report prints.
type reportResult struct {
	Report string `json:"report"`
	Lacks  string `json:"lacks,omitempty"` // why it has no confusion matrix and no mistakes
}

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var (
			o        report.Options
			dir      string
			mistakes int
		)
		c := &cobra.Command{
			Use:   "report RUN",
			Short: "Make one HTML page of a training run",
			Long: "Make one HTML page of a training run: figures, curves, confusion matrix, the worst\n" +
				"mistakes as pictures, the configuration. The page needs no other file. The weights\n" +
				"are evaluated once for it; without the evaluation pictures the page lacks that part.",
			Example: "  natten report runs/fashion-mnist-nat_nano_28-20260102-030405",
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if mistakes < 0 {
					return fmt.Errorf("--mistakes is %d, want at least 0", mistakes)
				}
				if o.Mistakes = mistakes; mistakes == 0 {
					o.Mistakes = -1
				}
				a.bar.Start("evaluating")
				o.OnBad = a.unreadable
				o.Fetch = a.bar.Fetching()
				o.OnBatch = func(images int) {
					a.bar.Update(int64(images), 0, fmt.Sprintf("%d images  mem %s", images, progress.Bytes(procmem.Resident())))
				}
				o.Adapt = func(c *config.Config) {
					if dir != "" {
						c.DataDir = dir
					}
				}
				var result reportResult
				o.OnLack = func(err error) error {
					if dir != "" || o.Device != "" { // asked for in so many words
						return err
					}
					result.Lacks = oneLine(err)
					return nil
				}
				var err error
				if result.Report, err = report.Write(cmd.Context(), args[0], o); err != nil {
					return err
				}
				if result.Lacks != "" {
					a.log.Warn("the page lacks the confusion matrix and the mistakes", "reason", result.Lacks)
				}
				return a.emit(result, func(w io.Writer) { fmt.Fprintln(w, result.Report) })
			},
		}
		flags := c.Flags()
		flags.StringVarP(&o.Output, "output", "o", "", "the page; empty: report.html in the run's folder")
		flags.IntVar(&mistakes, "mistakes", 24, "pictures of mistakes")
		flags.BoolVar(&o.NoData, "no-data", false, "do not evaluate: no confusion matrix and no mistakes")
		flags.StringVar(&o.Device, "device", "", "cpu or cuda; empty: cuda where it works")
		flags.StringVar(&dir, "data-dir", "", "where the data is now; empty: as in the run")
		return c
	})
}
