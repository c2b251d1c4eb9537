package progress

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPlainLinesNowAndThen(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	b := NewWriter(&out)
	b.now = func() time.Time { return clock }
	b.Start("epoch 1/2")
	for i := range int64(31) {
		clock = clock.Add(time.Second)
		b.Update(i+1, 100, "loss 0.5")
	}
	require.Equal(t, "epoch 1/2  10% loss 0.5\nepoch 1/2  20% loss 0.5\nepoch 1/2  30% loss 0.5\n", out.String())
}

func TestTerminalLineRenewsItself(t *testing.T) {
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	b := NewWriter(&out)
	b.now = func() time.Time { return clock }
	b.width, b.interval = func() int { return 40 }, time.Second
	b.Start("epoch 1/2")
	require.True(t, b.Due())
	b.Update(50, 100, "loss 0.5")
	require.False(t, b.Due())
	b.Update(51, 100, "loss 0.4")
	require.Equal(t, "\repoch 1/2 ━━━━━━━━─────── ", strings.Split(out.String(), "  50%")[0]+" ")
	require.NotContains(t, out.String(), "0.4", "too early")
	require.NotContains(t, out.String(), "\n")
	out.Reset()
	slog.New(slog.NewTextHandler(b, nil)).Info("saved")
	require.True(t, strings.HasPrefix(out.String(), "\r\x1b[K"), "the line is taken away for a message")
	require.True(t, strings.HasSuffix(out.String(), "msg=saved\n"))
	out.Reset()
	b.Clear()
	require.Empty(t, out.String(), "nothing to clear")
}

func TestLinesFit(t *testing.T) {
	for width := 0; width < 100; width++ {
		for _, fraction := range []float64{0, 0.37, 1} {
			line := fit("epoch 10/20", fraction, "123 img/s, loss 0.123", width)
			require.LessOrEqual(t, len([]rune(line)), width)
		}
	}
}

func TestNilBarIsSilent(t *testing.T) {
	var b *Bar
	b.Start("x")
	b.Update(1, 2, "")
	b.Print("x")
	b.Clear()
	require.False(t, b.Due())
}

func ExampleDuration() {
	fmt.Println(Duration(7*time.Second), Duration(754*time.Second), Duration(3723*time.Second))
	fmt.Println(Bytes(999), Bytes(12345), Bytes(3456789), Bytes(1234567890))
	fmt.Println(Rate(3.2e6), Rate(47.31e9), Rate(1.2e12))
	// Output:
	// 0:07 12:34 1:02:03
	// 999 B 12 kB 3 MB 1.23 GB
	// 3 MFLOP/s 47.3 GFLOP/s 1.2 TFLOP/s
}
