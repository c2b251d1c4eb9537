package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/procmem"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/progress"
	"github.com/gonatten/gonatten/train/record"
)

// evalResult is what natten eval prints.
type evalResult struct {
	Model           string        `json:"model"`
	Checkpoint      string        `json:"checkpoint"`
	Images          int           `json:"images"`
	Unreadable      int           `json:"unreadable"` // pictures left out
	TestAccuracy    float64       `json:"test_accuracy"`
	TestTop5        float64       `json:"test_top5"`
	Loss            record.Number `json:"loss"`
	ImagesPerSecond float64       `json:"images_per_second"`
	Seconds         float64       `json:"seconds"`
}

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var (
			file, dataset, dir, split string
			options                   train.PredictorOptions
			batch, workers            int
			amp                       bool
		)
		c := &cobra.Command{
			Use:     "eval --checkpoint FILE [DATA]",
			Short:   "Measure a checkpoint's accuracy on a dataset",
			Long:    "Measure a checkpoint's accuracy. Without DATA, on the test images of the dataset it was trained on.",
			Example: "  natten eval --checkpoint runs/x/best.safetensors\n  natten eval --checkpoint nat_mini.pth --model nat_mini imagenet",
			Args:    cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				p, err := train.OpenPredictor(file, options)
				if err != nil {
					return err
				}
				defer p.Close()
				cfg, err := p.Card.Configuration()
				if err != nil {
					return err
				}
				if len(args) == 1 {
					if dir != "" {
						return fmt.Errorf("the data is %s and --data-dir %s: give one", args[0], dir)
					}
					dir = args[0]
				}
				if dataset != "" || dir != "" {
					cfg.Dataset, cfg.DataDir = dataset, dir
				}
				if split != "" {
					cfg.ValSplit = split
				}
				if cmd.Flags().Changed("batch-size") {
					if batch < 0 {
						return fmt.Errorf("--batch-size is %d, want at least 1 (0: as in the run)", batch)
					}
					cfg.ValBatch = cmp.Or(batch, cfg.ValBatch)
				}
				cfg.Workers = workers
				if cmd.Flags().Changed("amp") {
					cfg.AMP, cfg.AMPDType = amp, "bfloat16"
				}
				if err := cfg.Check(); err != nil {
					return err
				}
				done := 0
				pictures, err := p.OpenData(cmd.Context(), cfg, a.bar.Fetching())
				if errors.Is(err, data.ErrNoSplit) {
					return fmt.Errorf("%w; or measure on all of its pictures: --split train", err)
				}
				if err != nil {
					return err
				}
				defer data.Close(pictures)
				a.bar.Start("evaluating")
				result, err := p.EvaluateOn(cmd.Context(), cfg, pictures, train.EvaluateOptions{
					OnBatch: func(b *data.Batch, _ [][]int64, _ []float64) {
						done += len(b.Labels)
						a.bar.Update(int64(done), int64(pictures.Len()), fmt.Sprintf("%d images  mem %s", done, progress.Bytes(procmem.Resident())))
					},
					OnBad: a.unreadable,
				})
				if err != nil {
					return err
				}
				out := evalResult{
					Model: p.Card.Config.Name, Checkpoint: file, Images: result.Images, Unreadable: result.Unreadable, TestAccuracy: result.Top1, TestTop5: result.Top5,
					Loss: record.Number(result.Loss), ImagesPerSecond: result.ImagesPerSecond(), Seconds: result.Seconds,
				}
				return a.emit(out, func(w io.Writer) {
					if out.Unreadable > 0 {
						fmt.Fprintf(w, "%d pictures could not be read and are left out\n", out.Unreadable)
					}
					fmt.Fprintf(w, "%s on %d images: top-1 %.2f%%, top-5 %.2f%%, loss %.4f, %.0f images/s\n",
						out.Model, out.Images, out.TestAccuracy, out.TestTop5, out.Loss, out.ImagesPerSecond)
				})
			},
		}
		flags := c.Flags()
		flags.StringVar(&file, "checkpoint", "", "weights to measure")
		flags.StringVar(&options.Model, "model", "", "model name, where the checkpoint does not say it")
		flags.StringVar(&options.Device, "device", "", "cpu or cuda; empty: cuda where it works")
		flags.StringVar(&dataset, "dataset", "", "named dataset")
		flags.StringVar(&dir, "data-dir", "", "image folder or shards")
		flags.StringVar(&split, "split", "", "split to measure on: val, test, train; empty: the run's, or val")
		flags.IntVarP(&batch, "batch-size", "b", 0, "images at a time; 0: as in the run")
		flags.IntVarP(&workers, "workers", "j", 0, "goroutines that decode; 0: as many as cores")
		flags.BoolVar(&amp, "amp", false, "bfloat16, where the processor has it; else as in the run")
		if err := c.MarkFlagRequired("checkpoint"); err != nil {
			panic(err)
		}
		return c
	})
}
