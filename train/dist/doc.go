// Package dist lets several processes train one model, on one machine or many,
// over libtorch's c10d. Who a process is comes from the environment that
// torchrun, Kubernetes' PyTorchJob, Slurm and MPI set.
//
// Each process computes the gradients of its share of a batch; they are averaged
// bucket by bucket during the backward pass. When a process dies or hangs, the
// others find out which, and end with an error that names it.
package dist
