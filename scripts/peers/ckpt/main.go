// Command ckpt lets scripts/peers/check_checkpoints.py drive package checkpoint.
//
//	ckpt copy IN OUT         write IN's tensors, untouched in layout, as OUT (.safetensors or .pth)
//	ckpt official IN OUT     the same in the official layout
//	ckpt hf IN CONFIG DIR    write a HuggingFace folder; CONFIG is a config.json
//	ckpt load FILE N         load FILE N times into memory that is there already and print the seconds of each
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gonatten/gonatten/checkpoint"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "copy":
		return convert(args[1], args[2], &checkpoint.Options{KeepLayout: true, KeepPrefix: true})
	case len(args) == 3 && args[0] == "official":
		return convert(args[1], args[2], nil)
	case len(args) == 4 && args[0] == "hf":
		return huggingFace(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "load":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return load(args[1], n)
	}
	return errors.New("usage: ckpt copy|official IN OUT | hf IN CONFIG DIR | load FILE N")
}

func convert(in, out string, opts *checkpoint.Options) error {
	c, err := checkpoint.Open(in, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	if filepath.Ext(out) == ".safetensors" {
		return checkpoint.SaveSafetensors(out, c.Tensors, map[string]string{"format": "pt", "source": "gonatten"})
	}
	return checkpoint.SaveTorch(out, c.Tensors)
}

func huggingFace(in, config, dir string) error {
	c, err := checkpoint.Open(in, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	hf, err := checkpoint.ParseHFConfig(raw)
	if err != nil {
		return err
	}
	model, err := hf.Model()
	if err != nil {
		return err
	}
	return checkpoint.SaveHuggingFace(dir, c.Tensors, model, nil)
}

// load times opening the file and copying every tensor, checked, into memory that stands for a model's parameters.
func load(path string, n int) error {
	var params [][]byte
	for i := range n + 1 { // the first round makes the parameters
		start := time.Now()
		c, err := checkpoint.Open(path, &checkpoint.Options{LateChecksum: true})
		if err != nil {
			return err
		}
		opened := time.Since(start)
		var into []checkpoint.Destination
		for _, t := range c.Tensors.All() {
			if i == 0 {
				params = append(params, make([]byte, t.NumBytes()))
			}
			into = append(into, checkpoint.Destination{Tensor: t, Memory: params[len(into)]})
		}
		if err := c.Read(into); err != nil {
			return err
		}
		total := time.Since(start)
		if err := c.Close(); err != nil {
			return err
		}
		if i > 0 {
			fmt.Printf("%.6f %.6f\n", opened.Seconds(), total.Seconds())
		}
	}
	return nil
}
