package flops

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// fvcoreEinsum counts as fvcore does: half of the "optimized FLOP count" that
// numpy.einsum_path prints with four digits, rounded down; two common batched
// products exactly. The Exact convention counts the products that libtorch
// makes of an einsum instead.
func fvcoreEinsum(op *Op) Cost {
	equation := strings.ReplaceAll(op.Text(0), " ", "")
	operands := op.Tensors(1)
	inputs, output, _ := strings.Cut(equation, "->")
	terms := strings.Split(inputs, ",")
	if len(terms) != len(operands) {
		return Cost{}
	}
	sizes := map[rune]int64{}
	sets := make([]string, len(terms))
	for i, term := range terms {
		letters := []rune(term)
		if len(letters) != len(operands[i].Shape) {
			return Cost{}
		}
		for j, letter := range letters {
			sizes[letter] = operands[i].Shape[j]
		}
		sets[i] = letterSet(term)
	}
	switch canonical(equation) {
	case "abc,abd->acd", "abc,adc->adb":
		return Cost{MACs: product(operands[0].Shape) * sizes[[]rune(terms[1])[productColumn(equation)]]}
	}
	best := einsumCost(sets, letterSet(output), sizes) + 1
	printed, _ := strconv.ParseFloat(fmt.Sprintf("%.3e", float64(best)), 64)
	return Cost{MACs: int64(math.Floor(printed / 2))}
}

// productColumn is the place of the right operand's own letter.
func productColumn(equation string) int {
	if canonical(equation) == "abc,abd->acd" {
		return 2
	}
	return 1
}

// canonical renames letters in order of appearance.
func canonical(equation string) string {
	names := map[rune]rune{}
	return strings.Map(func(r rune) rune {
		if r == ',' || r == '-' || r == '>' {
			return r
		}
		if _, ok := names[r]; !ok {
			names[r] = 'a' + rune(len(names))
		}
		return names[r]
	}, equation)
}

// einsumCost is the least operation count over all orders of contracting pairs:
// the product of all sizes in a contraction, twice where it sums something.
func einsumCost(terms []string, output string, sizes map[rune]int64) int64 {
	if len(terms) <= 2 {
		return contraction(terms, output, sizes)
	}
	best := int64(math.MaxInt64)
	for i := range terms {
		for j := i + 1; j < len(terms); j++ {
			rest := slices.Concat(terms[:i], terms[i+1:j], terms[j+1:])
			kept := letterSet(strings.Join(append(slices.Clone(rest), output), ""))
			result := intersect(terms[i]+terms[j], kept)
			cost := contraction([]string{terms[i], terms[j]}, result, sizes) +
				einsumCost(append(rest, result), output, sizes)
			best = min(best, cost)
		}
	}
	return best
}

func contraction(terms []string, output string, sizes map[rune]int64) int64 {
	all := letterSet(strings.Join(terms, ""))
	size, sums := int64(1), false
	for _, letter := range all {
		size *= sizes[letter]
		sums = sums || !strings.ContainsRune(output, letter)
	}
	factor := int64(max(1, len(terms)-1))
	if sums {
		factor++
	}
	return size * factor
}

func letterSet(text string) string {
	letters := []rune(text)
	slices.Sort(letters)
	return string(slices.Compact(letters))
}

func intersect(a, b string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(b, r) {
			return r
		}
		return -1
	}, letterSet(a))
}
