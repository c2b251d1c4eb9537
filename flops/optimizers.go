package flops

// optimizerHandlers are the steps that update all parameters in one call. Those
// made of elementwise operators are counted by these.
var optimizerHandlers = map[string]Handler{
	"aten::_fused_adamw_": adam(1),
	"aten::_fused_adam_":  adam(2),
	"aten::_fused_sgd_":   sgd,
}

// adam(self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, lr, beta1,
// beta2, weight_decay, eps, amsgrad), per parameter:
//
//	m = beta1·m + (1-beta1)·g            3
//	v = beta2·v + (1-beta2)·g²           4
//	sqrt(v)/sqrt(1-beta2^t) + eps        3
//	p = p - lr/(1-beta1^t)·m/that        3
//	weight decay: AdamW p·(1-lr·wd) 1, Adam g + wd·p 2;  amsgrad: max(v) 1
func adam(decay int64) Handler {
	return func(op *Op) Cost {
		per := int64(13)
		if op.Float(9, 0) != 0 {
			per += decay
		}
		if op.Bool(11) {
			per++
		}
		return Cost{FLOPs: per * elements(op.Tensors(0)), Label: "optimizer"}
	}
}

// sgd(self, grads, momentum_buffers, weight_decay, momentum, lr, dampening,
// nesterov), per parameter: p - lr·g 2; weight decay g + wd·p 2; momentum
// b·momentum + (1-dampening)·g 3; nesterov g + momentum·b 2.
func sgd(op *Op) Cost {
	per := int64(2)
	if op.Float(3, 0) != 0 {
		per += 2
	}
	if op.Float(4, 0) != 0 {
		per += 3
		if op.Bool(7) {
			per += 2
		}
	}
	return Cost{FLOPs: per * elements(op.Tensors(0)), Label: "optimizer"}
}

func elements(list []*Tensor) int64 {
	var n int64
	for _, t := range list {
		if t != nil {
			n += t.Numel()
		}
	}
	return n
}
