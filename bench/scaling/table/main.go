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

var nvlink = scaling.Link{Latency: 5e-6, Bandwidth: 300e9}

var clusters = []struct {
	name string
	c    scaling.Cluster
}{
	{"400 Gbit/s per GPU", scaling.Cluster{PerNode: 8, Tree: true, Intra: nvlink, Inter: scaling.Link{Latency: 15e-6, Bandwidth: 40e9}}},
	{"25 Gbit/s per node", scaling.Cluster{PerNode: 8, Tree: true, Intra: nvlink, Inter: scaling.Link{Latency: 30e-6, Bandwidth: 2.5e9 / 8}}},
	{"25 Gbit/s per node, rings only", scaling.Cluster{PerNode: 8, Intra: nvlink, Inter: scaling.Link{Latency: 30e-6, Bandwidth: 2.5e9 / 8}}},
}

// variants are what a user can change.
var variants = []struct {
	name   string
	change func(*scaling.Job)
}{
	{"", func(*scaling.Job) {}},
	{", bucket_mb 100", func(j *scaling.Job) { j.Bucket = 100 << 20 }},
	{", grad_accum_steps 4", func(j *scaling.Job) { j.Batches = 4 }},
}

func main() {
	fmt.Println("| network, link between the nodes | 1 GPU | 8 | 64 | 1,024 |\n|---|---|---|---|---|")
	for _, m := range nets {
		for i, k := range clusters {
			for _, v := range variants {
				if v.name != "" && (i == 0 || m.name != "nat_base") {
					continue
				}
				fmt.Printf("| %s, %s%s |", m.name, k.name, v.name)
				for _, ranks := range []int{1, 8, 64, 1024} {
					j := m.job()
					v.change(&j)
					s := k.c.Step(j, ranks)
					fmt.Printf(" %.0f ms, %.0f%%", 1e3*s.Total, 100*s.Efficiency)
					if s.Efficiency < 0.9 {
						fmt.Printf(": %s", s.Limit)
					}
					fmt.Print(" |")
				}
				fmt.Println()
			}
		}
	}
	fmt.Println("\n| images/s and GB/s read, 400 Gbit/s | 1 GPU | 8 | 64 | 1,024 |\n|---|---|---|---|---|")
	for _, m := range nets {
		fmt.Printf("| %s |", m.name)
		for _, ranks := range []int{1, 8, 64, 1024} {
			images := clusters[0].c.Step(m.job(), ranks).Images
			fmt.Printf(" %.0f, %.1f |", images, images*fileBytes/1e9)
		}
		fmt.Println()
	}
	fmt.Println("\n| processes | images/step each | step by the model | images/s by the model | measured |\n|---|---|---|---|---|")
	for _, m := range here {
		j := scaling.Job{Stages: []scaling.Stage{{Gradients: 4 * 171986, Backward: m.alone}}, Bucket: 25 << 20, ImageSet: m.batch}
		s := loopback.Step(j, m.processes)
		fmt.Printf("| %d | %d | %.0f ms | %.0f | %.0f |\n", m.processes, m.batch, 1e3*s.Total, s.Images, m.measured)
	}
	fmt.Println("\n| 2 GPUs | images/step each | step by the model | images/s by the model | measured |\n|---|---|---|---|---|")
	for _, m := range gpus {
		j := scaling.Job{Forward: m.alone / 2, Stages: []scaling.Stage{{Gradients: m.gradients, Backward: m.alone / 2}}, Bucket: 25 << 20, ImageSet: m.batch}
		s := nvlinked.Step(j, 2)
		fmt.Printf("| %s | %d | %.1f ms | %.0f | %.0f |\n", m.name, m.batch, 1e3*s.Total, s.Images, m.measured)
	}
}

// What was measured on two GPUs (docs/scaling.md): NCCL over NVLink, and steps
// beside a process that does not talk, half of them backward.
var nvlinked = scaling.Cluster{PerNode: 2, Intra: scaling.Link{Latency: 48e-6, Bandwidth: 350e9}}

var gpus = []struct {
	name      string
	gradients float64
	batch     int
	alone     float64 // seconds, the slower of the two
	measured  float64
}{
	{"nat_tiny", 4 * 27901582, 128, 0.1224, 1821},
	{"nat_nano_28", 4 * 524111, 256, 0.0190, 24053},
}

// What was measured on two cores (docs/scaling.md): Gloo over the loopback
// interface, and steps of nat_nano_28 at 28x28.
var loopback = scaling.Cluster{PerNode: 1, Inter: scaling.Link{Latency: 0.36e-3, Bandwidth: 0.55e9}}

var here = []struct {
	processes, batch int
	alone            float64 // seconds of a step beside as many processes that do not talk to each other
	measured         float64 // images per second of all
}{
	{1, 128, 128 / 435.6, 435.6},
	{2, 64, 64 / 378.3, 779.2},
	{4, 32, 32 / 182.0, 506.6},
}
