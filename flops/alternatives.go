package flops

// Attention is one call of neighborhood attention in the forward pass of a
// report, with what it takes to say what another operator would cost there.
type Attention struct {
	Module        string
	Batch, Tokens int64 // pictures, tokens of each
	Heads         int64
	Dim, ValueDim int64 // of a head
	Slots         int64 // of a window: the product of kernel_size over the axes
	MACs          int64 // by the report's convention
}

// IfDense is the model's MACs with dense attention over all tokens in place of
// every neighborhood attention: Batch·Heads·Tokens²·(Dim + ValueDim) each.
func (r *Report) IfDense() int64 {
	macs := r.MACs
	for _, a := range r.Attention {
		macs += a.Batch*a.Heads*a.Tokens*a.Tokens*(a.Dim+a.ValueDim) - a.MACs
	}
	return macs
}

// IfConvolution is the model's MACs with a convolution of the window's size
// from C to C channels, C = Heads·Dim, in place of every neighborhood attention
// and the projection to its q, k and v: Tokens·Slots·C² instead of Tokens·3C²
// and the attention, the comparison of arXiv 2204.07143.
func (r *Report) IfConvolution() int64 {
	macs := r.MACs
	for _, a := range r.Attention {
		channels := a.Heads * a.Dim
		macs += a.Batch*a.Tokens*(a.Slots-3)*channels*channels - a.MACs
	}
	return macs
}

// addAttention lists the calls of neighborhood attention; the unfused pair is
// one call.
func (a *account) addAttention(r *Report) {
	last := -1
	for _, row := range a.rows {
		if row.backward {
			continue
		}
		name, _ := splitName(a.nodes[row.node].Op)
		geometry := 4
		switch name {
		case "natten::na", "natten::na_lse":
		case "natten::na_qk":
			geometry = 3
		case "natten::na_av":
			if n := len(r.Attention); n > 0 {
				r.Attention[n-1].MACs += row.cost.MACs
			}
			continue
		default:
			continue
		}
		if row.node != last {
			last = row.node
			op := opOf(&a.nodes[row.node])
			r.Attention = append(r.Attention, attentionOf(op, geometry, row.module))
		}
		r.Attention[len(r.Attention)-1].MACs += row.cost.MACs
	}
}

func attentionOf(op *Op, geometry int, module string) Attention {
	q, kernel := op.Shape(0), op.Ints(geometry)
	rank := len(kernel)
	a := Attention{Module: module, Batch: q[0], Tokens: product(q[1 : 1+rank]), Heads: q[1+rank], Dim: last(q), ValueDim: last(q),
		Slots: product(kernel)}
	if geometry == 4 {
		a.ValueDim = last(op.Shape(2))
	}
	return a
}
