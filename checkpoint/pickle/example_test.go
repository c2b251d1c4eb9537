package pickle_test

import (
	"fmt"

	"github.com/gonatten/gonatten/checkpoint/pickle"
)

// A pickle that would run a command in Python is a description of that call here.
func ExampleDecode() {
	hostile := []byte("cos\nsystem\n(S'rm -r ~'\ntR.")
	v, _, err := pickle.Decode(hostile, pickle.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := v.(*pickle.Object)
	fmt.Println(call.Class, call.Args)
	// Output: os.system [rm -r ~]
}
