package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/progress"
)

// exportResult is what natten export prints.
type exportResult struct {
	Model  string `json:"model"`
	Out    string `json:"out"`
	Height int64  `json:"height"`
	Width  int64  `json:"width"`
	Bytes  int64  `json:"bytes"`
}

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var file, model, size string
		c := &cobra.Command{
			Use:   "export --checkpoint FILE OUT.pt",
			Short: "Write a model as TorchScript for Python and C++",
			Long: `Write a model in evaluation mode as TorchScript. Who loads it loads libnatten.so first:

  torch.ops.load_library("libnatten.so"); model = torch.jit.load("OUT.pt")

The script takes pictures [batch, channels, height, width], prepared as its extra file natten.json says. Any batch
size will do, and any picture size at which no level is smaller than kernel_size times dilation.`,
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return a.export(file, model, size, args[0]) },
		}
		c.Flags().StringVar(&file, "checkpoint", "", "weights: what natten train saved, .pth, safetensors, or a HuggingFace folder")
		c.Flags().StringVar(&model, "model", "", "model name, where the checkpoint does not say it")
		c.Flags().StringVar(&size, "size", "", "picture size to trace with, N or HEIGHTxWIDTH; empty: the model's own")
		if err := c.MarkFlagRequired("checkpoint"); err != nil {
			panic(err)
		}
		return c
	})
}

func (a *app) export(file, model, size, out string) error {
	switch end := filepath.Ext(out); end {
	case ".pt", ".pth", ".ts", ".torchscript":
	default:
		return fmt.Errorf("OUT is %s, want a name that ends in .pt, .pth, .ts or .torchscript", out)
	}
	if same, err := sameFile(file, out); err != nil {
		return err
	} else if same {
		return fmt.Errorf("OUT is the checkpoint itself: %s", out)
	}
	p, err := train.OpenPredictor(file, train.PredictorOptions{Model: model, Device: "cpu"})
	if err != nil {
		return err
	}
	defer p.Close()
	r := exportResult{Model: p.Card.Config.Name, Out: out, Height: p.Card.Preprocess.ImageSize, Width: p.Card.Preprocess.ImageSize}
	if r.Model == "" {
		r.Model = string(p.Card.Config.Family)
	}
	if size != "" {
		if r.Height, r.Width, err = parseSize(size); err != nil {
			return err
		}
	}
	if err := p.Model.Export(out, p.Card.Info, r.Height, r.Width); err != nil {
		return err
	}
	written, err := os.Stat(out)
	if err != nil {
		return err
	}
	r.Bytes = written.Size()
	return a.emit(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s as TorchScript, traced at %dx%d, %s\n", out, r.Model, r.Height, r.Width, progress.Bytes(r.Bytes))
	})
}
