// Package pickle reads Python pickles (protocols 0 to 5) as inert data: nothing in the file is ever executed.
//
// A pickle is a program for a small stack machine whose dangerous instructions import any Python function and call it.
// Here such an instruction only makes an [Object] that remembers the function's name and arguments, unless the caller's
// [Config] gives a Go function for that very name: an allow-list. Plain values become Go values:
//
//	None, bool                nil, bool
//	int                       int64, or *big.Int beyond 64 bits
//	float, complex            float64, complex128
//	str, bytes, bytearray     string, [Bytes], [Bytes]
//	tuple, list, set          [Tuple], *[List], *[List]
//	dict, OrderedDict         *[Dict]
//	a class or function       [Global]
//	anything else             *[Object]
//
// The work and the memory that a hostile pickle can ask for are limited: see [Limits].
//
// Source: CPython's Lib/pickletools.py documents every opcode; PEP 3154 and PEP 574 describe protocols 4 and 5.
package pickle
