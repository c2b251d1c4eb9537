// Command finetune measures what a checkpoint is worth: the small NAT is
// trained on half of Fashion-MNIST's classes, then tuned on the other half from
// that checkpoint and, with the same steps and pictures, from nothing. Only the
// learning rate differs: each has one that suits it.
//
//	go run ./bench/finetune -seeds 1,2,3
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
)

func main() {
	seeds := flag.String("seeds", "1,2,3", "a repetition each, with weights and order of its own")
	epochs := flag.Int("epochs", 2, "epochs on the first half of the classes")
	steps := flag.Int("steps", 50, "steps of the preset's batch, 128 pictures, on the second half, one epoch of that many")
	rate := flag.Float64("lr", 2e-3, "learning rate of the tuning; from nothing the preset's, 3e-3, is used")
	start := flag.String("base", "", "checkpoint to tune from, for all seeds; empty: one is trained for each")
	folder := flag.String("folder", "", "where pictures and runs go; empty: a temporary folder, removed at the end")
	flag.Parse()
	runtime.LockOSThread()
	if err := compare(*folder, *seeds, *start, *epochs, *steps, *rate); err != nil {
		fmt.Fprintln(os.Stderr, "finetune:", err)
		os.Exit(1)
	}
}

const batch = 128 // of the preset

// outcome is one seed's: top-1 accuracy in percent on the second half's test
// images, and of the base on the first half's.
type outcome struct {
	Seed    int     `json:"seed"`
	Base    float64 `json:"base,omitempty"`
	Tuned   float64 `json:"tuned"`
	Scratch float64 `json:"scratch"`
}

func compare(folder, seeds, start string, epochs, steps int, rate float64) error {
	if folder == "" {
		temporary, err := os.MkdirTemp("", "finetune-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		folder = temporary
	}
	first, second := filepath.Join(folder, "first"), filepath.Join(folder, "second")
	if _, err := os.Stat(second); err != nil { // else an earlier call has written the pictures
		if err := split(first, second, batch*steps); err != nil {
			return err
		}
	}
	var outcomes []outcome
	for _, text := range strings.Split(seeds, ",") {
		seed, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("-seeds: %q is not a number", text)
		}
		o := outcome{Seed: seed}
		checkpoint := start
		if checkpoint == "" {
			base, err := run(first, folder, "base", seed, fmt.Sprintf("epochs: %d", epochs))
			if err != nil {
				return err
			}
			o.Base, checkpoint = base.TestAccuracy, base.Checkpoint
		}
		const short = "epochs: 1\nwarmup_epochs: 0.1" // the rate falls to its minimum within it
		tuned, err := run(second, folder, "tuned", seed, fmt.Sprintf("%s\nlr: %g\ninitial_checkpoint: %s", short, rate, checkpoint))
		if err != nil {
			return err
		}
		scratch, err := run(second, folder, "scratch", seed, short)
		if err != nil {
			return err
		}
		o.Tuned, o.Scratch = tuned.TestAccuracy, scratch.TestAccuracy
		fmt.Fprintf(os.Stderr, "seed %d: after %d steps on other classes: tuned %.2f%%, from nothing %.2f%%\n",
			seed, steps, o.Tuned, o.Scratch)
		outcomes = append(outcomes, o)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(map[string]any{"epochs": epochs, "steps": steps, "lr": rate, "outcomes": outcomes})
}

func run(dir, folder, name string, seed int, settings string) (*train.Summary, error) {
	c, err := config.Load("fashion_mnist")
	if err != nil {
		return nil, err
	}
	c.Dataset, c.DataDir, c.Output, c.Experiment, c.Seed = "", dir, filepath.Join(folder, "runs"), fmt.Sprintf("%s-%d", name, seed), seed
	if err := c.Read([]byte(settings)); err != nil {
		return nil, err
	}
	return train.Run(context.Background(), c, train.RunOptions{})
}

// firstHalf are the classes of the first folder. Both have clothes and shoes: what
// is learnt of tops says little about shoes.
var firstHalf = []int{0, 1, 2, 5, 7} // T-shirt, trouser, pullover, sandal, sneaker; the others: dress, coat, shirt, bag, boot

// split writes Fashion-MNIST as two image folders of five classes each, the second
// with so many pictures to train on.
func split(first, second string, pictures int) error {
	for _, part := range []string{"train", "val"} {
		set, err := data.Open(context.Background(), "fashion-mnist", part, data.Options{})
		if err != nil {
			return err
		}
		classes := set.Classes()
		for i := range set.Len() {
			sample, err := set.Sample(i)
			if err != nil {
				return err
			}
			half := second
			if slices.Contains(firstHalf, sample.Label) {
				half = first
			} else if part == "train" {
				if pictures == 0 {
					continue
				}
				pictures--
			}
			class := strings.ReplaceAll(classes[sample.Label], "/", "-")
			if err := write(filepath.Join(half, part, class, fmt.Sprintf("%05d.png", i)), &sample); err != nil {
				return err
			}
		}
	}
	return nil
}

func write(path string, sample *data.Sample) error {
	var picture data.Image
	if err := sample.Decode(&picture); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	grey := &image.Gray{Pix: picture.Pix, Stride: picture.Width, Rect: picture.Bounds()}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := png.Encode(file, grey); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
