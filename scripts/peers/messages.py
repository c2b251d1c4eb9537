"""What Python sees of the operators' checks: the messages in functional/testdata/messages.json, word for word. The Go
tests compare the same file with what the C interface and package functional say.

    python scripts/peers/messages.py LIBRARY [--write]

--write replaces the messages in the file by those seen, for review.
"""
import json
import pathlib
import re
import sys

import torch

FILE = pathlib.Path(__file__).resolve().parents[2] / "functional/testdata/messages.json"


def argument(value):
    """A tensor from "float32[2,3]@meta", a list of tensors, a number that JSON has none for, or the value itself."""
    if isinstance(value, dict):
        return [argument(v) for v in value["tensors"]]
    if value in ("nan", "inf"):
        return float(value)
    if isinstance(value, str):
        dtype, sizes, device = re.fullmatch(r"(\w+)\[([\d,]*)\](?:@(\w+))?", value).groups()
        return torch.zeros([int(n) for n in sizes.split(",") if n], dtype=getattr(torch, dtype), device=device or "cpu")
    return value


def main():
    torch.ops.load_library(sys.argv[1])
    cases = json.loads(FILE.read_text())
    wrong = 0
    for case in cases:
        namespace, name = case["op"].split("::")
        op = getattr(getattr(torch.ops, namespace), name).default
        try:
            op(*map(argument, case["arguments"]))
            seen = "(accepted)"
        except Exception as e:  # Python's own class is not what is compared
            seen = str(e)
        if seen != case["message"]:
            wrong += 1
            print(f"{case['op']}\n  said {seen}\n  want {case['message']}")
        case["message"] = seen
    if "--write" in sys.argv:
        FILE.write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")
    elif wrong:
        sys.exit(f"{wrong} of {len(cases)} messages differ")
    print(f"{len(cases)} messages as in {FILE.name}")


if __name__ == "__main__":
    main()
