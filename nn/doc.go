// Package nn has the layers that own parameters: NeighborhoodAttention1D, 2D
// and 3D, and the few others that NAT and DiNAT are made of, with PyTorch's
// initialisation and numerics.
//
// Parameters live in a gotch VarStore under PyTorch's names and shapes, so a
// published checkpoint loads name by name. A layer is used in three ways:
//
//	y, err := layer.Apply(x, train) // an error names layer, argument and limit
//	y := layer.Forward(x)           // gotch's ts.Module, evaluation mode
//	y := layer.ForwardT(x, train)   // gotch's ts.ModuleT
//
// The last two have no error result and panic with an [*Error]. The caller
// owns y; whatever else a layer makes it frees, except what gradients need.
package nn
