// Package raster holds 8-bit images the way the data pipeline moves them: one
// tightly packed slice of rows, each row a run of pixels, each pixel 1 (gray)
// or 3 (RGB) bytes.
//
// It exists beside the standard image package because every transform of the
// pipeline walks pixels of one known layout, and an interface call per pixel,
// a stride or an alpha channel would each cost more than the arithmetic.
package raster
