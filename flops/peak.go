package flops

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/sugarme/gotch"
)

type peak struct {
	name             string
	half, tf32, full float64
}

// peaks are the dense matrix rates of GPUs in TFLOP/s by their makers' data
// sheets: float16 and bfloat16, TF32, float32 outside of tensor cores. The
// first name whose words a device's has holds: "A100" is no RTX A1000.
var peaks = []peak{
	{"H200", 989.4, 494.7, 66.9},
	{"GH200", 989.4, 494.7, 66.9},
	{"H100 PCIe", 756, 378, 51.2},
	{"H100 NVL", 835, 417, 60},
	{"H100", 989.4, 494.7, 66.9},
	{"B200", 2250, 1125, 75},
	{"GB200", 2250, 1125, 75},
	{"A100", 312, 156, 19.5},
	{"A40", 149.7, 74.8, 37.4},
	{"A30", 165, 82, 10.3},
	{"A10", 125, 62.5, 31.2},
	{"L40S", 362, 183, 91.6},
	{"L40", 181, 90.5, 90.5},
	{"L4", 121, 60, 30.3},
	{"V100", 125, 15.7, 15.7},
	{"T4", 65, 8.1, 8.1},
}

// PeakFLOPs is the rate in FLOP/s that a device of that name (as its driver
// prints it, "NVIDIA H200") can reach in dense matrix products of the dtype;
// float32 means TF32 where allowTF32. false: not known here.
func PeakFLOPs(device string, dtype gotch.DType, allowTF32 bool) (float64, bool) {
	words := strings.FieldsFunc(device, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	name := " " + strings.Join(words, " ") + " "
	i := slices.IndexFunc(peaks, func(p peak) bool { return strings.Contains(name, " "+p.name+" ") })
	if i < 0 {
		return 0, false
	}
	const tera = 1e12
	switch {
	case dtype == gotch.Half || dtype == gotch.BFloat16:
		return peaks[i].half * tera, true
	case dtype == gotch.Float && allowTF32:
		return peaks[i].tf32 * tera, true
	case dtype == gotch.Float:
		return peaks[i].full * tera, true
	}
	return 0, false
}

// GPUName is the name of the first NVIDIA GPU by Linux's driver, "" where there
// is none.
func GPUName() string {
	files, _ := filepath.Glob("/proc/driver/nvidia/gpus/*/information")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "Model:"); ok {
				return strings.TrimSpace(name)
			}
		}
	}
	return ""
}
