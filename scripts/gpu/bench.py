"""Times of the CUDA operators, against the device's own limits and against other ways to the same result.

bench.py LIBNATTEN [--dtype float16] [--flex] [--flux] [--json FILE]

Milliseconds of the levels are medians over replays of a CUDA graph of several calls, on as many sets of tensors as
exceed the level 2 cache: no gaps between launches, nothing left over from the call before. What cannot be captured, and
the large shape, is timed by events around single calls; such rows say so. The memory bound is the time that reading and
writing each tensor once takes at the copy bandwidth measured in the same run.
"""

import argparse
import json
import math
import statistics

import torch
import torch.nn.functional as F

OPS = torch.ops.natten

# The four levels of NAT-Mini at 224 pixels, batch 128: heads, side.
LEVELS = [(2, 56), (4, 28), (8, 14), (16, 7)]


def milliseconds(call, repeats=20, warm=5):
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def replayed(call, sets, row, name, repeats=10):
    """Milliseconds of one call(*set) of a CUDA graph that runs it on every set, into row[name]."""
    calls = sets * max(1, 4 // len(sets))
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for arguments in calls[:3]:
                call(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for arguments in calls:
                call(*arguments)
        row[name] = milliseconds(graph.replay, repeats, 2) / len(calls)
    except RuntimeError as error:
        torch.cuda.synchronize()
        row[name] = milliseconds(lambda: call(*sets[0]), repeats, 2)
        row[name + "_not_captured"] = str(error).splitlines()[0][:120]


def copy_bandwidth():
    """Bytes per second, read plus written, of a copy of 2 GB."""
    x = torch.empty(1 << 30, dtype=torch.float16, device="cuda")
    y = torch.empty_like(x)
    return 4 * x.numel() / milliseconds(lambda: y.copy_(x)) * 1e3


def window_starts(length, kernel, device):
    return (torch.arange(length, device=device) - kernel // 2).clamp(0, length - kernel)


def flex(side, kernel, rpb):
    """FlexAttention compiled, with the same mask and bias, heads first."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    start = window_starts(side, kernel, "cuda")

    def seen(b, h, i, j):
        y, x, ky, kx = i // side, i % side, j // side, j % side
        return (ky >= start[y]) & (ky < start[y] + kernel) & (kx >= start[x]) & (kx < start[x] + kernel)

    def biased(score, b, h, i, j):
        dy = (j // side - i // side + kernel - 1).clamp(0, 2 * kernel - 2)
        dx = (j % side - i % side + kernel - 1).clamp(0, 2 * kernel - 2)
        return score + rpb[h, dy, dx]

    mask = create_block_mask(seen, None, None, side * side, side * side, device="cuda")
    compiled = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: compiled(q, k, v, score_mod=biased if rpb is not None else None, block_mask=mask)


def both(forward, leaves):
    """Forward and backward of forward(*tensors), the last of which is the gradient of its result."""
    def call(*tensors):
        return torch.autograd.grad(forward(*tensors[:-1]), leaves(*tensors[:-1]), tensors[-1])
    return call


def level(batch, heads, side, kernel, dtype, options, bandwidth):
    dim = 32
    size = batch * side * side * heads * dim * dtype.itemsize
    sets = []
    for _ in range(max(1, math.ceil(2e8 / (4 * size)))):
        qkv = torch.randn(batch, side, side, 3, heads, dim, device="cuda", dtype=dtype)
        q, k, v = [t.detach().requires_grad_() for t in qkv.unbind(3)]
        sets.append((q, k, v, torch.randn(batch, side, side, heads, dim, device="cuda", dtype=dtype)))
    rpb = torch.randn(heads, 2 * kernel - 1, 2 * kernel - 1, device="cuda", dtype=torch.promote_types(dtype, torch.float32)).requires_grad_()
    geometry = ([kernel, kernel], [1, 1], [False, False])
    row = {"batch": batch, "heads": heads, "side": side, "dim": dim, "kernel": kernel, "dtype": str(dtype)[6:]}
    row["bound_forward_ms"] = 4 * size / bandwidth * 1e3
    row["bound_both_ms"] = (4 + 8) * size / bandwidth * 1e3

    def fused(q, k, v):
        return OPS.na(q, k, v, rpb, *geometry)

    def plain(q, k, v):
        return OPS.na(q, k, v, None, *geometry)

    def unfused(q, k, v):
        logits = OPS.na_qk(q, k, rpb, *geometry, dim**-0.5)
        return OPS.na_av(torch.softmax(logits, -1), v, *geometry)

    def without_gradient(forward):
        def call(q, k, v, _):
            with torch.no_grad():
                return forward(q, k, v)
        return call

    def time(name, forward, sets, leaves):
        replayed(without_gradient(forward), sets, row, name + "forward_ms")
        replayed(both(forward, leaves), sets, row, name + "both_ms")

    time("", fused, sets, lambda q, k, v: (q, k, v, rpb))
    time("without_rpb_", plain, sets, lambda q, k, v: (q, k, v))
    if not options.quick:
        time("unfused_", unfused, sets[:1], lambda q, k, v: (q, k, v, rpb))
    first = [tuple(t.detach().flatten(1, 2).transpose(1, 2).contiguous().requires_grad_() for t in s) for s in sets]
    if not options.quick and batch * heads * side**4 < 1 << 33:
        time("dense_", F.scaled_dot_product_attention, first, lambda q, k, v: (q, k, v))
    if options.flex:
        attention = flex(side, kernel, rpb)
        with torch.no_grad():
            got = attention(*first[0][:3]).transpose(1, 2).reshape(sets[0][3].shape)
            row["flex_max_abs_difference"] = (got - fused(*sets[0][:3])).abs().max().item()
        try:
            time("flex_", attention, first, lambda q, k, v: (q, k, v, rpb))
        except Exception as error:  # its own limits are worth a line, not the run
            row["flex_error"] = str(error).splitlines()[0][:200]
            without = flex(side, kernel, rpb.detach())
            time("flex_without_rpb_gradient_", without, first, lambda q, k, v: (q, k, v))
    return row


def large(side, heads, dim, kernel, dtype, bandwidth):
    shape = (1, side, side, heads, dim)
    q, k, v = [torch.randn(shape, device="cuda", dtype=dtype) for _ in range(3)]
    geometry = ([kernel, kernel], [1, 1], [False, False])
    row = {"batch": 1, "heads": heads, "side": side, "dim": dim, "kernel": kernel, "dtype": str(dtype)[6:]}
    row["bound_forward_ms"] = 4 * q.numel() * dtype.itemsize / bandwidth * 1e3
    with torch.no_grad():
        row["forward_ms"] = milliseconds(lambda: OPS.na(q, k, v, None, *geometry), 5, 2)
        first = [t.flatten(1, 2).transpose(1, 2) for t in (q, k, v)]
        row["dense_forward_ms"] = milliseconds(lambda: F.scaled_dot_product_attention(*first), 3, 1)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--flex", action="store_true")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--flux", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.ops.load_library(options.library)
    bandwidth = copy_bandwidth()
    rows = []
    print(f"{torch.cuda.get_device_name()}: copies move {bandwidth / 1e12:.2f} TB/s", flush=True)
    for heads, side in LEVELS:
        rows.append(level(options.batch, heads, side, 7, getattr(torch, options.dtype), options, bandwidth))
        print(json.dumps(rows[-1]), flush=True)
    if options.flux:
        shape = (256, 24, 128, 80, torch.bfloat16) if options.dtype == "float16" else (96, 8, 64, 21, getattr(torch, options.dtype))
        rows.append(large(*shape, bandwidth))
        print(json.dumps(rows[-1]), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump({"device": torch.cuda.get_device_name(), "copy_bytes_per_s": bandwidth, "rows": rows}, stream, indent=1)


if __name__ == "__main__":
    main()
