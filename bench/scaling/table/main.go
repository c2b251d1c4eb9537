// Command table prints the tables of docs/scaling.md.
package main

import (
	"fmt"

	"github.com/gonatten/gonatten/bench/scaling"
)

// model is a network as the table needs it: gradients and multiply-adds of an
// image at 224x224, stage by stage, from `natten flops`.
type model struct {
	name       string
	parameters []float64 // per stage
	share      []float64 // of the multiply-adds
	gmacs      float64
}

var nets = []model{
	{"nat_mini", []float64{0.2e6, 1.0e6, 5.4e6, 13.4e6}, []float64{0.21, 0.21, 0.36, 0.22}, 2.7},
	{"nat_base", []float64{0.9e6, 4.2e6, 57e6, 28e6}, []float64{0.12, 0.12, 0.65, 0.11}, 13.7},
}

const (
	batch     = 128
	sustained = 60e12 // assumed: what a GPU keeps up in bf16 on these networks, operations per second
	fileBytes = 110e3 // of an ImageNet picture on average
)

// job spreads a step's operations over the stages.
func (m model) job() scaling.Job {
	forward := 2e9 * m.gmacs * batch / sustained
	j := scaling.Job{Forward: forward, Update: 2e-3, Bucket: 25 << 20, Jitter: 0.01, ImageSet: batch}
	for i, p := range m.parameters {
		j.Stages = append(j.Stages, scaling.Stage{Gradients: 4 * p, Backward: 2 * forward * m.share[i]})
	}
	return j
}

var clusters = []struct {
	name string
	c    scaling.Cluster
}{
	{"8 GPUs a node, NVLink, 400 Gbit/s each", scaling.Cluster{PerNode: 8, Tree: true,
		Intra: scaling.Link{Latency: 5e-6, Bandwidth: 300e9}, Inter: scaling.Link{Latency: 15e-6, Bandwidth: 40e9}}},
	{"8 GPUs a node, NVLink, 25 Gbit/s for all", scaling.Cluster{PerNode: 8, Tree: true,
		Intra: scaling.Link{Latency: 5e-6, Bandwidth: 300e9}, Inter: scaling.Link{Latency: 30e-6, Bandwidth: 2.5e9 / 8}}},
	{"the same, rings only", scaling.Cluster{PerNode: 8,
		Intra: scaling.Link{Latency: 5e-6, Bandwidth: 300e9}, Inter: scaling.Link{Latency: 30e-6, Bandwidth: 2.5e9 / 8}}},
}

func main() {
	for _, m := range nets {
		for _, k := range clusters {
			fmt.Printf("\n%s; %s\n\n| GPUs | step, ms | compute | gradients exposed | waiting | efficiency | images/s | reads, GB/s | limit |\n|---|---|---|---|---|---|---|---|---|\n", m.name, k.name)
			for _, ranks := range []int{1, 8, 64, 1024} {
				s := k.c.Step(m.job(), ranks)
				fmt.Printf("| %d | %.1f | %.1f | %.1f | %.1f | %.0f%% | %.0f | %.1f | %s |\n", ranks, 1e3*s.Total, 1e3*s.Compute,
					1e3*s.Exposed, 1e3*s.Waiting, 100*s.Efficiency, s.Images, s.Images*fileBytes/1e9, s.Limit)
			}
		}
	}
}
