package definition

import (
	"slices"
	"sort"
)

// Axis is one spatial axis. Stride 0 means 1.
type Axis struct {
	Length, Kernel, Dilation, Stride int
	Causal                           bool
}

// Keys are the tokens that query attends to, in ascending order: Kernel of
// them, or fewer at the start of a causal axis and before a causal leader.
//
// The tokens congruent to query modulo Dilation form its group; places are
// counted in it. Queries are taken in blocks of Stride places. A block's leader
// is its middle query (the later one of two; causal: its last), or the group's
// last query where the block is cut off. The keys are the Kernel places nearest
// to the leader, the earlier one of two equally near; on a causal axis, those
// less than Kernel places before the leader and not after the query.
func (a Axis) Keys(query int) []int {
	var group []int
	for token := query % a.Dilation; token < a.Length; token += a.Dilation {
		group = append(group, token)
	}
	place, stride := slices.Index(group, query), max(a.Stride, 1)
	blockStart := place - place%stride
	leader := blockStart + stride/2
	if a.Causal {
		leader = blockStart + stride - 1
	}
	leader = min(leader, len(group)-1)

	var keys []int
	if a.Causal {
		for p, token := range group {
			if p <= place && leader-p < a.Kernel {
				keys = append(keys, token)
			}
		}
		return keys
	}
	places := make([]int, len(group))
	for p := range places {
		places[p] = p
	}
	sort.SliceStable(places, func(i, j int) bool { return distance(places[i], leader) < distance(places[j], leader) })
	for _, p := range places[:a.Kernel] {
		keys = append(keys, group[p])
	}
	slices.Sort(keys)
	return keys
}

// Bias is the place in the relative positional bias, 0 to 2*Kernel-2, of a key
// seen from a query.
func (a Axis) Bias(query, key int) int { return (key-query)/a.Dilation + a.Kernel - 1 }

func distance(a, b int) int { return max(a-b, b-a) }
