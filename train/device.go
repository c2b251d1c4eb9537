package train

import (
	"fmt"

	"github.com/gonatten/gonatten/functional"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/train/dist"
)

// useDevice settles on which device this process trains.
func (r *run) useDevice(env dist.Environment) (err error) {
	if r.device, err = chooseDevice(r.config.Device); err != nil || !r.device.Is(torch.CUDA) {
		return err
	}
	if r.device, err = localDevice(env, r.device.Count()); err != nil {
		return err
	}
	return r.device.Use()
}

// chooseDevice resolves the configured device; "" is CUDA where the operators
// run there.
func chooseDevice(name string) (torch.Device, error) {
	switch {
	case name != "" && name != "cpu" && name != "cuda":
		return torch.CPU, fmt.Errorf("train: device is %q, want cpu or cuda", name)
	case name == "cuda" && !functional.HasCUDA():
		return torch.CPU, fmt.Errorf("train: device is cuda, and the operators do not run there (natten info says why)")
	case name == "cuda", name == "" && functional.HasCUDA():
		return torch.CUDAIndex(0), nil
	}
	return torch.CPU, nil
}

// localDevice is the CUDA device of a process, of count on its machine.
func localDevice(e dist.Environment, count int) (torch.Device, error) {
	if e.LocalRank < 0 || e.LocalRank >= count {
		return torch.CPU, fmt.Errorf("train: %s is %d, and this machine has %d CUDA devices, one for each process: start no more processes, or give device cpu",
			e.LocalVariable, e.LocalRank, count)
	}
	return torch.CUDAIndex(e.LocalRank), nil
}
