package train_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
)

// TestOfficialRecipes reads what the official training configurations say. All
// must be configurations of published variants; one of each family, the smallest,
// trains two steps on small pictures. scripts/check-recipes does so for all.
func TestOfficialRecipes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "recipes.yml"))
	require.NoError(t, err)
	var recipes map[string]yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &recipes))
	require.Len(t, recipes, 21)
	trained := map[string]bool{"nat_mini": true, "dinat_s_tiny": true, "dinat_isotropic_small": true}
	for name, node := range recipes {
		t.Run(name, func(t *testing.T) {
			document, err := yaml.Marshal(&node)
			require.NoError(t, err)
			c := config.Default()
			require.NoError(t, c.Read(document))
			require.NoError(t, c.Check())
			m, err := models.ConfigOf(c.Model)
			require.NoError(t, err)
			if c.ImgSize != 0 {
				require.EqualValues(t, m.ImageSize, c.ImgSize, "it is the variant's own size")
			}
			if !trained[name] {
				return
			}
			c.DataDir, c.Output, c.ValSplit = imageFolder(t, 32, 4, 1), t.TempDir(), ""
			c.BatchSize, c.MaxSteps, c.ImgSize, c.Workers = 2, 2, 32, 1
			s, err := train.Run(context.Background(), c, train.RunOptions{})
			require.NoError(t, err)
			require.Equal(t, 2, s.Steps)
		})
	}
}
