"""Writes events.golden: three events by TensorBoard's own messages and record writer (tensorboard 2.21.0).

    python make_events.py > events.golden
"""
import io
import sys

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

out = io.BytesIO()
writer = RecordWriter(out)
value = summary_pb2.Summary.Value
for event in [
    event_pb2.Event(wall_time=1700000000.25, file_version="brain.Event:2"),
    event_pb2.Event(wall_time=1700000000.25, step=300,
                    session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
    event_pb2.Event(wall_time=1700000001.5, step=301, summary=summary_pb2.Summary(
        value=[value(tag="train/loss", simple_value=2.302585), value(tag="train/lr", simple_value=1e-3)])),
]:
    writer.write(event.SerializeToString())
sys.stdout.buffer.write(out.getvalue())
