package record

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Files of a Book in a run's folder; the third is an event file.
const (
	JSONFile = "metrics.jsonl"
	CSVFile  = "metrics.csv"
)

// Book keeps a run's rows in three forms: lines of JSON, which are the record
// proper and what is read back, a table in CSV for spreadsheets, and event
// files for TensorBoard.
type Book struct {
	log    *Log
	table  *csvFile
	events *Events
}

// OpenBook opens the records of a run's folder. Rows of an earlier part of the
// run stay: the CSV is made anew from the lines of JSON, and a new event file
// takes over after the last step of training there.
func OpenBook(dir string) (*Book, error) {
	rows, err := ReadLog(filepath.Join(dir, JSONFile))
	if err != nil {
		return nil, err
	}
	step := 0
	for _, r := range rows {
		step = max(step, r.Step+1)
	}
	b := &Book{}
	if b.log, err = OpenLog(filepath.Join(dir, JSONFile)); err != nil {
		return nil, err
	}
	if b.table, err = openCSV(filepath.Join(dir, CSVFile), rows); err != nil {
		b.Close()
		return nil, fmt.Errorf("record: %w", err)
	}
	if b.events, err = OpenEvents(dir, step, time.Now()); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Add appends a row in every form.
func (b *Book) Add(r Row) error {
	if err := b.log.Add(r); err != nil {
		return err
	}
	if err := b.table.add(r); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	now, err := time.Parse(time.RFC3339, r.Time)
	if err != nil {
		now = time.Now()
	}
	return b.events.Add(now, r.Step, scalarsOf(r)...)
}

// Size is the length of the lines of JSON in bytes, see Log.Size: what a run that
// goes on cuts them back to before it opens the Book again.
func (b *Book) Size() (int64, error) { return b.log.Size() }

// Close closes the files.
func (b *Book) Close() error {
	var errs []error
	if b.log != nil {
		errs = append(errs, b.log.Close())
	}
	if b.table != nil && b.table.file != nil {
		errs = append(errs, b.table.file.Close())
	}
	if b.events != nil {
		errs = append(errs, b.events.Close())
	}
	return errors.Join(errs...)
}
