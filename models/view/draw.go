package view

import (
	"fmt"
	"image"
	"image/color"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

const (
	panelSide = 224 // the longer side of a panel's picture, in pixels
	caption   = 18  // height of the line above it
	margin    = 8
)

// Select keeps what a figure needs: of each level the last block without
// dilation and the last one with, in order.
func Select(maps []Map) []Map {
	var kept []Map
	for i, m := range maps {
		superseded := false
		for _, later := range maps[i+1:] {
			superseded = superseded || later.Level == m.Level && (later.Dilation > 1) == (m.Dilation > 1)
		}
		if !superseded {
			kept = append(kept, m)
		}
	}
	return kept
}

// Draw puts one panel per map over the picture: tokens the brighter the more
// attention they get (relative to the most in that map), the rest darkened,
// the query framed. Panels of a level stand in one row; the first panel is the
// picture itself.
func Draw(picture image.Image, maps []Map) *image.RGBA {
	width, height := panelSize(picture.Bounds())
	places, rows, columns := arrange(maps)
	out := image.NewRGBA(image.Rect(0, 0, columns*(width+margin)+margin, rows*(height+caption+margin)+margin))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)

	base := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.CatmullRom.Scale(base, base.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	corner := func(row, column int) image.Point {
		return image.Pt(margin+column*(width+margin), margin+row*(height+caption+margin))
	}
	label(out, corner(0, 0), "picture")
	put(out, base, corner(0, 0))

	for i, m := range maps {
		at := corner(places[i].Y, places[i].X)
		label(out, at, fmt.Sprintf("level %d block %d: %dx%d d%d", m.Level, m.Block, m.Height, m.Width, m.Dilation))
		put(out, panel(base, m), at)
	}
	return out
}

// arrange gives each map a row per level and a column within it, below the
// picture's own row.
func arrange(maps []Map) (places []image.Point, rows, columns int) {
	at := image.Point{}
	for i, m := range maps {
		if i > 0 && m.Level == maps[i-1].Level {
			at.X++
		} else {
			at = image.Pt(0, at.Y+1)
		}
		places, columns = append(places, at), max(columns, at.X+1)
	}
	return places, at.Y + 1, max(columns, 1)
}

// panelSize scales a picture's longer side to panelSide.
func panelSize(b image.Rectangle) (width, height int) {
	longer := max(b.Dx(), b.Dy(), 1)
	return max(b.Dx()*panelSide/longer, 1), max(b.Dy()*panelSide/longer, 1)
}

func put(out, picture *image.RGBA, at image.Point) {
	at.Y += caption
	draw.Draw(out, picture.Bounds().Add(at), picture, image.Point{}, draw.Src)
}

func label(out *image.RGBA, at image.Point, text string) {
	d := font.Drawer{Dst: out, Src: image.Black, Face: basicfont.Face7x13, Dot: fixed.P(at.X, at.Y+caption-5)}
	d.DrawString(text)
}

// panel is the picture seen through one map.
func panel(base *image.RGBA, m Map) *image.RGBA {
	out := image.NewRGBA(base.Bounds())
	width, height := base.Bounds().Dx(), base.Bounds().Dy()
	most := 0.0
	for _, w := range m.Weights {
		most = max(most, w)
	}
	for y := range height {
		row := y * m.Height / height
		for x := range width {
			column := x * m.Width / width
			share := 0.0
			if most > 0 {
				share = m.Weights[row*m.Width+column] / most
			}
			out.SetRGBA(x, y, heat(base.RGBAAt(x, y), share))
		}
	}
	frame := image.Rect(m.Column*width/m.Width, m.Row*height/m.Height, (m.Column+1)*width/m.Width, (m.Row+1)*height/m.Height)
	outline(out, frame.Inset(-1).Intersect(out.Bounds()), color.RGBA{0, 200, 255, 255})
	return out
}

// heat mixes a darkened grey of the pixel with orange by the share of attention.
func heat(c color.RGBA, share float64) color.RGBA {
	grey := 0.35 * (0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B))
	mix := func(to float64) uint8 { return uint8(grey*(1-0.8*share) + to*0.8*share + 0.5) }
	return color.RGBA{mix(255), mix(170), mix(40), 255}
}

func outline(out *image.RGBA, r image.Rectangle, c color.RGBA) {
	for x := r.Min.X; x < r.Max.X; x++ {
		out.SetRGBA(x, r.Min.Y, c)
		out.SetRGBA(x, r.Max.Y-1, c)
	}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		out.SetRGBA(r.Min.X, y, c)
		out.SetRGBA(r.Max.X-1, y, c)
	}
}
