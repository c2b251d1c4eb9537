package flops

import (
	"fmt"
	"strings"
)

// Convention says what [Cost.MACs] of a report means. FLOPs are counted by the
// same formulas under every convention; the two are never mixed in one number.
type Convention int

const (
	// Exact counts the multiply-accumulates of matrix products, convolutions and
	// attention that really happen: no key that a causal mask hides, nothing for
	// norms.
	Exact Convention = iota
	// NATTEN0175 is fvcore 0.1.5 with the handles of NATTEN 0.17.5, whose totals
	// the papers print as "FLOPs". Attention counts every slot of the window,
	// causal or not; norms count 5 per element (4 without weight); elementwise
	// operators, softmax and biases count nothing.
	NATTEN0175
	// NATTEN0151 is NATTEN0175 plus one per attention logit, as NATTEN 0.15.1 had
	// it, with or without a positional bias.
	NATTEN0151
)

var conventionNames = [...]string{"exact", "natten-0.17.5", "natten-0.15.1"}

// String is the name by which [ParseConvention] knows it.
func (c Convention) String() string {
	if c < 0 || int(c) >= len(conventionNames) {
		return fmt.Sprintf("Convention(%d)", int(c))
	}
	return conventionNames[c]
}

// ParseConvention reads "exact", "natten-0.17.5" or "natten-0.15.1".
func ParseConvention(name string) (Convention, error) {
	for i, known := range conventionNames {
		if name == known {
			return Convention(i), nil
		}
	}
	return 0, fmt.Errorf("flops: convention %q is none of %s", name, strings.Join(conventionNames[:], ", "))
}

// MarshalText is String, for JSON and flags.
func (c Convention) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseConvention.
func (c *Convention) UnmarshalText(text []byte) error {
	parsed, err := ParseConvention(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}

// table holds the convention's own handlers, whose MACs replace the exact ones;
// an operator that is in neither it nor in ignored goes uncounted. nil: the
// exact ones hold.
func (c Convention) table() map[string]Handler {
	switch c {
	case NATTEN0175:
		return natten0175
	case NATTEN0151:
		return natten0151
	}
	return nil
}

var natten0175, natten0151 = fvcoreTable(0), fvcoreTable(1)
