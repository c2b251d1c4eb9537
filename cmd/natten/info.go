package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train/config"
)

// infoResult is what natten info prints.
type infoResult struct {
	Version        string   `json:"version"`
	Go             string   `json:"go"`
	Platform       string   `json:"platform"`
	Libtorch       string   `json:"libtorch"`
	InstructionSet string   `json:"instruction_set"`
	Threads        int      `json:"threads"`
	Cores          int      `json:"cores"`
	Half           bool     `json:"float16"`
	BFloat         bool     `json:"bfloat16"`
	CUDA           bool     `json:"cuda"`
	WhyNoCUDA      string   `json:"why_no_cuda,omitempty"`
	CUDADevices    []string `json:"cuda_devices,omitempty"`
	Models         int      `json:"models"`
	Presets        []string `json:"presets"`
}

func init() {
	subcommands = append(subcommands, func(a *app) *cobra.Command {
		var listModels, listKeys bool
		var size, why, model string
		c := &cobra.Command{
			Use:     "info [MODEL|CHECKPOINT]",
			Short:   "Say what this build is and what it can use here, or what a model is made of",
			Example: "  natten info nat_tiny --size 384\n  natten info runs/x/best.safetensors",
			Args:    cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if given := changed(cmd, "models", "config", "why"); len(given) > 1 || len(given) == 1 && len(args) == 1 {
					return fmt.Errorf("--%s stands alone", given[0])
				}
				if given := changed(cmd, "size", "model"); len(given) > 0 && len(args) == 0 {
					return fmt.Errorf("--%s is of a model: name one", given[0])
				}
				switch {
				case len(args) == 1:
					return a.describeModel(args[0], model, size)
				case cmd.Flags().Changed("why"):
					text, err := whyBackend(why)
					if err != nil {
						return err
					}
					return a.emit(map[string]string{"shape": why, "why": text}, func(w io.Writer) { fmt.Fprintln(w, text) })
				case listModels:
					return a.listModels()
				case listKeys:
					return a.emit(config.Fields(), printKeys)
				}
				info := gatherInfo()
				return a.emit(info, info.print)
			},
		}
		c.Flags().BoolVar(&listModels, "models", false, "list the models")
		c.Flags().StringVar(&size, "size", "", "picture size for MODEL, N or HEIGHTxWIDTH; empty: the model's own")
		c.Flags().StringVar(&why, "why", "", `which kernels run a shape and why: "B1 H24 256x256 D128 K80x80 d1x1 bfloat16", with rpb, and backward or unfused, where they apply`)
		c.Flags().StringVar(&model, "model", "", "model name, where CHECKPOINT does not say it")
		c.Flags().BoolVar(&listKeys, "config", false, "list the keys of a training configuration")
		return c
	})
}

func gatherInfo() *infoResult {
	info := &infoResult{
		Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Libtorch: torch.LibtorchVersion(), InstructionSet: torch.CPUInstructionSet(),
		Threads: torch.Threads(), Cores: runtime.NumCPU(),
		Half: functional.HasHalf(), BFloat: functional.HasBFloat(), CUDA: functional.HasCUDA(),
		Models: len(models.List("")), Presets: config.Presets(),
	}
	if !info.CUDA {
		info.WhyNoCUDA = whyNoCUDA()
		return info
	}
	for i := range 64 {
		if !functional.HasCUDA(i) {
			break
		}
		cc := functional.DeviceCC(i)
		info.CUDADevices = append(info.CUDADevices, fmt.Sprintf("cuda:%d, compute capability %d.%d", i, cc/10, cc%10))
	}
	return info
}

// whyNoCUDA names the first thing that is missing.
func whyNoCUDA() string {
	if runtime.GOOS != "linux" {
		return "CUDA is used on Linux only"
	}
	if reason := torch.CUDAStatus(); reason != "" {
		return reason
	}
	s := torch.NewScope()
	defer s.Close()
	s.Zeros([]int64{1}, gotch.Float, torch.CUDA)
	if err := s.Err(); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return first
	}
	return "the operators fail there: natten verify says how"
}

func (i *infoResult) print(w io.Writer) {
	yes := map[bool]string{true: "yes", false: "no"}
	fmt.Fprintf(w, "natten %s, %s, %s\n", i.Version, i.Go, i.Platform)
	fmt.Fprintf(w, "libtorch         %s\n", i.Libtorch)
	fmt.Fprintf(w, "instruction set  %s\n", i.InstructionSet)
	fmt.Fprintf(w, "threads          %d of %d cores\n", i.Threads, i.Cores)
	fmt.Fprintf(w, "float16          %s\n", yes[i.Half])
	fmt.Fprintf(w, "bfloat16         %s\n", yes[i.BFloat])
	if i.CUDA {
		fmt.Fprintf(w, "CUDA             %s\n", strings.Join(i.CUDADevices, "; "))
	} else {
		fmt.Fprintf(w, "CUDA             no: %s\n", i.WhyNoCUDA)
	}
	fmt.Fprintf(w, "models           %d (natten info --models)\n", i.Models)
	fmt.Fprintf(w, "presets          %s\n", strings.Join(i.Presets, ", "))
}

// modelRow describes a variant in a list.
type modelRow struct {
	Name       string  `json:"name"`
	Family     string  `json:"family"`
	ImageSize  int64   `json:"img_size"`
	KernelSize int64   `json:"kernel_size"`
	ParamsM    float64 `json:"params_m,omitempty"`
	GMACs      float64 `json:"gmacs,omitempty"`
	Top1       float64 `json:"top1,omitempty"`
}

func (a *app) listModels() error {
	var list []modelRow
	for _, name := range models.List("") {
		c, err := models.ConfigOf(name)
		if err != nil {
			return err
		}
		v, _ := models.Lookup(name)
		list = append(list, modelRow{name, string(c.Family), c.ImageSize, c.KernelSize, v.Published.ParamsM, v.Published.GMACs, v.Published.Top1})
	}
	return a.emit(list, func(w io.Writer) {
		fmt.Fprintf(w, "%-24s %-13s %5s %6s %9s %6s %s\n", "name", "family", "image", "kernel", "params, M", "GMACs", "ImageNet top-1 (published)")
		for _, m := range list {
			fmt.Fprintf(w, "%-24s %-13s %5d %6d %9s %6s %s\n", m.Name, m.Family, m.ImageSize, m.KernelSize,
				figure(m.ParamsM, "%.0f"), figure(m.GMACs, "%.1f"), figure(m.Top1, "%.1f"))
		}
	})
}

func figure(x float64, format string) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf(format, x)
}

func printKeys(w io.Writer) {
	section := ""
	for _, f := range config.Fields() {
		if f.Section != section {
			section = f.Section
			fmt.Fprintf(w, "\n%s\n", section)
		}
		value := f.Default
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(w, "  %-22s %-7s %-21s %s\n", f.Key, f.Type, value, f.Help)
	}
}
