package report_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/train"
	"github.com/gonatten/gonatten/train/config"
	"github.com/gonatten/gonatten/train/report"
)

func ExampleWrite() {
	run, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(run)
	err = os.WriteFile(filepath.Join(run, train.ConfigFile), config.Default().YAML(), 0o644) // train.Run leaves one
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := report.Write(context.Background(), run, report.Options{NoData: true})
	fmt.Println(filepath.Base(page), err)
	// Output: report.html <nil>
}
