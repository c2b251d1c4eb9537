// Package record keeps what a training run measures: a line of JSON per
// measurement, and curves as a picture.
package record
