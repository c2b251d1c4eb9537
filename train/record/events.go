package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of tensorflow.Event (core/util/event.proto) and what it holds.
const (
	eventWallTime    = 1 // double, seconds
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5 // Summary
	eventSessionLog  = 7 // SessionLog

	summaryValue     = 1 // repeated Summary.Value
	valueSimple      = 2 // float
	valueTag         = 1 // string
	sessionStatus    = 1 // enum
	sessionStarted   = 1
	eventFileFormat  = "brain.Event:2"
	maskDelta        = 0xa282ead8
	eventFilePattern = "events.out.tfevents.%010d.%s.natten.v2"
)

// Events appends scalars to a TensorBoard event file: records of TFRecord's
// framing that hold tensorflow.Event messages.
type Events struct{ file *os.File }

// OpenEvents makes an event file of its own in a run's folder. A run that goes
// on from a step says so: TensorBoard then forgets what an earlier file has of
// later steps.
func OpenEvents(dir string, step int, now time.Time) (*Events, error) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	path := filepath.Join(dir, fmt.Sprintf(eventFilePattern, now.Unix(), host))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	e := &Events{f}
	first := protowire.AppendTag(stamped(now, 0), eventFileVersion, protowire.BytesType)
	err = e.write(protowire.AppendString(first, eventFileFormat))
	if err == nil && step > 0 {
		started := protowire.AppendVarint(protowire.AppendTag(nil, sessionStatus, protowire.VarintType), sessionStarted)
		log := protowire.AppendTag(stamped(now, step), eventSessionLog, protowire.BytesType)
		err = e.write(protowire.AppendBytes(log, started))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("record: %w", err)
	}
	return e, nil
}

// Scalar is a named number of an event.
type Scalar struct {
	Tag   string
	Value float64
}

// Add appends one event with scalars of a step. Values are kept as float32.
func (e *Events) Add(now time.Time, step int, scalars ...Scalar) error {
	var summary []byte
	for _, s := range scalars {
		value := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), s.Tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(s.Value)))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	event := protowire.AppendTag(stamped(now, step), eventSummary, protowire.BytesType)
	if err := e.write(protowire.AppendBytes(event, summary)); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// Close closes the file.
func (e *Events) Close() error { return e.file.Close() }

// stamped begins an event.
func stamped(now time.Time, step int) []byte {
	event := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	event = protowire.AppendFixed64(event, math.Float64bits(float64(now.UnixMicro())/1e6))
	if step != 0 {
		event = protowire.AppendTag(event, eventStep, protowire.VarintType)
		event = protowire.AppendVarint(event, uint64(step))
	}
	return event
}

// write frames a record: length, its checksum, data, its checksum; all in one
// write, so that a crash leaves at most a last record that is cut off.
func (e *Events) write(data []byte) error {
	record := binary.LittleEndian.AppendUint64(make([]byte, 0, len(data)+16), uint64(len(data)))
	record = binary.LittleEndian.AppendUint32(record, maskedCRC(record))
	record = append(record, data...)
	record = binary.LittleEndian.AppendUint32(record, maskedCRC(data))
	_, err := e.file.Write(record)
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TFRecord's checksum: CRC-32C, rotated and moved.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + maskDelta
}

// scalarsOf are the numbers of a row under their names in TensorBoard.
func scalarsOf(r Row) []Scalar {
	list := []Scalar{{r.Kind + "/loss", float64(r.Loss)}}
	for _, s := range []Scalar{
		{"top1", float64(r.Top1)}, {"top5", float64(r.Top5)}, {"lr", float64(r.LR)}, {"grad_norm", float64(r.GradNorm)},
		{"loss_scale", float64(r.LossScale)}, {"images_per_second", float64(r.ImagesPerSecond)},
		{"flops_per_second", float64(r.FLOPsPerSecond)}, {"mfu", float64(r.Utilisation)}, {"resident_bytes", float64(r.ResidentBytes)},
	} {
		if s.Value != 0 {
			list = append(list, Scalar{r.Kind + "/" + s.Tag, s.Value})
		}
	}
	return list
}
