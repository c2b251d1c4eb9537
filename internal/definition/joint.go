package definition

import "math"

// Joint is attention over each query's neighborhood and, in the same softmax,
// Extra keys that every query of the batch entry sees, without bias.
type Joint struct {
	Problem
	Extra int
}

// JointInputs are the tensors of a call: those of [Problem], and ExtraK
// [Batch, Extra, KVHeads, Dim], ExtraV [Batch, Extra, KVHeads, ValueDim]. RPB
// may be nil. DOut and DLSE are the gradients of the results.
type JointInputs struct {
	Q, K, V, RPB, ExtraK, ExtraV, DOut, DLSE []float64
}

// JointResult holds the output, the natural logarithm of each query's softmax
// denominator, and the gradients of sum(Out * DOut) + sum(LSE * DLSE).
type JointResult struct {
	Out, LSE                           []float64
	DQ, DK, DV, DRPB, DExtraK, DExtraV []float64
}

// source is one key and value of a query: rows of the tensors they stand in,
// where their gradients go, and the entry of the bias or -1.
type source struct {
	k, v, dk, dv []float64
	bias         int
}

// Run computes everything query by query. With sizes, the results are those
// sums with every term's magnitude, as in [Problem.Magnitudes].
func (p *Joint) Run(in JointInputs, sizes bool) *JointResult {
	r := &JointResult{
		Out: make([]float64, p.rows()*p.ValueDim), LSE: make([]float64, p.rows()),
		DQ: make([]float64, len(in.Q)), DK: make([]float64, len(in.K)), DV: make([]float64, len(in.V)),
		DExtraK: make([]float64, len(in.ExtraK)), DExtraV: make([]float64, len(in.ExtraV)),
	}
	if in.RPB != nil {
		r.DRPB = make([]float64, len(in.RPB))
	}
	row := func(x []float64, i, width int) []float64 { return x[i*width : (i+1)*width] }
	neighbors, entries := p.Neighbors(), p.BiasEntries()
	for batch := 0; batch < p.Batch; batch++ {
		for token, keys := range neighbors {
			for head := 0; head < p.Heads; head++ {
				query, keyHead := (batch*len(neighbors)+token)*p.Heads+head, head/(p.Heads/p.KVHeads)
				var all []source
				for _, n := range keys {
					i := (batch*len(neighbors)+n.Key)*p.KVHeads + keyHead
					all = append(all, source{row(in.K, i, p.Dim), row(in.V, i, p.ValueDim), row(r.DK, i, p.Dim), row(r.DV, i, p.ValueDim), head*entries + n.Bias})
				}
				for e := 0; e < p.Extra; e++ {
					i := (batch*p.Extra+e)*p.KVHeads + keyHead
					all = append(all, source{row(in.ExtraK, i, p.Dim), row(in.ExtraV, i, p.ValueDim), row(r.DExtraK, i, p.Dim), row(r.DExtraV, i, p.ValueDim), -1})
				}
				r.LSE[query] = p.query(r, in.RPB, all, row(in.Q, query, p.Dim), row(in.DOut, query, p.ValueDim), in.DLSE[query],
					row(r.Out, query, p.ValueDim), row(r.DQ, query, p.Dim), sizes)
			}
		}
	}
	return r
}

// query adds one query's part to every sum and returns its log-sum-exp.
func (p *Joint) query(r *JointResult, rpb []float64, all []source, q, dout []float64, dlse float64, out, dq []float64, sizes bool) float64 {
	weights, highest, sum, largest := make([]float64, len(all)), math.Inf(-1), 0.0, 1.0
	for i, s := range all {
		weights[i] = p.Scale * dot(q, s.k, false)
		size := math.Abs(p.Scale) * dot(q, s.k, true)
		if rpb != nil && s.bias >= 0 {
			weights[i] += rpb[s.bias]
			size += math.Abs(rpb[s.bias])
		}
		highest, largest = max(highest, weights[i]), max(largest, size+1)
	}
	for i := range weights {
		weights[i] = math.Exp(weights[i] - highest)
		sum += weights[i]
	}
	mean, slopes := 0.0, make([]float64, len(all))
	for i, s := range all {
		weights[i] /= sum
		slopes[i] = dot(dout, s.v, sizes)
		mean += weights[i] * slopes[i]
	}
	one, lse := func(x float64) float64 { return x }, highest+math.Log(sum)
	if sizes {
		one, mean, lse = math.Abs, -mean, largest
	}
	for i, s := range all {
		g := weights[i] * (slopes[i] - mean + one(dlse))
		for d := range q {
			dq[d] += one(p.Scale * g * s.k[d])
			s.dk[d] += one(p.Scale * g * q[d])
		}
		for d := range dout {
			out[d] += one(weights[i] * s.v[d])
			s.dv[d] += one(weights[i] * dout[d])
		}
		if rpb != nil && s.bias >= 0 {
			r.DRPB[s.bias] += one(g)
		}
	}
	return lse
}

func dot(x, y []float64, sizes bool) float64 {
	sum := 0.0
	for i := range x {
		if sizes {
			sum += math.Abs(x[i] * y[i])
		} else {
			sum += x[i] * y[i]
		}
	}
	return sum
}
