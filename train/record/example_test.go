package record_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonatten/gonatten/train/record"
)

func ExampleOpenBook() {
	run, err := os.MkdirTemp("", "run")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(run)
	book, err := record.OpenBook(run)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = book.Add(record.Row{Kind: "train", Step: 50, Loss: 2.25, LR: 0.001, Images: 6400})
	fmt.Println(err, book.Close())
	line, err := os.ReadFile(filepath.Join(run, record.JSONFile))
	fmt.Print(string(line))
	fmt.Println(err)
	// Output:
	// <nil> <nil>
	// {"kind":"train","time":"","epoch":0,"step":50,"loss":2.25,"lr":0.001,"images":6400}
	// <nil>
}
