// Package record keeps what a training run measures: a line of JSON per
// measurement, the same as a CSV table and as TensorBoard events, and curves as
// a picture.
package record
