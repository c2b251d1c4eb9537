package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

// whyBackend says which kernels run a shape: of the CPU, and of the first CUDA
// device class by class.
func whyBackend(shape string) (string, error) {
	p, err := parseProblem(shape)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("cpu: %s", torch.CPUInstructionSet())
	if reason := torch.CUDAStatus(); reason != "" {
		return text + "\ncuda: no: " + reason, nil
	}
	classes, err := torch.WhyCUDABackend(p, 0)
	if err != nil {
		return "", fmt.Errorf("info: --why: %w", err)
	}
	for line := range strings.Lines(classes) {
		text += "\ncuda:0: " + strings.TrimSpace(line)
	}
	return text, nil
}

// parseProblem reads a shape as natten bench prints it: "B8 H2 56x56 D32 K7x7
// d1x1 rpb", and besides a dtype (float32 without one), and "backward" or "unfused".
func parseProblem(shape string) (p torch.CUDAProblem, err error) {
	wrong := func(what string) (torch.CUDAProblem, error) {
		return p, fmt.Errorf("info: --why is %q, %s", shape, what)
	}
	p.DType, p.Batch = gotch.Float, 1
	for _, word := range strings.Fields(shape) {
		if dtype, ok := torch.FloatDType(word); ok {
			p.DType = dtype
			continue
		}
		switch word {
		case "rpb":
			p.RPB = true
			continue
		case "backward":
			p.Backward = true
			continue
		case "unfused":
			p.Unfused = true
			continue
		}
		letter, list := word[:1], word[1:]
		if letter >= "0" && letter <= "9" {
			letter, list = "", word
		}
		var numbers []int64
		for _, text := range strings.Split(list, "x") {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil || n < 1 {
				return wrong(fmt.Sprintf("and %q is no part of a shape", word))
			}
			numbers = append(numbers, n)
		}
		if strings.Contains("BHD", letter) && letter != "" && len(numbers) != 1 {
			return wrong(fmt.Sprintf("want one number in %q", word))
		}
		switch letter {
		case "B":
			p.Batch = numbers[0]
		case "H":
			p.Heads = numbers[0]
		case "D":
			p.Dim = numbers[0]
		case "":
			p.Length = numbers
		case "K":
			p.Kernel = numbers
		case "d":
			p.Dilation = numbers
		default:
			return wrong(fmt.Sprintf("and %q is no part of a shape", word))
		}
	}
	rank := len(p.Length)
	if p.Heads == 0 || p.Dim == 0 || rank < 1 || rank > 3 || len(p.Kernel) != rank {
		return wrong("want H, D, one to three lengths and as many after K")
	}
	if p.Dilation == nil {
		p.Dilation = []int64{1, 1, 1}[:rank]
	}
	if len(p.Dilation) != rank {
		return wrong(fmt.Sprintf("want %d numbers after d", rank))
	}
	for i, kernel := range p.Kernel {
		if kernel*p.Dilation[i] > p.Length[i] {
			return wrong(fmt.Sprintf("and kernel %d at dilation %d exceeds length %d", kernel, p.Dilation[i], p.Length[i]))
		}
	}
	return p, nil
}
