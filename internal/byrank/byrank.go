// Package byrank has package functional's functions as tables, for code that
// learns the number of spatial axes as a number: entry i is of i + 1 axes.
package byrank

import (
	"github.com/sugarme/gotch/ts"

	"github.com/gonatten/gonatten/functional"
)

// The fused operator and the two halves of the unfused pair.
var (
	NA = [3]func(q, k, v *ts.Tensor, o functional.Options) (*ts.Tensor, error){functional.NA1D, functional.NA2D, functional.NA3D}
	QK = [3]func(q, k *ts.Tensor, o functional.Options) (*ts.Tensor, error){functional.NA1DQK, functional.NA2DQK, functional.NA3DQK}
	AV = [3]func(attn, v *ts.Tensor, o functional.Options) (*ts.Tensor, error){functional.NA1DAV, functional.NA2DAV, functional.NA3DAV}
)
