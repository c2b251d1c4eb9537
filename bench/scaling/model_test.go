package scaling_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/bench/scaling"
)

var flat = scaling.Cluster{PerNode: 1, Inter: scaling.Link{Latency: 1e-3, Bandwidth: 1e6}}

// TestAllReduce: the ring's closed form, 2(N-1) messages of 1/N of the data each.
func TestAllReduce(t *testing.T) {
	require.InDelta(t, 2*(1e-3+0.5*1), flat.AllReduce(1e6, 2), 1e-12)
	require.InDelta(t, 6*(1e-3+0.25*1), flat.AllReduce(1e6, 4), 1e-12)
	require.Zero(t, flat.AllReduce(1e6, 1))
	tree := flat
	tree.Tree = true
	require.InDelta(t, 2*10*1e-3, tree.AllReduce(0, 1024), 1e-12, "small messages go by the tree")
	require.InDelta(t, flat.AllReduce(1e9, 4), tree.AllReduce(1e9, 4), 1e-9, "large ones round the ring")
	two := scaling.Cluster{PerNode: 2, Intra: scaling.Link{Bandwidth: 1e7}, Inter: scaling.Link{Bandwidth: 1e6}}
	require.InDelta(t, 0.1+0.5, two.AllReduce(1e6, 4), 1e-12, "each of two sends half between the nodes")
}

// TestOverlap: what travels during the backward pass costs nothing.
func TestOverlap(t *testing.T) {
	link := scaling.Cluster{PerNode: 1, Inter: scaling.Link{Bandwidth: 1e6}}
	job := scaling.Job{Forward: 1, Stages: []scaling.Stage{{1e6, 4}, {1e6, 4}}, Bucket: 1e6, Update: 0.5, ImageSet: 10}
	s := link.Step(job, 2)
	require.InDelta(t, 9.5, s.Compute, 1e-12)
	require.InDelta(t, 1, s.Exposed, 1e-12, "the last bucket leaves when the pass is over")
	require.InDelta(t, 20/10.5, s.Images, 1e-4)
	require.Equal(t, "gradients", s.Limit)
	job.Bucket = 2e6
	require.InDelta(t, 2, link.Step(job, 2).Exposed, 1e-12, "one bucket: no overlap")
	job.Bucket = 0.5e6
	require.InDelta(t, 0.5, link.Step(job, 2).Exposed, 1e-12)
	job.Batches = 4
	require.InDelta(t, 4*9+0.5, link.Step(job, 2).Compute, 1e-12)
	require.InDelta(t, 0.5, link.Step(job, 2).Exposed, 1e-12, "once a step")
	slow := scaling.Cluster{PerNode: 1, Inter: scaling.Link{Bandwidth: 1e5}}
	job = scaling.Job{Stages: []scaling.Stage{{1e6, 4}}, Bucket: 0.25e6}
	require.InDelta(t, 1+4*2.5-4, slow.Step(job, 2).Exposed, 1e-12, "a slow link works without a pause from the first bucket on")
}

func TestOneProcess(t *testing.T) {
	s := flat.Step(scaling.Job{Forward: 1, Stages: []scaling.Stage{{1, 2}}, Bucket: 1, Jitter: 0.1, ImageSet: 6}, 1)
	require.Equal(t, scaling.Step{Compute: 3, Total: 3, Efficiency: 1, Images: 2, Limit: "nothing"}, s)
}

func ExampleCluster_Step() {
	// Four processes, 100 MB of gradients, a link of 1 GB/s, half a second of backward pass.
	c := scaling.Cluster{PerNode: 1, Inter: scaling.Link{Latency: 50e-6, Bandwidth: 1e9}}
	s := c.Step(scaling.Job{Forward: 0.25, Stages: []scaling.Stage{{100e6, 0.5}}, Bucket: 25e6, ImageSet: 32}, 4)
	fmt.Printf("%.0f ms, efficiency %.0f%%, limited by %s\n", 1000*s.Total, 100*s.Efficiency, s.Limit)
	// Output: 788 ms, efficiency 95%, limited by gradients
}
