package main

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/gonatten/gonatten/data"
	"github.com/gonatten/gonatten/internal/atomicfile"
	"github.com/gonatten/gonatten/internal/torch"
	"github.com/gonatten/gonatten/models"
	"github.com/gonatten/gonatten/models/view"
	"github.com/gonatten/gonatten/train"
)

// drawAttention writes a PNG of what the token at a place of a picture attends
// to at each level.
func drawAttention(p *train.Predictor, picture, at, out string) error {
	point, err := parsePoint(at)
	if err != nil {
		return err
	}
	sample, err := data.ReadSample(picture)
	if err != nil {
		return err
	}
	pixels, err := p.Pixels(&sample)
	if err != nil {
		return err
	}
	s := torch.NewScope()
	defer s.Close()
	input := p.Upload(s, pixels.Values, 1, int64(pixels.Channels), int64(pixels.Height), int64(pixels.Width))
	if s.Err() != nil {
		return s.Err()
	}
	maps, err := view.Attention(p.Model, input, point)
	if err != nil {
		return err
	}
	figure := view.Draw(asSeen(pixels, p.Card.Preprocess), view.Select(maps))
	return atomicfile.Write(out, func(w io.Writer) error { return png.Encode(w, figure) })
}

// parsePoint reads "row,column", both from 0 to 1.
func parsePoint(text string) (view.Point, error) {
	row, column, ok := strings.Cut(text, ",")
	var p view.Point
	var err error
	if ok {
		if p.Row, err = strconv.ParseFloat(row, 64); err == nil {
			p.Column, err = strconv.ParseFloat(column, 64)
		}
	}
	inside := func(x float64) bool { return x >= 0 && x <= 1 } // and a number
	if !ok || err != nil || !inside(p.Row) || !inside(p.Column) {
		return p, fmt.Errorf("--at is %q, want ROW,COLUMN with both from 0 to 1", text)
	}
	return p, nil
}

// asSeen turns a model's input back into a picture, its normalisation undone.
func asSeen(x *train.Pixels, p models.Preprocess) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, x.Width, x.Height))
	value := func(channel, at int) uint8 {
		channel = min(channel, x.Channels-1) // grey: one channel for all three
		v := float64(x.Values[channel*x.Width*x.Height+at])
		if channel < len(p.Mean) && channel < len(p.Std) {
			v = v*p.Std[channel] + p.Mean[channel]
		}
		return uint8(math.Round(255 * min(max(v, 0), 1)))
	}
	for at := range x.Width * x.Height {
		out.SetRGBA(at%x.Width, at/x.Width, color.RGBA{value(0, at), value(1, at), value(2, at), 255})
	}
	return out
}
