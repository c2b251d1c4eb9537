// Package resample changes the size of 8-bit images with the arithmetic of
// Pillow's resize: antialiased, separable, horizontal pass first, coefficients and
// sums in 22-bit fixed point, 8 bits between the passes. Training pipelines of the
// Python world are built on that function, and models are sensitive to which
// resize made their input; the results here are bit for bit the same.
//
// The filters are defined on their support s, stretched by the reduction factor
// where the image shrinks:
//
//	Box       s = 1/2   1
//	Bilinear  s = 1     1 - |x|
//	Hamming   s = 1     sinc(x) (0.54 + 0.46 cos(pi x))
//	Bicubic   s = 2     Keys' cubic with a = -1/2
//	Lanczos   s = 3     sinc(x) sinc(x/3)
//
// Nearest takes the pixel under the centre of each output pixel.
package resample
