"""Neighborhood attention on the CPU: this project's operator against its peers in Python.

Reads shapes as `natten bench --list` prints them, loads libnatten.so into Python and
times, in turn and in one process: natten::na, NATTEN 0.17.5's CPU operators, FlexAttention
(compiled, with the same bias and mask), dense scaled_dot_product_attention and a matrix
product. Outputs are compared with NATTEN's before anything is timed. The column bf16 says
how many times as fast as in float32 natten::na is in bfloat16.

In each round every contender runs once, then for --block milliseconds. The mean of the
block is the round's figure, as in torch.utils.benchmark; the first call, which comes after
all the others swept the caches, is kept apart ("cold"). With --cold there are no blocks
and the first call is the figure. Figures are medians over rounds, and a ratio is the median
of the rounds' ratios: a machine that others slow down from time to time does so to both.
"""
import argparse
import json
import statistics
import sys
import time

import torch


def heads_first(t):
    """[B, *spatial, H, D] -> contiguous [B, H, *spatial, D]"""
    return t.movedim(-2, 1).contiguous()


def peer_natten(shape, q, k, v, rpb):
    """NATTEN's unfused CPU operators, the only ones it has with a bias. q is scaled outside."""
    from natten_cpu import functional as nf

    rank = len(shape["spatial"])
    qk, av = getattr(nf, f"na{rank}d_qk"), getattr(nf, f"na{rank}d_av")
    kernel, dilation = tuple(shape["kernel_size"]), tuple(shape["dilation"])
    scale = shape["dim"] ** -0.5

    def run():
        logits = qk(q * scale, k, kernel_size=kernel, dilation=dilation, rpb=rpb)
        return av(logits.softmax(-1), v, kernel_size=kernel, dilation=dilation)

    return run


