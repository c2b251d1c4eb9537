// Package progress shows how long work is going on: one line that renews
// itself on a terminal, a plain line now and then elsewhere.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Bar is a progress display. A nil Bar shows nothing. Its methods may be
// called from several goroutines.
type Bar struct {
	out      io.Writer
	width    func() int // of the terminal; nil: plain lines
	interval time.Duration
	now      func() time.Time

	mu      sync.Mutex
	title   string
	started time.Time
	shown   time.Time
	drawn   bool // a line stands on the terminal that Print must not mix with
	last    string
}

// New displays on a file, usually os.Stderr: renewing a line where that is a
// terminal, else printing one every ten seconds.
func New(file *os.File) *Bar {
	b := NewWriter(file)
	if fd := int(file.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		b.interval = 100 * time.Millisecond
		b.width = func() int {
			w, _, err := term.GetSize(fd)
			if err != nil || w < 20 {
				return 80
			}
			return w
		}
	}
	return b
}

// NewWriter displays plain lines on any writer, one every ten seconds.
func NewWriter(w io.Writer) *Bar {
	return &Bar{out: w, interval: 10 * time.Second, now: time.Now}
}

// Start begins a new piece of work under a title, such as "epoch 3/20".
func (b *Bar) Start(title string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.title, b.started, b.last = title, b.now(), ""
	b.shown = b.started
	if b.width != nil {
		b.shown = time.Time{}
	}
}

// Update shows that done of total is through, and a few words besides. Most
// calls return at once, as the display changes only so often.
func (b *Bar) Update(done, total int64, words string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.now(); now.Sub(b.shown) >= b.interval {
		b.shown = now
		b.draw(done, total, words)
	}
}

// Fetching shows the progress of steps that count bytes.
func (b *Bar) Fetching() func(what string, done, total int64) {
	title := ""
	return func(what string, done, total int64) {
		if what != title {
			title = what
			b.Start(what)
		}
		b.Update(done, total, Bytes(done))
	}
}

// Due tells whether Update would change the display now, for callers whose
// words cost something to find.
func (b *Bar) Due() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now().Sub(b.shown) >= b.interval
}

// Print puts a line that stays above the display.
func (b *Bar) Print(line string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.drawn = false
	}
	fmt.Fprintln(b.out, line)
}

// Write prints whole lines above the display, so that a logger can share it.
func (b *Bar) Write(p []byte) (int, error) {
	b.Print(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// Clear takes the renewing line away.
func (b *Bar) Clear() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.drawn = false
	}
}

func (b *Bar) draw(done, total int64, words string) {
	fraction := 0.0
	if total > 0 {
		fraction = min(1, float64(done)/float64(total))
	}
	if b.width == nil {
		line := fmt.Sprintf("%s %3.0f%% %s", b.title, 100*fraction, words)
		if line != b.last {
			fmt.Fprintln(b.out, line)
		}
		b.last = line
		return
	}
	fmt.Fprint(b.out, "\r", fit(b.title, fraction, words, b.width()-1), "\x1b[K")
	b.drawn = true
}

// fit makes a line of at most width columns; the bar takes what the words leave.
func fit(title string, fraction float64, words string, width int) string {
	head, tail := title+" ", fmt.Sprintf(" %3.0f%% %s", 100*fraction, words)
	cells := min(40, width-len([]rune(head))-len([]rune(tail)))
	bar := ""
	if cells >= 5 {
		full := int(fraction*float64(cells) + 0.5)
		bar = strings.Repeat("━", full) + strings.Repeat("─", cells-full)
	}
	line := []rune(head + bar + tail)
	return string(line[:min(len(line), max(width, 0))])
}

// Duration writes a time as 0:07, 12:34 or 1:02:03.
func Duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Bytes writes a size as 12 kB, 3.4 MB or 1.2 GB (powers of 1000).
func Bytes(n int64) string {
	switch x := float64(n); {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", x/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.0f MB", x/1e6)
	default:
		return fmt.Sprintf("%.2f GB", x/1e9)
	}
}

// Rate writes a speed in FLOP/s as 12 MFLOP/s, 3.4 GFLOP/s or 1.2 TFLOP/s.
func Rate(flops float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}} {
		if flops >= unit.size {
			return fmt.Sprintf("%.1f %sFLOP/s", flops/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f MFLOP/s", flops/1e6)
}
