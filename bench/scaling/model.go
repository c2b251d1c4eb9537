// Package scaling is a model on paper of data-parallel training: the time of a
// step against the number of processes, from the compute of one process, the
// buckets in which gradients travel, and the links. docs/scaling.md quotes it and
// says how far it agrees with what was measured.
package scaling

import "math"

// Link is a connection as a process sees it.
type Link struct {
	Latency   float64 // seconds per message
	Bandwidth float64 // bytes per second, each direction
}

// Cluster is nodes of PerNode processes: Intra joins those of a node, Inter is
// each process's share of its node's network.
type Cluster struct {
	PerNode      int
	Intra, Inter Link
	// Tree lets small messages travel by trees (NCCL) and not only round the ring
	// (Gloo): 2 log2 N messages deep in place of 2 (N - 1).
	Tree bool
}

// Stage is a part of the model, in the order of the forward pass.
type Stage struct {
	Gradients float64 // bytes
	Backward  float64 // seconds
}

// Job is what one process does in a step.
type Job struct {
	Forward  float64 // seconds
	Stages   []Stage
	Update   float64 // seconds: clipping, optimizer, averages
	Batches  int     // per step; gradients travel with the last; 0 means 1
	Bucket   float64 // bytes
	Jitter   float64 // standard deviation of the time of a step between processes, as a fraction of it
	ImageSet int     // images per batch and process
}

// Step is the time of one step and what it consists of.
type Step struct {
	Compute float64 // forward, backward, update
	Exposed float64 // gradients still under way when the backward pass is over
	Waiting float64 // for the slowest process
	Agree   float64 // the one small sum per step over loss and flags
	Total   float64
	// Efficiency is Compute over Total; Images is all processes' images per second.
	Efficiency, Images float64
	Limit              string // the largest of what is not compute
}

// AllReduce is the time to sum n bytes over ranks processes: within each node
// scatter and gather, between nodes a ring or tree of what each process holds.
func (c Cluster) AllReduce(n float64, ranks int) float64 {
	local := min(ranks, c.PerNode)
	nodes := (ranks + c.PerNode - 1) / c.PerNode
	return c.around(c.Intra, n, local) + c.around(c.Inter, n/float64(local), nodes)
}

func (c Cluster) around(l Link, n float64, members int) float64 {
	if members < 2 {
		return 0
	}
	m := float64(members)
	ring := 2*(m-1)*l.Latency + 2*(m-1)/m*n/l.Bandwidth
	if !c.Tree {
		return ring
	}
	return min(ring, 2*math.Ceil(math.Log2(m))*l.Latency+2*n/l.Bandwidth)
}

// Step plays one step: the backward pass makes gradients from the last stage to
// the first, a full bucket travels at once while the pass goes on, one bucket
// after another.
func (c Cluster) Step(j Job, ranks int) Step {
	batches := float64(max(j.Batches, 1))
	clock, free, bucket, backward := 0.0, 0.0, 0.0, 0.0
	send := func() {
		if bucket > 0 && ranks > 1 {
			free = max(free, clock) + c.AllReduce(bucket, ranks)
		}
		bucket = 0
	}
	for i := len(j.Stages) - 1; i >= 0; i-- {
		s := j.Stages[i]
		backward += s.Backward
		for left := s.Gradients; left > 0; {
			part := min(left, j.Bucket-bucket)
			clock += s.Backward * part / s.Gradients
			left -= part
			if bucket += part; bucket >= j.Bucket {
				send()
			}
		}
		if s.Gradients == 0 {
			clock += s.Backward
		}
	}
	send()
	r := Step{Compute: batches*(j.Forward+backward) + j.Update}
	r.Exposed = max(0, free-clock)
	if ranks > 1 {
		r.Agree = c.AllReduce(32, ranks)
		// The slowest of N normal times lies about sqrt(2 ln N) deviations above the mean.
		r.Waiting = r.Compute * j.Jitter * math.Sqrt(2*math.Log(float64(ranks)))
	}
	r.Total = r.Compute + r.Exposed + r.Waiting + r.Agree
	r.Efficiency = r.Compute / r.Total
	r.Images = batches * float64(j.ImageSet*ranks) / r.Total
	r.Limit = "nothing"
	for _, part := range []struct {
		name  string
		value float64
	}{{"gradients", r.Exposed}, {"the slowest process", r.Waiting}, {"agreement", r.Agree}} {
		if most := max(r.Exposed, r.Waiting, r.Agree); most > 0 && part.value == most {
			r.Limit = part.name
		}
	}
	return r
}
