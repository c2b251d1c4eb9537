// Command flops counts a model that is written with gotch alone and knows
// nothing of this project: a small vision transformer. Module names are those of
// its variable store. It then counts two of its variants by one loop, as one
// does before a model is trained. Build it with the exports of `natten env`:
//
//	eval "$(natten env)"
//	go run .
package main

import (
	"fmt"
	"log"

	"github.com/gonatten/gonatten/flops"
	"github.com/sugarme/gotch"
	"github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

const heads = 4

// block is pre-norm attention and an MLP.
type block struct {
	norm1, norm2  *nn.LayerNorm
	qkv, proj     *nn.Linear
	widen, narrow *nn.Linear
	headDim       int64
}

func newBlock(p *nn.Path, width int64) *block {
	return &block{
		norm1:   nn.NewLayerNorm(p.Sub("norm1"), []int64{width}, nn.DefaultLayerNormConfig()),
		qkv:     nn.NewLinear(p.Sub("attn").Sub("qkv"), width, 3*width, nn.DefaultLinearConfig()),
		proj:    nn.NewLinear(p.Sub("attn").Sub("proj"), width, width, nn.DefaultLinearConfig()),
		norm2:   nn.NewLayerNorm(p.Sub("norm2"), []int64{width}, nn.DefaultLayerNormConfig()),
		widen:   nn.NewLinear(p.Sub("mlp").Sub("fc1"), width, 4*width, nn.DefaultLinearConfig()),
		narrow:  nn.NewLinear(p.Sub("mlp").Sub("fc2"), 4*width, width, nn.DefaultLinearConfig()),
		headDim: width / heads,
	}
}

func (b *block) Forward(x *ts.Tensor) *ts.Tensor {
	size := x.MustSize() // [batch, tokens, width]
	qkv := through(x, b.norm1, b.qkv)
	parts := qkv.MustView([]int64{size[0], size[1], 3, heads, b.headDim}, true).MustPermute([]int64{2, 0, 3, 1, 4}, true).
		MustUnbind(0, true)
	none := ts.NewTensor()
	y := ts.MustScaledDotProductAttention(parts[0], parts[1], parts[2], none, 0, false, nil)
	drop(append(parts, none)...)
	y = y.MustTranspose(1, 2, true).MustReshape(size, true)
	attended := b.proj.Forward(y)
	sum := x.MustAdd(attended, false)
	hidden := through(sum, b.norm2, b.widen).MustGelu("none", true)
	mlp := b.narrow.Forward(hidden)
	out := sum.MustAdd(mlp, false)
	drop(y, attended, sum, hidden, mlp)
	return out
}

// through applies layers one after the other. A tensor stays referenced until
// the operation that reads it is over, and is dropped then: gotch frees what it
// finds unreferenced, even in mid-call.
func through(x *ts.Tensor, layers ...ts.Module) *ts.Tensor {
	y := layers[0].Forward(x)
	for _, layer := range layers[1:] {
		next := layer.Forward(y)
		y.MustDrop()
		y = next
	}
	return y
}

func drop(tensors ...*ts.Tensor) {
	for _, t := range tensors {
		t.MustDrop()
	}
}

// transformer classifies pictures.
type transformer struct {
	patches *nn.Conv2D
	blocks  []*block
	head    *nn.Linear
}

func newTransformer(p *nn.Path, width, depth int64) *transformer {
	patch := nn.DefaultConv2DConfig()
	patch.Stride = []int64{16, 16}
	t := &transformer{
		patches: nn.NewConv2D(p.Sub("patches"), 3, width, 16, patch),
		head:    nn.NewLinear(p.Sub("head"), width, 10, nn.DefaultLinearConfig()),
	}
	for i := range depth {
		t.blocks = append(t.blocks, newBlock(p.Sub("blocks").Sub(fmt.Sprint(i)), width))
	}
	return t
}

// ForwardT makes it a ts.ModuleT.
func (t *transformer) ForwardT(x *ts.Tensor, _ bool) *ts.Tensor {
	y := t.patches.Forward(x).MustFlatten(2, 3, true).MustTranspose(1, 2, true)
	for _, b := range t.blocks {
		next := b.Forward(y)
		y.MustDrop()
		y = next
	}
	pooled := y.MustMeanDim([]int64{1}, false, gotch.Float, true)
	logits := t.head.Forward(pooled)
	pooled.MustDrop()
	return logits
}

func main() {
	image, err := flops.Input(1, 3, 224, 224)
	if err != nil {
		log.Fatal(err)
	}
	vs := nn.NewVarStore(gotch.CPU)
	report, err := flops.Count(newTransformer(vs.Root(), 192, 2), image, flops.WithVariables(vs), flops.WithName("transformer"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report)
	if report.Module("blocks.1.mlp.fc1").MACs != 196*192*4*192 || len(report.Unsupported) > 0 {
		log.Fatal("the count is not that of the layers")
	}

	for _, width := range []int64{192, 384} {
		vs := nn.NewVarStore(gotch.CPU)
		macs, err := flops.GetFLOPs(newTransformer(vs.Root(), width, 12), image)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("width %d, 12 blocks: %.2f GMACs\n", width, float64(macs)/1e9)
	}
}
