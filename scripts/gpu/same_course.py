"""Did runs take the same course? same_course.py [--limit X] RUN RUN ...

Compares losses, norms of gradients and weights of `natten train` folders with the first one's, relative to them, and
fails where losses or norms are further apart than the limit.
"""

import argparse
import json
import os
import struct
import sys

import numpy as np


def records(run):
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["kind"] == "train"]


def weights(run):
    """The float32 tensors of the last weights (the safetensors format: length, header, data)."""
    with open(os.path.join(run, "last.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).astype(np.float64)
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=1e-5)
    parser.add_argument("runs", nargs="+")
    args = parser.parse_args()
    first, values = records(args.runs[0]), weights(args.runs[0])
    worst = 0.0
    for run in args.runs[1:]:
        other, theirs = records(run), weights(run)
        if len(first) != len(other) or not first:
            sys.exit(f"{run} has {len(other)} records, {args.runs[0]} {len(first)}")
        loss = max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in zip(first, other))
        norm = max(abs(a["grad_norm"] - b["grad_norm"]) / a["grad_norm"] for a, b in zip(first, other))
        away = max(np.abs(values[k] - theirs[k]).max() / np.abs(values[k]).max() for k in values)
        with open(os.path.join(run, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
        print(
            f"{os.path.basename(run)}: {summary['processes']} processes, {len(first)} steps, {summary['gradient_reductions']} "
            f"buckets of gradients; relative differences: losses {loss:.1e}, norms of gradients {norm:.1e}, weights {away:.1e}"
        )
        worst = max(worst, loss, norm)
    if not worst <= args.limit:
        sys.exit(f"further apart than {args.limit:g}")


if __name__ == "__main__":
    main()
