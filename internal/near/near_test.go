package near_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/internal/near"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		require.Equal(t, c.want, near.Distance(c.a, c.b), c)
		require.Equal(t, c.want, near.Distance(c.b, c.a), c)
	}
}

func TestName(t *testing.T) {
	known := []string{"nat_mini", "nat_tiny", "dinat_mini"}
	for word, want := range map[string]string{
		"nat_mni": "nat_mini", "dinatmini": "dinat_mini", "nat_tin": "nat_tiny", "resnet50": "", "": "", "nat": "nat_mini",
	} {
		require.Equal(t, want, near.Name(word, known), word)
	}
}

func ExampleQuestion() {
	fmt.Printf("no model nat_mni%s\n", near.Question("nat_mni", []string{"nat_mini", "nat_tiny"}))
	// Output: no model nat_mni; did you mean nat_mini?
}
