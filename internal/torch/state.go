package torch

// #include <stdlib.h>
// #include "../../csrc/natten.h"
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/ts"
)

// Threads is the number of threads libtorch uses inside an operator.
func Threads() int { return int(C.natten_threads()) }

// maxThreads is far beyond any machine: OpenMP starts all that it is told to, and
// a process that asks for a million is killed.
const maxThreads = 1024

// SetThreads sets it for the process; n is 1 to 1024.
func SetThreads(n int) error {
	if n < 1 || n > maxThreads {
		return fmt.Errorf("torch: SetThreads: %d threads, want 1 to %d", n, maxThreads)
	}
	return failure(C.natten_set_threads(C.int(n)))
}

// ReturnFreedMemory makes the process give blocks of at least that many bytes
// back to the system when they are freed. By itself glibc keeps freed tensors
// for later ones, and may keep several times what is alive, because tensors are
// aligned. Taking memory anew costs time. There is no way back.
func ReturnFreedMemory(bytes int64) { C.natten_return_freed_memory(C.int64_t(bytes)) }

// ManualSeed seeds libtorch's generators.
func ManualSeed(seed uint64) error { return failure(C.natten_manual_seed(C.uint64_t(seed))) }

// GeneratorStateOf is the state of a device's generator as a uint8 tensor on
// the CPU.
func GeneratorStateOf(d Device) (*ts.Tensor, error) {
	var state C.natten_tensor
	err := failure(C.natten_generator_state(C.int(d.kind), C.int(d.index), &state))
	return wrap(unsafe.Pointer(state)), err
}

// SetGeneratorStateOf restores what GeneratorStateOf gave.
func SetGeneratorStateOf(d Device, state *ts.Tensor) error {
	err := failure(C.natten_set_generator_state(C.int(d.kind), C.int(d.index), handle(state)))
	runtime.KeepAlive(state)
	return err
}

// Deterministic reports whether operators must give the same bits run to run.
func Deterministic() bool { return C.natten_deterministic() != 0 }

// SetDeterministic sets it for the process; operators that cannot comply fail.
func SetDeterministic(enabled bool) error {
	return failure(C.natten_set_deterministic(C.int(bit(enabled))))
}

// LibtorchVersion is the release whose headers libnatten was built with.
func LibtorchVersion() string { return C.GoString(C.natten_libtorch_version()) }

// CPUInstructionSet names the set that the CPU kernels use: "avx512_amx",
// "avx512_bf16", "avx512", "avx2", "neon" or "scalar".
func CPUInstructionSet() string { return C.GoString(C.natten_cpu_instruction_set()) }

// HasCUDAKernels reports whether CUDA kernels of natten::na are loaded.
func HasCUDAKernels() bool { return C.natten_has_cuda() != 0 }

// AllowTF32 says whether convolutions of float32 on CUDA may round their inputs
// to TF32's ten bits, which is libtorch's default, and returns what held before.
func AllowTF32(allowed bool) (before bool, err error) {
	var held C.int
	err = failure(C.natten_allow_tf32(C.int(bit(allowed)), &held))
	return held != 0, err
}

// ForceCUDABackend makes this OS thread's forward calls run a kernel class of
// CUDA, or none of them where it refuses; "" and "auto" choose again. It fails
// where there are no CUDA kernels.
func ForceCUDABackend(name string) error {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return failure(C.natten_cuda_force(text))
}

// CUDAProblem is a call as the choice of kernels sees it: of the fused operator,
// of its backward, or of the unfused operators; lists have an entry per axis.
type CUDAProblem struct {
	Batch, Heads, Dim        int64
	Length, Kernel, Dilation []int64
	DType                    gotch.DType
	RPB, Backward, Unfused   bool
}

// WhyCUDABackend says of each kernel class whether it takes the problem on a
// device, one line each.
func WhyCUDABackend(p CUDAProblem, device int) (string, error) {
	var axes []C.int64_t
	for i := range p.Length {
		axes = append(axes, C.int64_t(p.Length[i]), C.int64_t(p.Kernel[i]), C.int64_t(p.Dilation[i]))
	}
	number := map[bool]C.int{true: 1}
	operation := number[p.Backward]
	if p.Unfused {
		operation = 2
	}
	var text *C.char
	err := failure(C.natten_cuda_why(C.int(len(p.Length)), unsafe.SliceData(axes), C.int64_t(p.Batch), C.int64_t(p.Heads),
		C.int64_t(p.Dim), C.int(p.DType), number[p.RPB], operation, C.int(device), &text))
	if err != nil {
		return "", err
	}
	defer C.natten_free(unsafe.Pointer(text))
	return C.GoString(text), nil
}

// CUDAStatus says in one sentence why there are no CUDA kernels ("there is no
// NVIDIA driver ..."); it is empty where there are.
func CUDAStatus() string { return C.GoString(C.natten_cuda_status()) }
