package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
)

// Options say where and how references run. The zero value means everywhere
// and in everything that works on this machine.
type Options struct {
	// DTypes to run in. nil: float64, float32, bfloat16 and float16, of those
	// what the device runs.
	DTypes []gotch.DType
	// Devices to run on. nil: the CPU, and the first CUDA device if there is one.
	Devices []gotch.Device
	// Progress, unless nil, is told before each case how many are done.
	Progress func(done, total int, name string)
}

// job is a case yet to be run.
type job struct {
	name string
	run  func(*meter) error
}

// A part makes jobs of one of the reference folder's subfolders.
// What keeps a whole part from running is a job that fails.
type part func(dir string, places []place) (jobs []job, skipped []string)

var parts = map[string]part{
	"ops":     operators,
	"modules": layers,
	"models":  classifiers,
	"hf":      transformers,
}

// Files of the layout that hold no numbers to compare on a machine.
var elsewhere = map[string]string{
	"README.md":  "documentation",
	"flops.json": "operation counts, which do not depend on the machine",
	"keys":       "parameter lists, which do not depend on the machine",
	"pth":        "file formats, which do not depend on the machine",
	"zoo.json":   "parameter lists, which do not depend on the machine",
}

// Run runs the references in dir. It fails when dir has none or ctx ends; a
// case that fails, or an index that cannot be read, is in the report.
func Run(ctx context.Context, dir string, o Options) (*Report, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("verify: %w: want the folder of the references", err)
	}
	report := &Report{Cases: []Case{}}
	places, notes, err := o.places()
	if err != nil {
		return nil, err
	}
	report.Skipped = append(report.Skipped, notes...)

	var jobs []job
	found := false
	for _, entry := range entries {
		name := entry.Name()
		makeJobs, known := parts[name]
		if !known || !entry.IsDir() {
			reason, expected := elsewhere[name]
			if !expected {
				reason = "unknown to this version"
			}
			report.Skipped = append(report.Skipped, name+": "+reason)
			continue
		}
		found = true
		more, skipped := makeJobs(filepath.Join(dir, name), places)
		if sums := checksums(dir, name); sums != nil {
			more = append([]job{*sums}, more...)
		}
		jobs, report.Skipped = append(jobs, more...), append(report.Skipped, skipped...)
	}
	if !found {
		return nil, fmt.Errorf("verify: %s has no references: want one of the folders %s in it", dir, strings.Join(partNames(), ", "))
	}

	// References are held to float32's accuracy, convolutions included.
	allowed, err := torch.AllowTF32(false)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer func() { _, _ = torch.AllowTF32(allowed) }() // what was read can be set again
	for i, j := range jobs {
		if err := ctx.Err(); err != nil {
			return report, fmt.Errorf("verify: stopped after %d of %d cases: %w", i, len(jobs), err)
		}
		if o.Progress != nil {
			o.Progress(i, len(jobs), j.name)
		}
		m := &meter{}
		if err := j.run(m); err != nil {
			m.fail("%v", err)
		}
		report.add(m.result(j.name))
	}
	return report, nil
}

func partNames() []string {
	var names []string
	for name := range parts {
		names = append(names, name+"/")
	}
	sort.Strings(names)
	return names
}

// place is a device and a dtype to run in.
type place struct {
	device torch.Device
	dtype  gotch.DType
}

func (p place) String() string { return p.device.String() + " " + p.dtypeName() }

func (p place) dtypeName() string { return torch.DTypeName(p.dtype) }

// low reports whether this is half precision.
func (p place) low() bool { return p.dtype == gotch.Half || p.dtype == gotch.BFloat16 }

// places are the devices and dtypes to run in. Of the default dtypes those
// that a device does not run are noted instead.
func (o *Options) places() (places []place, notes []string, err error) {
	devices := o.Devices
	if devices == nil {
		devices = []gotch.Device{gotch.CPU}
		if functional.HasCUDA() {
			devices = append(devices, gotch.CudaBuilder(0))
		}
	}
	dtypes := o.DTypes
	if dtypes == nil {
		dtypes = []gotch.DType{gotch.Double, gotch.Float, gotch.BFloat16, gotch.Half}
	}
	for _, device := range devices {
		if d := torch.DeviceOf(device); !d.Is(torch.CPU) && !functional.HasCUDA(device.Value) {
			return nil, nil, fmt.Errorf("verify: the operators do not run on %v (natten info says why)", d)
		}
		for _, dtype := range dtypes {
			p := place{torch.DeviceOf(device), dtype}
			if err := p.try(); err != nil && o.DTypes == nil {
				notes = append(notes, fmt.Sprintf("%v: %v", p, err))
				continue
			}
			places = append(places, p)
		}
	}
	return places, notes, nil
}

// broken is a job that fails with err.
func broken(name string, err error) job {
	return job{name, func(*meter) error { return err }}
}

// try runs the operator on a tiny input.
func (p place) try() error {
	s := torch.NewScope()
	defer s.Close()
	x := s.Zeros([]int64{1, 3, 1, 8}, p.dtype, p.device)
	s.Own(functional.NA1D(x, x, x, functional.K(3)))
	return s.Err()
}
