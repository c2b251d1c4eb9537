package report

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/record"
)

// colours writes plain pictures of three colours, and some whose folder lies.
func colours(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	classes := []string{"blue", "green <b>", "red"}
	for split, n := range map[string]int{"train": 8, "val": 6} {
		for c, class := range classes {
			folder := filepath.Join(dir, split, class)
			require.NoError(t, os.MkdirAll(folder, 0o755))
			for i := range n {
				shade := c
				if i == 0 {
					shade = (c + 1) % 3
				}
				m := image.NewNRGBA(image.Rect(0, 0, 16, 16))
				for k := range m.Pix {
					m.Pix[k] = []uint8{uint8(60 + 10*i), 40, 30, 255}[(k+shade)%4]
					if k%4 == 3 {
						m.Pix[k] = 255
					}
				}
				m.Set(i, i, color.White)
				f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%d.png", i)))
				require.NoError(t, err)
				require.NoError(t, png.Encode(f, m))
				require.NoError(t, f.Close())
			}
		}
	}
	return dir
}

func TestReportOfARun(t *testing.T) {
	c, err := config.Load("fashion_mnist")
	require.NoError(t, err)
	require.NoError(t, c.Read([]byte("dataset: ''\nepochs: 2\nbatch_size: 8\nlog_interval: 1\nwarmup_epochs: 0\nimg_size: 16\nlr: 2e-3\nexperiment: one")))
	c.DataDir, c.Output = colours(t), filepath.Join(t.TempDir(), "runs")
	summary, err := train.Run(context.Background(), c, train.RunOptions{})
	require.NoError(t, err)

	seen := 0
	path, err := Write(context.Background(), summary.Folder, Options{OnBatch: func(n int) { seen = n }, Mistakes: 4})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(summary.Folder, File), path)
	require.Equal(t, 18, seen)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	html := string(text)
	require.Contains(t, html, "<title>nat_nano_28 on ")
	require.Contains(t, html, fmt.Sprintf("<b>%.2f</b>", summary.TestAccuracy))
	require.Equal(t, 4, strings.Count(html, "<svg"), "loss, accuracy, rate, speed")
	require.Contains(t, html, "green &lt;b&gt;", "names are escaped")
	require.NotContains(t, html, "green <b>")
	require.Equal(t, 3, strings.Count(html, "<td class=\"right"))
	require.Equal(t, 6, strings.Count(html, "<td class=\"wrong"))
	mistakes := strings.Count(html, "<figure>")
	require.Equal(t, min(4, int(18-18*summary.TestAccuracy/100+0.5)), mistakes)
	require.Equal(t, mistakes, strings.Count(html, "data:image/png;base64,"))
	require.NotContains(t, html, "ZgotmplZ", "nothing that the template holds unsafe")
	require.Contains(t, html, `<tr class="own" title="height and width`)
	for _, outside := range []string{"http://", "https://", "src=\"/", "@import"} {
		require.NotContains(t, html, outside, "needs no other file")
	}

	t.Run("without the pictures", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "page.html")
		path, err := Write(context.Background(), summary.Folder, Options{Output: out, Adapt: func(c *config.Config) { c.DataDir = "/nowhere" }})
		require.NoError(t, err)
		require.Equal(t, out, path)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), "The evaluation pictures were not looked at: ")
		require.Contains(t, string(text), "/nowhere")
		require.Contains(t, string(text), "<svg")
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := Write(ctx, summary.Folder, Options{})
		require.ErrorContains(t, err, "report: context canceled")
	})
}

func TestReportOfAFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := Write(context.Background(), dir, Options{})
	require.ErrorContains(t, err, "is not the folder of a run: it has no config.yaml")

	require.NoError(t, os.WriteFile(filepath.Join(dir, train.ConfigFile), config.Default().YAML(), 0o600))
	path, err := Write(context.Background(), dir, Options{})
	require.NoError(t, err, "a run that has only begun")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "has not ended")
	require.Contains(t, string(text), "no weights yet")
	require.NotContains(t, string(text), "<svg")
}

func TestManyClasses(t *testing.T) {
	e := newEvidence(100, 5)
	for i := range e.counts {
		e.counts[i][i], e.counts[i][(i+1)%100] = 190-i, 10
	}
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint("class ", i))
	}
	p := &page{}
	p.addEvidence(e, names, &train.Evaluation{})
	require.False(t, p.Matrix)
	require.Len(t, p.Classes, 20)
	require.Equal(t, "class 99", p.Classes[0].Name, "the one found least often")
	require.Len(t, p.Pairs, 10)
}

func TestNumbers(t *testing.T) {
	for want, x := range map[string]float64{"0": 0, "0.25": 0.25, "1234": 1234, "12.5k": 12500, "20M": 2e7, "1e-5": 1e-5} {
		require.Equal(t, want, short(x))
	}
	require.Equal(t, []string{"12%", "0.30%", "1e-06"}, []string{belief(0.12), belief(0.003), belief(1e-6)})
	for _, limits := range [][2]float64{{0, 10}, {0.7, 2.5}, {0, 3e-3}, {62, 101}, {0, 1e-9}, {99.5, 100.5}} {
		list := ticks(limits[0], limits[1])
		require.GreaterOrEqual(t, len(list), 4, limits)
		require.LessOrEqual(t, len(list), 11, limits)
		require.GreaterOrEqual(t, list[0], limits[0])
		require.LessOrEqual(t, list[len(list)-1], limits[1])
	}
	require.Equal(t, 25.0, stepsPerEpoch([]record.Row{{Kind: "train", Step: 25}, {Kind: "eval", Epoch: 1, Step: 50}}))
	require.Equal(t, 1.0, stepsPerEpoch(nil))
}
