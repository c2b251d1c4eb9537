package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/train"
)

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var (
			classes string
			o       predictOptions
		)
		c := &cobra.Command{
			Use:   "predict --checkpoint FILE PICTURE|FOLDER...",
			Short: "Name what pictures show",
			Example: "  natten predict --checkpoint runs/x/best.safetensors cat.jpg holiday/\n" +
				"  natten predict --checkpoint nat_mini_hf --attention cat.png --at 0.4,0.6 cat.jpg",
			Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if o.top < 1 {
					return fmt.Errorf("--top is %d, want at least 1", o.top)
				}
				pictures, err := listPictures(args)
				if err != nil {
					return err
				}
				if classes != "" {
					text, err := os.ReadFile(classes)
					if err != nil {
						return err
					}
					for line := range strings.Lines(strings.TrimSpace(string(text))) {
						o.Classes = append(o.Classes, strings.TrimSpace(line))
					}
					if len(o.Classes) == 0 {
						return fmt.Errorf("--classes: %s names no class", classes)
					}
				}
				if given := changed(cmd, "at"); len(given) > 0 && o.attention == "" {
					return fmt.Errorf("--at is the token for --attention: give that too")
				}
				if o.attention != "" {
					if err := atomicfile.Check(o.attention); err != nil {
						return fmt.Errorf("--attention: %w", err)
					}
					if len(pictures) != 1 {
						return fmt.Errorf("--attention draws one picture, %d are given", len(pictures))
					}
					if strings.ToLower(filepath.Ext(o.attention)) != ".png" {
						return fmt.Errorf("--attention is %s, want a name that ends in .png", o.attention)
					}
					if _, err := parsePoint(o.at); err != nil {
						return err
					}
				}
				return a.predict(cmd.Context(), pictures, o)
			},
		}
		c.Flags().StringVar(&o.file, "checkpoint", "", "weights: what natten train saved, .pth, safetensors, or a HuggingFace folder")
		c.Flags().StringVar(&o.Model, "model", "", "model name, where the checkpoint does not say it")
		c.Flags().StringVar(&classes, "classes", "", "file with a class name per line, where the checkpoint has none")
		c.Flags().StringVar(&o.Device, "device", "", "cpu or cuda; empty: cuda where it works")
		c.Flags().IntVar(&o.top, "top", 5, "classes to show per picture")
		c.Flags().StringVar(&o.attention, "attention", "", "PNG to draw: what one token attends to at each level")
		c.Flags().StringVar(&o.at, "at", "0.5,0.5", "the token for --attention: ROW,COLUMN, both from 0 to 1")
		if err := c.MarkFlagRequired("checkpoint"); err != nil {
			panic(err)
		}
		return c
	})
}

// predictOptions are the flags of natten predict.
type predictOptions struct {
	train.PredictorOptions
	file, attention, at string
	top                 int
}

// pictureGuesses is the outcome for one picture.
type pictureGuesses struct {
	Picture string        `json:"picture"`
	Guesses []train.Guess `json:"guesses,omitempty"`
	Error   string        `json:"error,omitempty"`
}

func (a *app) predict(ctx context.Context, pictures []string, o predictOptions) error {
	p, err := train.OpenPredictor(o.file, o.PredictorOptions)
	if err != nil {
		return err
	}
	defer p.Close()
	var (
		results []pictureGuesses
		failed  int
	)
	a.bar.Start("predicting")
	const batch = 16
	for start := 0; start < len(pictures); start += batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		names := pictures[start:min(start+batch, len(pictures))]
		for _, r := range predictSome(p, names, o.top) {
			if r.Error != "" {
				failed++
			}
			results = append(results, r)
		}
		a.bar.Update(int64(len(results)), int64(len(pictures)), "")
	}
	err = a.emit(map[string]any{"model": p.Card.Config.Name, "pictures": results}, func(w io.Writer) { printGuesses(w, results) })
	if err == nil && failed == 0 && o.attention != "" {
		if err = drawAttention(p, pictures[0], o.at, o.attention); err == nil {
			a.log.Info("attention drawn", "file", o.attention)
		}
		return err
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d pictures could not be read: %s", failed, len(results), firstError(results))
	}
	return err
}

// predictSome predicts several pictures at once; one that cannot be read does
// not spoil the others.
func predictSome(p *train.Predictor, names []string, top int) []pictureGuesses {
	results := make([]pictureGuesses, len(names))
	var samples []data.Sample
	var places []int
	for i, name := range names {
		results[i].Picture = name
		sample, err := data.ReadSample(name)
		if err == nil {
			err = sample.Decode(&data.Image{})
		}
		if err != nil {
			results[i].Error = err.Error()
			continue
		}
		samples, places = append(samples, sample), append(places, i)
	}
	if len(samples) == 0 {
		return results
	}
	guesses, err := p.Predict(samples, top)
	for j, i := range places {
		if err != nil {
			results[i].Error = err.Error()
		} else {
			results[i].Guesses = guesses[j]
		}
	}
	return results
}

func firstError(results []pictureGuesses) string {
	for _, r := range results {
		if r.Error != "" {
			return r.Error
		}
	}
	return ""
}

func printGuesses(w io.Writer, results []pictureGuesses) {
	width := 0
	for _, r := range results {
		for _, g := range r.Guesses {
			width = max(width, len([]rune(g.Name)))
		}
	}
	for _, r := range results {
		fmt.Fprintln(w, r.Picture)
		if r.Error != "" {
			fmt.Fprintln(w, "  cannot be read:", r.Error)
		}
		for _, g := range r.Guesses {
			bar := ""
			if p := float64(g.Probability); p > 0 { // and a number
				bar = strings.Repeat("█", int(20*p+0.5))
			}
			fmt.Fprintf(w, "  %5.1f%%  %-*s  %s\n", 100*g.Probability, width, g.Name, bar)
		}
	}
}

// listPictures are the files given and the image files in folders given, in
// order, however deep.
func listPictures(args []string) ([]string, error) {
	var list []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			var pathError *os.PathError
			if errors.As(err, &pathError) {
				err = pathError.Err
			}
			return nil, fmt.Errorf("picture %s: %w", arg, err)
		}
		if !info.IsDir() {
			list = append(list, arg)
			continue
		}
		before := len(list)
		if err := filepath.WalkDir(arg, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && data.IsPicture(path) {
				list = append(list, path)
			}
			return err
		}); err != nil {
			return nil, err
		}
		if len(list) == before {
			return nil, fmt.Errorf("folder %s holds no pictures", arg)
		}
	}
	return list, nil
}
