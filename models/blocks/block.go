package blocks

import (
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/nn"
	gotchnn "github.com/sugarme/gotch/nn"
	"github.com/sugarme/gotch/ts"
)

// InitStd is the deviation of the truncated normal distribution that the
// published models' linear weights start from. It suits widths of hundreds;
// small models learn faster from a larger one.
const InitStd = 0.02

// LinearInit is the initialisation of a model's linear layers; std 0 is InitStd.
func LinearInit(std float64) nn.LinearConfig {
	if std == 0 {
		std = InitStd
	}
	return nn.LinearConfig{WeightInit: nn.TruncNormal(std), BiasInit: nn.Constant(0)}
}

// BlockConfig are the arguments of a Block. Dim, NumHeads, MLPRatio and one of
// KernelSize and GlobalSize have no default.
type BlockConfig struct {
	Dim, NumHeads int64
	// KernelSize and Dilation (0: 1) of the neighborhood attention.
	KernelSize, Dilation int64
	// GlobalSize, where not 0, makes the block attend to all tokens of a map of
	// GlobalSize x GlobalSize tokens, with relative positional bias.
	GlobalSize int64
	// MLPRatio is the MLP's hidden width per Dim, rounded down.
	MLPRatio  float64
	NoQKVBias bool
	QKScale   float64 // 0: head_dim^-1/2
	Drop      float64 // dropout rate after attention and inside the MLP
	AttnDrop  float64 // dropout rate of the attention weights
	DropPath  float64 // rate of stochastic depth of both residual branches
	// LayerScale is the first value of gamma1 and gamma2 (arXiv 2103.17239,
	// eq. 5); 0 leaves them out.
	LayerScale float64
	// InitStd is the deviation of the initial linear weights. 0: InitStd, 0.02.
	InitStd float64
}

// Block is the transformer block of all models, pre-norm:
//
//	x = x + drop_path(gamma1 * attn(norm1(x)))
//	x = x + drop_path(gamma2 * mlp(norm2(x)))
type Block struct {
	nn.Module
	Norm1, Norm2   *nn.LayerNorm
	Attn           Attention
	MLP            *nn.MLP
	Gamma1, Gamma2 *ts.Tensor // nil without layer scale

	dropPath float64
}

// Attention is the token mixer of a block.
type Attention interface {
	nn.Layer
	Visitable
	Local() *LocalAttention
}

// NewBlock makes a block.
func NewBlock(path *gotchnn.Path, c BlockConfig) (*Block, error) {
	b := &Block{dropPath: c.DropPath}
	b.Module = nn.NewModule(b, "Block", path)
	var err error
	if c.LayerScale != 0 {
		if b.Gamma1, err = nn.NewParameter(path, "gamma1", nn.Constant(c.LayerScale), c.Dim); err != nil {
			return nil, err
		}
		if b.Gamma2, err = nn.NewParameter(path, "gamma2", nn.Constant(c.LayerScale), c.Dim); err != nil {
			return nil, err
		}
	}
	if b.Norm1, err = nn.NewLayerNorm(path.Sub("norm1"), c.Dim); err != nil {
		return nil, err
	}
	if b.Attn, err = newAttention(path.Sub("attn"), c); err != nil {
		return nil, err
	}
	if b.Norm2, err = nn.NewLayerNorm(path.Sub("norm2"), c.Dim); err != nil {
		return nil, err
	}
	hidden := int64(float64(c.Dim) * c.MLPRatio)
	b.MLP, err = nn.NewMLP(path.Sub("mlp"), c.Dim, hidden, c.Drop, LinearInit(c.InitStd))
	return b, err
}

// Apply maps [B, H, W, dim] to the same shape.
func (b *Block) Apply(x *ts.Tensor, train bool) (*ts.Tensor, error) {
	return b.Run(func(s *torch.Scope) *ts.Tensor {
		h := s.Own(b.Attn.Apply(s.Own(b.Norm1.Apply(x, train)), train))
		x := b.residual(s, x, h, b.Gamma1, train)
		h = s.Own(b.MLP.Apply(s.Own(b.Norm2.Apply(x, train)), train))
		return b.residual(s, x, h, b.Gamma2, train)
	})
}

var opAddcmul = torch.NewOp("aten::addcmul")

// residual is x + drop_path(gamma * branch).
func (b *Block) residual(s *torch.Scope, x, branch, gamma *ts.Tensor, train bool) *ts.Tensor {
	branch = nn.DropPath(s, branch, b.dropPath, train)
	if gamma == nil {
		return s.Add(x, branch)
	}
	return s.Op(opAddcmul, x, gamma, branch)
}

// Visit goes through the parameters in the order of the official state dict.
func (b *Block) Visit(visit Visitor) {
	visit.named(b.Name(), "gamma1", b.Gamma1)
	visit.named(b.Name(), "gamma2", b.Gamma2)
	visit.norm(b.Norm1)
	b.Attn.Visit(visit)
	visit.norm(b.Norm2)
	visit.linear(b.MLP.FC1)
	visit.linear(b.MLP.FC2)
}
