package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/checkpoint"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/progress"
)

// convertOptions are the flags of natten convert.
type convertOptions struct {
	to, model, entry string
	ema              bool
}

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var o convertOptions
		c := &cobra.Command{
			Use:   "convert IN OUT",
			Short: "Rewrite weights in another layout or format",
			Long: `Rewrite weights in another layout or format, every value unchanged.

IN is anything that natten reads: .pth (flat or a training checkpoint), safetensors, a HuggingFace folder.
OUT is a file in the official layout (.pth and .pt as torch.save writes them, else safetensors), or with
--to hf a folder that transformers loads (NAT and DiNAT only).`,
			Example: "  natten convert nat_mini.pth nat_mini_hf --to hf --model nat_mini\n  natten convert nat_mini_hf nat_mini.safetensors",
			Args:    cobra.ExactArgs(2),
			RunE:    func(_ *cobra.Command, args []string) error { return a.convert(args[0], args[1], o) },
		}
		c.Flags().StringVar(&o.to, "to", "official", "layout to write: official or hf")
		c.Flags().StringVar(&o.model, "model", "", "model name, where IN does not say it")
		c.Flags().BoolVar(&o.ema, "ema", false, "take the averaged weights of a training checkpoint")
		c.Flags().StringVar(&o.entry, "entry", "", "path of the weights in a training checkpoint; empty: found by itself")
		return c
	})
}

// convertResult is what natten convert prints.
type convertResult struct {
	In         string `json:"in"`
	InFormat   string `json:"in_format"`
	InLayout   string `json:"in_layout"`
	Out        string `json:"out"`
	OutFormat  string `json:"out_format"`
	OutLayout  string `json:"out_layout"`
	Model      string `json:"model,omitempty"`
	Tensors    int    `json:"tensors"`
	Parameters int64  `json:"elements"`
	Bytes      int64  `json:"bytes"`
	Lost       string `json:"lost,omitempty"` // what IN says and OUT cannot hold
}

func (a *app) convert(in, out string, o convertOptions) error {
	layout := checkpoint.Layout(o.to)
	if layout != checkpoint.LayoutOfficial && layout != checkpoint.LayoutHuggingFace {
		return fmt.Errorf("--to is %q, want official or hf", o.to)
	}
	switch end := filepath.Ext(strings.TrimSuffix(out, ".tar")); {
	case layout == checkpoint.LayoutHuggingFace:
	case end != "" && end != ".safetensors" && end != ".pth" && end != ".pt" && end != ".bin":
		return fmt.Errorf("OUT is %s: want a name that ends in .safetensors, .pth, .pt or .bin", out)
	}
	if same, err := sameFile(in, out); err != nil {
		return err
	} else if same {
		return fmt.Errorf("IN and OUT are the same: %s", in)
	}
	file, err := checkpoint.Open(in, &checkpoint.Options{UseEMA: o.ema, Entry: o.entry})
	if err != nil {
		return err
	}
	defer file.Close()
	if file.Metadata[models.RunState] != "" {
		_, err := models.InfoOf(file)
		return err
	}
	info, err := models.InfoFor(o.model, file)
	if err != nil && (layout != checkpoint.LayoutOfficial || !errors.Is(err, models.ErrUnnamed)) {
		return err
	}
	r := &convertResult{In: in, InFormat: string(file.Format), InLayout: string(file.Layout), Out: out, OutLayout: o.to,
		OutFormat: string(models.FormatByName(out)), Tensors: file.Tensors.Len(), Bytes: file.Tensors.NumBytes()}
	for _, t := range file.Tensors.All() {
		r.Parameters += t.Numel()
	}
	switch {
	case layout == checkpoint.LayoutHuggingFace:
		r.OutFormat, r.Model = string(checkpoint.FormatSafetensors), info.Config.Name
		err = models.Write(out, file.Tensors, *info, models.SaveOptions{Layout: layout})
	case r.OutFormat == string(checkpoint.FormatTorch):
		err = checkpoint.SaveTorch(out, file.Tensors)
		if info != nil && file.Format != checkpoint.FormatTorch {
			r.Lost = "a .pth file keeps no model's name, classes, picture size and normalisation"
		}
	default:
		metadata := maps.Clone(file.Metadata) // what else the file said of itself goes along
		delete(metadata, models.ScriptInfo)
		if info != nil {
			r.Model = info.Config.Name
			own, err := info.Metadata()
			if err != nil {
				return err
			}
			if metadata == nil {
				metadata = map[string]string{}
			}
			maps.Copy(metadata, own)
		}
		err = checkpoint.SaveSafetensors(out, file.Tensors, metadata)
	}
	if err != nil {
		return err
	}
	return a.emit(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s (%s, %s layout) -> %s (%s, %s layout): %d tensors, %s\n", in, r.InFormat, r.InLayout,
			out, r.OutFormat, r.OutLayout, r.Tensors, progress.Bytes(r.Bytes))
		if r.Lost != "" {
			fmt.Fprintln(w, r.Lost)
		}
	})
}

// sameFile reports whether both paths lead to one existing file or folder.
func sameFile(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, nil // which who opens it says
	}
	second, err := os.Stat(b)
	if err != nil {
		return filepath.Clean(a) == filepath.Clean(b), nil // OUT need not exist
	}
	return os.SameFile(first, second), nil
}
