"""What programs do around the operators on CUDA: capture.py LIBNATTEN. Graph capture, autocast, other streams.

Forward and backward are captured into a CUDA graph and replayed on new inputs; under autocast float32 inputs give the
result in half precision; a call on a stream of its own gives what one on the default stream gives. Exit status 1 when
anything differs.
"""

import sys

import torch

OPS = torch.ops.natten
failures = 0


def expect(what, holds):
    global failures
    failures += not holds
    print(("ok      " if holds else "FAILED  ") + what, flush=True)


def tensors(side, heads, dim, kernel, dtype):
    x = [torch.randn(2, side, side, heads, dim, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3)]
    rpb = torch.randn(heads, 2 * kernel - 1, 2 * kernel - 1, device="cuda", dtype=dtype, requires_grad=True)
    return x, rpb, torch.randn(2, side, side, heads, dim, device="cuda", dtype=dtype)


def step(x, rpb, dout, kernel):
    out = OPS.na(*x, rpb, [kernel, kernel], [1, 1], [False, False])
    return [out, *torch.autograd.grad(out, [*x, *([rpb] if rpb is not None else [])], dout)]


def captured(side, heads, dim, kernel, dtype, bias=True):
    x, rpb, dout = tensors(side, heads, dim, kernel, dtype)
    rpb = rpb if bias else None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(x, rpb, dout, kernel)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(x, rpb, dout, kernel)
    with torch.no_grad():
        for t in [*x, dout]:
            t.copy_(torch.randn_like(t))
    graph.replay()
    torch.cuda.synchronize()
    want = step(x, rpb, dout, kernel)
    return all(torch.equal(a, b) for a, b in zip(results, want))


def main():
    torch.ops.load_library(sys.argv[1])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        expect(f"graph of forward and backward, 7x7, {dtype}", captured(14, 2, 32, 7, dtype))
    expect("graph of forward and backward, 24x24, head dim 128", captured(40, 2, 128, 24, torch.bfloat16, bias=False))

    x, rpb, dout = tensors(14, 2, 32, 7, torch.float32)
    plain = OPS.na(*x, rpb, [7, 7], [1, 1], [False, False])
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cuda", dtype):
            out = OPS.na(*x, rpb, [7, 7], [1, 1], [False, False])
        gradients = torch.autograd.grad(out, [*x, rpb], dout.to(dtype))
        expect(f"autocast to {dtype} gives that dtype", out.dtype == dtype)
        expect(f"autocast to {dtype} is near float32", torch.allclose(out.float(), plain, atol=0.1, rtol=0.1))
        expect(f"gradients under autocast to {dtype} are float32", all(g.dtype == torch.float32 for g in gradients))

    stream = torch.cuda.Stream()
    x, rpb, dout = tensors(28, 4, 32, 7, torch.float16)
    want = step(x, rpb, dout, 7)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = step(x, rpb, dout, 7)
    stream.synchronize()
    expect("a stream of its own", all(torch.equal(a, b) for a, b in zip(got, want)))

    sides = OPS._cuda_capability(0)
    expect(f"capability is {sides}", sides == 10 * torch.cuda.get_device_capability()[0] + torch.cuda.get_device_capability()[1])
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
