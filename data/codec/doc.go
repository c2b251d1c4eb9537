// Package codec turns the bytes of an image file into a raster.Image.
//
// The format is told from the first bytes, never from a file's name: image
// collections contain PNG files called .JPEG. JPEG, PNG, GIF, BMP, TIFF and WebP
// are read. Every failure, also one inside a decoder, comes back as an error.
package codec
