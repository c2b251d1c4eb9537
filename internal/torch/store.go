package torch

// #include "../../csrc/natten.h"
// #include <stdlib.h>
import "C"

import (
	"time"
	"unsafe"
)

// Store is libtorch's TCPStore: keys and values that processes share. One
// goroutine at a time uses it.
type Store struct{ handle C.natten_store }

// OpenStore connects to the store at host:port, waiting up to timeout for it, or
// with serve becomes it. All keys are put behind prefix.
func OpenStore(host string, port int, serve bool, prefix string, timeout time.Duration) (*Store, error) {
	chost, cprefix := C.CString(host), C.CString(prefix)
	defer C.free(unsafe.Pointer(chost))
	defer C.free(unsafe.Pointer(cprefix))
	s := &Store{}
	err := failure(C.natten_store_open(chost, C.int(port), C.int(bit(serve)), cprefix, C.int64_t(timeout.Milliseconds()), &s.handle))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close gives the connection back, and ends the store where this process is it.
func (s *Store) Close() {
	C.natten_store_close(s.handle)
	s.handle = nil
}

// Set gives a key a value.
func (s *Store) Set(key, value string) error {
	ckey, cvalue := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(ckey))
	defer C.free(unsafe.Pointer(cvalue))
	return failure(C.natten_store_set(s.handle, ckey, unsafe.Pointer(cvalue), C.int64_t(len(value))))
}

// Get waits up to timeout for a key; ok is false where it did not come. The
// error is of a store that cannot be reached.
func (s *Store) Get(key string, timeout time.Duration) (value string, ok bool, err error) {
	ckey := C.CString(key)
	defer C.free(unsafe.Pointer(ckey))
	var data unsafe.Pointer
	var size C.int64_t
	err = failure(C.natten_store_get(s.handle, ckey, C.int64_t(max(timeout.Milliseconds(), 1)), &data, &size))
	if err != nil || data == nil {
		return "", false, err
	}
	defer C.natten_free(data)
	return C.GoStringN((*C.char)(data), C.int(size)), true, nil
}

// Add adds to a key's number, 0 at first, and returns the sum.
func (s *Store) Add(key string, amount int64) (int64, error) {
	ckey := C.CString(key)
	defer C.free(unsafe.Pointer(ckey))
	var sum C.int64_t
	err := failure(C.natten_store_add(s.handle, ckey, C.int64_t(amount), &sum))
	return int64(sum), err
}
