#!/usr/bin/env python3
"""Check with TensorBoard's own reader what `natten train` writes: events and CSV against the lines of JSON.

    ~/.cache/gonatten/peers/bin/python scripts/peers/check_events.py RUN [RUN...]

RUN is a run's folder. Every scalar of metrics.jsonl must be in the event files at its step, to float32's precision, and
in metrics.csv exactly.
"""
import csv
import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NAMES = ["loss", "top1", "top5", "lr", "grad_norm", "loss_scale", "images_per_second", "flops_per_second", "mfu", "resident_bytes"]


def float32(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def same(a, b):
    return a == b or math.isnan(a) and math.isnan(b)


def check(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    want = {}
    for row in rows:
        for name in NAMES:
            value = float(row.get(name, 0))
            if value != 0 or name == "loss":
                want.setdefault(f"{row['kind']}/{name}", []).append((row["step"], float32(value)))
    assert sorted(events.Tags()["scalars"]) == sorted(want), (events.Tags()["scalars"], sorted(want))
    count = 0
    for tag, values in want.items():
        got = [(e.step, e.value) for e in events.Scalars(tag)]
        assert len(got) == len(values), (tag, len(got), len(values))
        for (step, value), (want_step, want_value) in zip(got, values):
            assert step == want_step and same(value, want_value), (tag, step, value, want_step, want_value)
            count += 1
    with (run / "metrics.csv").open() as f:
        table = list(csv.DictReader(f))
    assert len(table) == len(rows), (len(table), len(rows))
    for line, row in zip(table, rows):
        for name, text in line.items():
            if text == "":
                assert name not in row, (name, row)
            elif name in ("kind", "time"):
                assert text == row[name], (name, text, row)
            elif name == "ema":
                assert text == str(row[name]).lower(), (name, text, row)
            else:
                assert same(float(text), float(row[name])), (name, text, row)
    print(f"{run}: {len(rows)} rows, {len(want)} tags, {count} scalars read back by TensorBoard")


if len(sys.argv) < 2:
    sys.exit(__doc__)
for folder in sys.argv[1:]:
    check(pathlib.Path(folder))
