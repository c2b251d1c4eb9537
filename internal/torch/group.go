package torch

// #include "../../csrc/natten.h"
import "C"

import (
	"runtime"
	"time"

	"github.com/sugarme/gotch/ts"
)

// Group is a number of processes that compute together: libtorch's
// ProcessGroupGloo for tensors on the CPU and, in a group on CUDA,
// ProcessGroupNCCL for those on the device. All processes call its methods in
// the same order. On the CPU each returns when the result is there, or with an
// error where a process has gone or the group's time-out is over. On CUDA they
// return early, as all operators do; Wait waits, without a time-out, and Abort of
// another thread ends that wait.
type Group struct {
	Rank, Size int
	handle     C.natten_group
}

// OpenGroup connects size processes that share a store, of which this one is
// number rank, on the CPU or on a numbered CUDA device.
func OpenGroup(s *Store, rank, size int, timeout time.Duration, device Device) (*Group, error) {
	g := &Group{Rank: rank, Size: size}
	cuda := int64(-1)
	if device.Is(CUDA) {
		cuda = device.index
	}
	if err := failure(C.natten_group_open(s.handle, C.int(rank), C.int(size), C.int64_t(timeout.Milliseconds()), C.int(cuda), &g.handle)); err != nil {
		return nil, err
	}
	return g, nil
}

// Connect sets NCCL up and returns when all processes do so. On the CPU, where
// OpenGroup has connected them, it does nothing.
func (g *Group) Connect() error { return failure(C.natten_group_connect(g.handle)) }

// Wait returns when the device has done what the current stream holds.
func (g *Group) Wait() error { return failure(C.natten_group_wait(g.handle)) }

// Close ends the connections.
func (g *Group) Close() {
	C.natten_group_close(g.handle)
	g.handle = nil
}

// Abort cuts the connections, so that processes that wait for this one notice at
// once, and so does whatever thread of this one waits for others. The group is
// lost afterwards, its memory too: operations that other threads are in may go on
// for a time.
func (g *Group) Abort() error { return failure(C.natten_group_abort(g.handle)) }

// Sum replaces each tensor by the sum over all processes.
func (g *Group) Sum(tensors ...*ts.Tensor) error {
	if len(tensors) == 0 {
		return nil
	}
	list := handles(tensors)
	err := failure(C.natten_group_sum(g.handle, &list[0], C.int64_t(len(list))))
	runtime.KeepAlive(tensors)
	return err
}

// Broadcast replaces each tensor by that of process root.
func (g *Group) Broadcast(root int, tensors ...*ts.Tensor) error {
	if len(tensors) == 0 {
		return nil
	}
	list := handles(tensors)
	err := failure(C.natten_group_broadcast(g.handle, &list[0], C.int64_t(len(list)), C.int(root)))
	runtime.KeepAlive(tensors)
	return err
}

// Reductions counts the buckets of gradients averaged so far.
func (g *Group) Reductions() int { return int(C.natten_group_reductions(g.handle)) }

// Reducer averages gradients over a group while the backward pass still runs:
// libtorch's c10d::Reducer, the engine of DistributedDataParallel.
type Reducer struct{ handle C.natten_reducer }

// NewReducer watches over leaves, the same ones on every process. Their
// gradients travel in buckets of bucketBytes. The group must outlive it.
func NewReducer(g *Group, leaves []*ts.Tensor, bucketBytes int64) (*Reducer, error) {
	r := &Reducer{}
	list := handles(leaves)
	err := failure(C.natten_reducer_open(g.handle, &list[0], C.int64_t(len(list)), C.int64_t(bucketBytes), &r.handle))
	runtime.KeepAlive(leaves)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Prepare is called before the forward pass of a batch whose backward pass is to
// average the gradients, all those added up before included. Backward passes
// without it only add to the gradients of this process.
func (r *Reducer) Prepare() error { return failure(C.natten_reducer_prepare(r.handle)) }

// Check is called after that backward pass; it fails where a leaf got no gradient
// in it, without which the average is not complete.
func (r *Reducer) Check() error { return failure(C.natten_reducer_check(r.handle)) }

// Close takes its hooks off the leaves.
func (r *Reducer) Close() error {
	err := failure(C.natten_reducer_close(r.handle))
	r.handle = nil
	return err
}