def peer_flex(shape, q, k, v, rpb):
    """FlexAttention with the neighborhood as block mask and the bias as score modification."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    spatial, kernel, dilation = shape["spatial"], shape["kernel_size"], shape["dilation"]

    def coordinates(index):
        parts = []
        for size in reversed(spatial):
            parts.append(index % size)
            index = index // size
        return parts[::-1]

    def mask(b, h, query, key):
        inside = None
        for qi, ki, n, size, d in zip(coordinates(query), coordinates(key), kernel, spatial, dilation):
            residue = qi % d
            group = (size - 1 - residue) // d + 1
            start = torch.clamp(qi // d - n // 2, min=0)
            start = torch.minimum(start, group - n)
            place = ki // d
            axis = (ki % d == residue) & (place >= start) & (place < start + n)
            inside = axis if inside is None else inside & axis
        return inside

    def bias(score, b, h, query, key):
        index = [h]
        for qi, ki, n, d in zip(coordinates(query), coordinates(key), kernel, dilation):
            index.append(torch.clamp((ki - qi + n * d) // d - n + n - 1, 0, 2 * n - 2))
        return score + rpb[tuple(index)]

    tokens = 1
    for size in spatial:
        tokens *= size
    flat = [t.flatten(2, -2) for t in (q, k, v)]
    block = create_block_mask(mask, 1, 1, tokens, tokens, device="cpu")
    compiled = torch.compile(flex_attention)

    def run():
        return compiled(*flat, score_mod=bias if rpb is not None else None, block_mask=block)

    return run


def contenders(shape, train, peers):
    size = [shape["batch"], *shape["spatial"], shape["heads"], shape["dim"]]
    q, k, v = (torch.randn(size) for _ in range(3))
    rpb = torch.randn(shape["heads"], *(2 * n - 1 for n in shape["kernel_size"])) * 0.5 if shape["rpb"] else None
    first = [heads_first(t) for t in (q, k, v)]
    own = [t.clone() for t in (q, k, v)]
    rank = len(shape["spatial"])
    if train:
        for t in first + own:
            t.requires_grad_()
    own_rpb = rpb.clone().requires_grad_(train) if rpb is not None else None
    peer_rpb = rpb.clone().requires_grad_(train) if rpb is not None else None
    causal = [False] * rank

    def na():
        return torch.ops.natten.na(*own, own_rpb, shape["kernel_size"], shape["dilation"], causal)

    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    runs = {"gonatten": (na, own + [own_rpb]), "sgemm": (lambda: a @ b, [])}
    low = [t.detach().bfloat16().requires_grad_(train) for t in own]
    low_rpb = rpb.clone().requires_grad_(train) if rpb is not None else None
    runs["bfloat16"] = (lambda: torch.ops.natten.na(*low, low_rpb, shape["kernel_size"], shape["dilation"], causal),
                        low + [low_rpb])
    runs["natten 0.17.5"] = (peer_natten(shape, *first, peer_rpb), first + [peer_rpb])
    dense_tokens = 1
    for n in shape["spatial"]:
        dense_tokens *= n
    dense_work = 4 * shape["batch"] * shape["heads"] * shape["dim"] * dense_tokens**2
    if "dense" in peers and dense_work <= 5e10:  # more is not worth waiting for
        flat = [t.detach().flatten(2, -2).requires_grad_(train) for t in first]
        runs["dense"] = (lambda: torch.nn.functional.scaled_dot_product_attention(*flat), flat)
    if "flex" in peers and not train:  # its CPU kernel has no backward
        plain = [t.detach() for t in first]
        runs["flex"] = (peer_flex(shape, *plain, peer_rpb.detach() if peer_rpb is not None else None), [])
    return runs


def call(run, leaves, train):
    """One pass with fresh results; gradients of the one before are dropped."""
    if train and leaves:
        for t in leaves:
            if t is not None:
                t.grad = None
        out = run()
        out.backward(out)
    else:
        with torch.no_grad():
            run()


def timed(run, leaves, train, block):
    """Seconds of a first call, and of a call in the block that follows (None: no block)."""
    start = time.perf_counter()
    call(run, leaves, train)
    first = time.perf_counter() - start
    if not block:
        return first, None
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < block:
        call(run, leaves, train)
        calls += 1
    return first, (time.perf_counter() - start) / calls


def ratio(these, those):
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(these, those))


def compare(runs, shape):
    """Largest difference of the forward outputs to NATTEN's, relative to its largest value."""
    with torch.no_grad():
        want = runs["natten 0.17.5"][0]().double()
        got = runs["gonatten"][0]().movedim(-2, 1).double()
        worst = {"gonatten": ((got - want).abs().max() / want.abs().max()).item()}
        if "flex" in runs:
            flex = runs["flex"][0]().double().view_as(want)
            worst["flex"] = ((flex - want).abs().max() / want.abs().max()).item()
    for name, value in worst.items():
        if not value <= 1e-5:
            sys.exit(f"{name} differs from NATTEN by {value:.2e} of its largest value at {shape}")
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libnatten.so")
    parser.add_argument("--shapes", required=True, help="JSON file as printed by natten bench --list")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block", type=float, default=20, metavar="MS", help="length of a contender's block")
    parser.add_argument("--cold", action="store_true", help="single calls, each after all the others")
    parser.add_argument("--peers", nargs="*", default=["dense", "flex"], choices=["dense", "flex"],
                        help="besides NATTEN, which always runs; FlexAttention compiles for a minute per shape")
    parser.add_argument("--match", default="", help="only shapes whose name contains this")
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    if args.rounds < 1 or args.block <= 0:
        parser.error("--rounds and --block: want more than 0 (--cold: no blocks)")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    torch.ops.load_library(args.library)
    with open(args.shapes) as f:
        shapes = [shape for shape in json.load(f) if args.match in shape["name"]]
    if not shapes:
        sys.exit(f"no shape's name contains {args.match!r}")

    peers = ("natten 0.17.5", "dense", "flex")
    block = 0 if args.cold else args.block / 1e3
    rows = []
    print(f"float32, {args.threads} threads, " +
          ("single calls" if args.cold else f"blocks of {args.block:g} ms") + f", medians of {args.rounds} rounds")
    header = f"{'shape':44} {'pass':17} {'gonatten ms':>12} {'min-max':>15} {'cold ms':>8} {'GFLOP/s':>8} {'of sgemm':>8}"
    print(header, " natten 0.17.5    dense     flex   bf16   max diff")
    for shape in shapes:
        name = "{name} {spatial} K{kernel_size} d{dilation}".format(**shape)[:44]
        for train in (False, True):
            runs = contenders(shape, train, args.peers)
            worst = compare(runs, shape)
            cold, warm = ({key: [] for key in runs} for _ in range(2))
            for round_ in range(args.rounds + 1):
                for key, (run, leaves) in runs.items():
                    first, mean = timed(run, leaves, train, block if round_ > 0 else 0)
                    if round_ > 0:
                        cold[key].append(first)
                        warm[key].append(first if mean is None else mean)
            median = {key: statistics.median(values) for key, values in warm.items()}
            first = {key: statistics.median(values) for key, values in cold.items()}
            work = 4 * shape["batch"] * shape["heads"] * shape["dim"]
            for n in shape["spatial"] + shape["kernel_size"]:
                work *= n
            work *= 3.5 if train else 1
            rate = work / median["gonatten"] / 1e9
            share = work / 2 / 1024**3 * ratio(warm["sgemm"], warm["gonatten"])
            times = {key: ratio(warm[key], warm["gonatten"]) for key in peers if key in warm}
            cold_times = {key: ratio(cold[key], cold["gonatten"]) for key in peers if key in cold}
            cells = " ".join(f"{times[key]:8.1f}x" if key in times else "        -" for key in peers)
            low = f"{ratio(warm['gonatten'], warm['bfloat16']):5.2f}x"
            what = "forward+backward" if train else "forward"
            spread = f"{1e3 * min(warm['gonatten']):.3f}-{1e3 * max(warm['gonatten']):.3f}"
            print(f"{name:44} {what:17} {1e3 * median['gonatten']:12.3f} {spread:>15} {1e3 * first['gonatten']:8.3f} "
                  f"{rate:8.1f} {100 * share:7.0f}%      {cells} {low}   {max(worst.values()):.1e}", flush=True)
            rows.append({"shape": shape, "pass": what, "median_seconds": median, "cold_median_seconds": first,
                         "seconds": warm, "useful_gflops": rate, "share_of_sgemm": share, "speedup": times,
                         "cold_speedup": cold_times, "difference": worst})
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"dtype": "float32", "threads": args.threads, "block_ms": 1e3 * block, "rounds": args.rounds,
                       "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
