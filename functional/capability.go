package functional

import (
	"sync"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/internal/torch"
)

// The capability queries. Each takes an optional CUDA device index; without
// one it speaks of the device that HasCUDA finds, or of the CPU where there is
// none. An answer is true only where the operator has really run on that
// device: the first query of a kind runs it once on a tiny input.

// HasCUDA reports whether neighborhood attention runs on a CUDA device.
func HasCUDA(device ...int) bool {
	index := 0
	if len(device) > 0 {
		index = device[0]
	}
	return index >= 0 && torch.HasCUDAKernels() && runs(torch.CUDAIndex(index), gotch.Float)
}

// HasHalf reports whether it runs in float16.
func HasHalf(device ...int) bool { return exists(device) && runs(queried(device), gotch.Half) }

// HasBFloat reports whether it runs in bfloat16.
func HasBFloat(device ...int) bool { return exists(device) && runs(queried(device), gotch.BFloat16) }

// HasGEMM reports whether the fused operators run on tensor cores: in float16 on
// CUDA devices of compute capability 7.5 and up, in bfloat16 from 8.0.
func HasGEMM(device ...int) bool { return HasCUDA(device...) && DeviceCC(device...) >= 75 }

// HasFP32GEMM is HasGEMM for float32 inputs, which run there as three products
// of TF32 parts, or as one where libtorch is allowed TF32: from 8.0.
func HasFP32GEMM(device ...int) bool { return HasCUDA(device...) && DeviceCC(device...) >= 80 }

var opCapability = torch.NewOp("natten::_cuda_capability")

// DeviceCC is a CUDA device's compute capability as major*10+minor, 0 where
// there is no such device or no CUDA build.
func DeviceCC(device ...int) int {
	index := 0
	if len(device) > 0 {
		index = device[0]
	}
	if index < 0 || !torch.HasCUDAKernels() {
		return 0
	}
	results, err := opCapability.Call(index)
	if err != nil || len(results) != 1 {
		return 0
	}
	cc, _ := results[0].(int64)
	return int(cc)
}

func exists(device []int) bool { return len(device) == 0 || device[0] >= 0 }

func queried(device []int) torch.Device {
	if len(device) > 0 {
		return torch.CUDAIndex(device[0])
	}
	if HasCUDA() {
		return torch.CUDAIndex(0)
	}
	return torch.CPU
}

type capability struct {
	device torch.Device
	dtype  gotch.DType
}

var proven sync.Map // of the capabilities seen; a failure may pass, as one for want of memory does

// runs tries the fused operator until it has run once on that device in that dtype.
func runs(device torch.Device, dtype gotch.DType) bool {
	key := capability{device, dtype}
	if _, ok := proven.Load(key); ok {
		return true
	}
	s := torch.NewScope()
	defer s.Close()
	x := s.Zeros([]int64{1, 3, 1, 8}, dtype, device)
	s.Own(NA1D(x, x, x, K(3)))
	if s.Err() != nil {
		return false
	}
	proven.Store(key, nil)
	return true
}
