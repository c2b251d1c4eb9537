// Command table prints the tables of docs/scaling.md.
package main

import (
	"fmt"

	"github.com/gonatten/gonatten/bench/scaling"
)

// model is a network stage by stage (what leads to a stage and the head counted
// with it): parameters, and millions of multiply-adds for an image of 224x224, from
// `natten info NAME`.
type model struct {
	name       string
	parameters []float64
	macs       []float64
}

var nets = []model{
	{"nat_mini", []float64{145718, 738192, 4254128, 14846136}, []float64{520.0, 615.5, 861.3, 714.3}},
	{"nat_base", []float64{476140, 2411296, 39097888, 47784328}, []float64{1618.1, 1963.1, 7825.5, 2315.1}},
}

const (
	batch     = 128
	sustained = 60e12 // assumed: what a GPU keeps up in bf16 on these networks, operations per second
	fileBytes = 110e3 // of an ImageNet picture on average
)

// job is a step of one process, by operations: the backward pass takes twice the
// forward's, and Go, optimizer and averages 2 ms.
func (m model) job() scaling.Job {
	j := scaling.Job{Update: 2e-3, Bucket: 25 << 20, Jitter: 0.01, ImageSet: batch}
	for i, p := range m.parameters {
		forward := 2e6 * m.macs[i] * batch / sustained
		j.Forward += forward
		j.Stages = append(j.Stages, scaling.Stage{Gradients: 4 * p, Backward: 2 * forward})
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
