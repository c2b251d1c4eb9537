#!/usr/bin/env python3
"""Write checkpoint/pickle/testdata/pickles.json: values pickled by CPython in every protocol, with their canonical text.

Needs only the standard library. The canonical text is what pickle_test.go prints for the decoded value.
"""

import argparse
import collections
import json
import math
import pathlib
import pickle
import struct
import sys


def canonical(v):
    """Text that says a value and its type, the same in Go and here."""
    if v is None or isinstance(v, bool):
        return str(v)
    if isinstance(v, int):
        return f"int {v}"
    if isinstance(v, float):
        return "float " + struct.pack(">d", v).hex()
    if isinstance(v, complex):
        return "complex " + struct.pack(">dd", v.real, v.imag).hex()
    if isinstance(v, str):
        return "str " + v.encode().hex()
    if isinstance(v, (bytes, bytearray)):
        return "bytes " + bytes(v).hex()
    if isinstance(v, tuple):
        return "tuple(" + ", ".join(map(canonical, v)) + ")"
    if isinstance(v, (list, set, frozenset)):
        items = list(map(canonical, v))
        return "list(" + ", ".join(items if isinstance(v, list) else sorted(items)) + ")"
    if isinstance(v, dict):
        return "dict(" + ", ".join(f"{canonical(k)}: {canonical(x)}" for k, x in v.items()) + ")"
    if isinstance(v, type) or callable(v):
        return f"global {v.__module__}.{v.__qualname__}"
    if isinstance(v, argparse.Namespace):
        return f"object argparse.Namespace state {canonical(vars(v))}"
    raise TypeError(type(v))


shared = ["shared"]
VALUES = {
    "none": None,
    "bools": [True, False],
    "ints": [0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63)],
    "big ints": [2**63, -(2**63) - 1, 2**200, -(2**200)],
    "floats": [0.0, -0.0, 1.5, -2.25, math.pi, math.inf, -math.inf, 1e-310, 1e308],
    "complex": 1.5 - 2j,
    "text": ["", "plain", "quote ' \" \\ end", "tab\tnew\nline\rback\\u0041", "ünïcödé", "漢字", "\U0001f600", "\x00\x7f"],
    "long text": "x" * 300,
    "bytes": [b"", b"plain", bytes(range(256)), b"y" * 300],
    "bytearray": bytearray(b"changeable"),
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((1,), 2))],
    "lists": [[], [1], [[], [[]]], list(range(30))],
    "dicts": {"a": 1, "b": {"c": [1, 2]}, 3: "three", (1, "x"): "tuple key", None: "none", 2.5: "float", b"k": "bytes"},
    "equal keys": {1: "last wins", True: "last wins"},
    "many entries": {str(i): None for i in range(1100)},
    "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "sets": [{1}, frozenset({"x"}), {1, 2, 3}],
    "shared": [shared, shared, {"again": shared}],
    "globals": [collections.OrderedDict, argparse.Namespace, len],
    "namespace": argparse.Namespace(lr=1e-3, model="nat_mini", scale=[0.08, 1.0]),
}


def main():
    out = []
    for name, value in VALUES.items():
        for protocol in range(6):
            out.append(
                {
                    "name": f"{name} protocol {protocol}",
                    "hex": pickle.dumps(value, protocol).hex(),
                    "canonical": canonical(value),
                }
            )
    # Python 2 text, as its pickle module writes it.
    out.append({"name": "python 2 str", "hex": b"U\x03abcq\x00.".hex(), "canonical": canonical("abc")})
    out.append({"name": "python 2 STRING", "hex": b"S'a\\n\\x41\\\\'\n.".hex(), "canonical": canonical("a\nA\\")})
    folder = pathlib.Path(__file__).resolve().parents[2] / "checkpoint" / "pickle" / "testdata"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pickles.json").write_text(json.dumps(out, indent=0) + "\n")
    print(f"{len(out)} pickles, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
