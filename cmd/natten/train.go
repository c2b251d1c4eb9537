package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/progress"
)

// defaultPreset is what `natten train` runs when told nothing.
const defaultPreset = "fashion_mnist"

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var (
			flags config.Flags
			file  string
		)
		c := &cobra.Command{
			Use:   "train [DATA]",
			Short: "Train a model",
			Long: "Train a model. Without arguments: a small NAT on Fashion-MNIST, in minutes.\n\n" +
				"DATA is an image folder (DATA/train/CLASS/*.jpg, DATA/val/CLASS/*.jpg), tar shards, or\n" +
				"the folder with the files of the dataset that the configuration names.\n" +
				"Every key of a configuration file is a flag; flags go over the file, the file over\n" +
				"the published recipe. timm's names and the official YAML files are accepted.",
			Example: "  natten train\n  natten train --epochs 10 --lr 1e-3\n  natten train pictures --config fashion_mnist\n  natten train imagenet --config nat_mini.yml",
			Args:    cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				cfg, err := trainConfig(&flags, file, args)
				if err != nil {
					return err
				}
				if a.threads > 0 {
					cfg.Threads = a.threads
				}
				if set := dropNamedSet(cfg, &flags, args); set != "" {
					a.log.Info("training on pictures of your own in place of "+set, "folder", cfg.DataDir)
				}
				summary, err := train.Run(cmd.Context(), cfg, train.RunOptions{Progress: a.bar, Log: a.log})
				if err != nil {
					return err
				}
				if summary.Rank != 0 {
					return nil // rank 0 says it
				}
				return a.emit(summary, func(w io.Writer) { printSummary(w, summary) })
			},
		}
		c.Flags().StringVarP(&file, "config", "c", "", "YAML file, or a preset: "+fmt.Sprint(config.Presets()))
		flags.Define(c.Flags(), "threads") // which every subcommand has
		return c
	})
}

// trainConfig resolves what a run is to be.
func trainConfig(flags *config.Flags, file string, args []string) (*config.Config, error) {
	if file == "" && len(args) == 0 && (!flags.Has("resume") || flags.Value("resume") == train.ResumeAuto) && !flags.Has("data_dir") && !flags.Has("dataset") {
		if flags.Has("model") {
			return nil, fmt.Errorf("train on what? Give an image folder, or --dataset fashion-mnist")
		}
		file = defaultPreset
	}
	cfg := config.Default()
	if resume := flags.Value("resume"); resume != "" && resume != train.ResumeAuto && file == "" {
		var err error
		if cfg, err = train.ResumeConfig(resume); err != nil {
			return nil, err
		}
	} else if file != "" {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return nil, err
		}
	}
	if len(args) == 1 {
		cfg.DataDir = args[0]
	}
	if err := flags.Apply(cfg); err != nil {
		return nil, err
	}
	if cfg.Model == "" {
		return nil, fmt.Errorf("which model? Give --model, one of those that natten info --models lists")
	}
	return cfg, nil
}

// dropNamedSet takes out the named dataset that a configuration file or a preset
// brings along where the command line names a folder that holds pictures of its
// own and not the set's files; it returns the set's name, or "". Imagenet is such a
// folder itself, and a set that the command line names stays.
func dropNamedSet(cfg *config.Config, flags *config.Flags, args []string) string {
	set := cfg.Dataset
	if len(args) == 0 && !flags.Has("data_dir") || flags.Has("dataset") || set == "" || set == "imagenet" {
		return ""
	}
	if !strings.HasSuffix(cfg.DataDir, ".tar") && !data.HoldsPictures(cfg.DataDir) {
		return ""
	}
	cfg.Dataset = ""
	return set
}

func printSummary(w io.Writer, s *train.Summary) {
	if s.StopReason != "" {
		fmt.Fprintf(w, "%s%s.\n", strings.ToUpper(s.StopReason[:1]), s.StopReason[1:])
	}
	if s.Interrupted {
		fmt.Fprintf(w, "Stopped after %d epochs and %d steps; what was learnt is saved.\n", s.Epochs, s.Steps)
	}
	if s.Evaluated || s.BestEpoch > 0 { // summaries told no more than the epoch before 2026-11-29
		when := fmt.Sprintf("epoch %d of %d", s.BestEpoch, s.Epochs)
		if s.BestPartial {
			when = fmt.Sprintf("step %d of %d", s.BestStep, s.Steps)
		}
		fmt.Fprintf(w, "Test accuracy  %.2f%% (top-5 %.2f%%), after %s\n", s.TestAccuracy, s.TestTop5, when)
	}
	fmt.Fprintf(w, "Model          %s, %d parameters\n", s.Model, s.Parameters)
	fmt.Fprintf(w, "Speed          %.0f images/s in training, %s in all\n", s.ImagesPerSecond,
		progress.Duration(time.Duration(s.Seconds*float64(time.Second))))
	fmt.Fprintf(w, "Saved          %s\n", s.Checkpoint)
	fmt.Fprintf(w, "Curve          %s\n", s.Curve)
	if s.Skipped > 0 {
		fmt.Fprintf(w, "Left out       %d steps without a finite loss and finite gradients\n", s.Skipped)
	}
	if s.Interrupted {
		fmt.Fprintf(w, "\nTo go on:\n  %s train --resume %s\n", program(), quote(s.Folder))
	} else {
		fmt.Fprintf(w, "\nAll of it on one page:\n  %s report %s\n", program(), quote(s.Folder))
	}
	if s.Samples != "" {
		fmt.Fprintf(w, "\nTry it on some pictures that it was not trained on:\n  %s predict --checkpoint %s %s\n",
			program(), quote(s.Checkpoint), quote(filepath.Clean(s.Samples)))
	}
}
