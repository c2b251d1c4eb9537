// Package near finds the name that a misspelt one may have meant.
package near

import "strings"

// Name is the known name nearest to a word, or "" where none is near: more than
// half of the word would have to change. A beginning of a name is near it.
func Name(word string, known []string) string {
	best, distance := "", len(word)/2+1
	for _, name := range known {
		d := Distance(word, name)
		if word != "" && (strings.HasPrefix(name, word) || strings.HasPrefix(word, name)) {
			d = min(d, 1)
		}
		if d < distance {
			best, distance = name, d
		}
	}
	return best
}

// Question is "; did you mean NAME?" with the nearest name, or "" where there is
// none.
func Question(word string, known []string) string {
	if name := Name(word, known); name != "" {
		return "; did you mean " + name + "?"
	}
	return ""
}

// Distance is Levenshtein's: insertions, deletions and changes that turn a into b.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
