package verify_test

import (
	"context"
	"fmt"

	"github.com/sugarme/gotch"

	"github.com/gonatten/gonatten/verify"
)

// Check the CPU in float32 against the references of operators and layers.
func ExampleRun() {
	report, err := verify.Run(context.Background(), "testdata/golden", verify.Options{
		DTypes:  []gotch.DType{gotch.Float},
		Devices: []gotch.Device{gotch.CPU},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	worst := 0.0
	for _, c := range report.Cases {
		worst = max(worst, c.MaxRel)
	}
	fmt.Println(len(report.Cases), "cases,", report.Failed, "failed")
	fmt.Println("within 1e-5:", worst <= 1e-5)
	// Output:
	// 70 cases, 0 failed
	// within 1e-5: true
}
