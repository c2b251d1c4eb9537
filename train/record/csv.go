package record

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/gonatten/gonatten/internal/atomicfile"
)

// csvColumns are the names of Row's fields as in JSON, in order.
var csvColumns = func() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Row]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}()

// csvRecord is a row's fields in writing; what JSON leaves out is empty.
func csvRecord(r Row) []string {
	v, t := reflect.ValueOf(r), reflect.TypeFor[Row]()
	record := make([]string, t.NumField())
	for i := range record {
		if strings.Contains(t.Field(i).Tag.Get("json"), ",omit") && v.Field(i).IsZero() {
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Float64:
			record[i] = strconv.FormatFloat(f.Float(), 'g', -1, 64)
		default:
			record[i] = fmt.Sprint(f.Interface())
		}
	}
	return record
}

// csvFile appends rows to a table, each as one line that is written at once.
type csvFile struct{ file *os.File }

// openCSV makes the table anew from the rows there are, whole or not at all, and
// opens it for more.
func openCSV(path string, rows []Row) (*csvFile, error) {
	err := atomicfile.Write(path, func(w io.Writer) error {
		table := csv.NewWriter(w)
		if err := table.Write(csvColumns); err != nil {
			return err
		}
		for _, r := range rows {
			if err := table.Write(csvRecord(r)); err != nil {
				return err
			}
		}
		table.Flush()
		return table.Error()
	})
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	return &csvFile{f}, err
}

func (c *csvFile) add(r Row) error {
	var line bytes.Buffer
	table := csv.NewWriter(&line)
	if err := table.Write(csvRecord(r)); err != nil {
		return err
	}
	table.Flush()
	_, err := c.file.Write(line.Bytes())
	return err
}
