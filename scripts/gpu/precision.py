"""Errors of float32 and float64 attention on CUDA against float64 on the CPU, next to those of dense attention.

precision.py LIBNATTEN

For each shape the largest error of out, dq, dk, dv and drpb, relative to the largest value: of the fused operator by
kernel class, of the unfused pair, and of PyTorch's own dense attention with the same mask and bias. With TF32 allowed
("tf32") and without. Exit status 1 where the tile kernels' error in float32 exceeds twice that of dense attention.
"""

import os
import sys

import torch
import torch.nn.functional as F

OPS = torch.ops.natten


def bias_and_mask(rpb, side, kernel):
    """The bias of every pair of tokens, -inf where a query does not see the key."""
    at = torch.arange(side, device=rpb.device)
    start = (at - kernel // 2).clamp(0, side - kernel)
    seen = (at[None] >= start[:, None]) & (at[None] < start[:, None] + kernel)
    apart = (at[None] - at[:, None] + kernel - 1).clamp(0, 2 * kernel - 2)
    pairs = rpb[:, apart[:, None, :, None], apart[None, :, None, :]]
    both = seen[:, None, :, None] & seen[None, :, None, :]
    return pairs.masked_fill(~both, -torch.inf).flatten(3, 4).flatten(1, 2)


def dense(q, k, v, rpb, side, kernel):
    first = [t.flatten(1, 2).transpose(1, 2) for t in (q, k, v)]
    out = F.scaled_dot_product_attention(*first, attn_mask=bias_and_mask(rpb, side, kernel))
    return out.transpose(1, 2).reshape(v.shape)


def fused(q, k, v, rpb, side, kernel):
    return OPS.na(q, k, v, rpb, [kernel] * 2, [1] * 2, [False] * 2)


def unfused(q, k, v, rpb, side, kernel):
    geometry = ([kernel] * 2, [1] * 2, [False] * 2)
    return OPS.na_av(torch.softmax(OPS.na_qk(q, k, rpb, *geometry, q.shape[-1] ** -0.5), -1), v, *geometry)


def results(attention, tensors, device, dtype, side, kernel):
    *leaves, dout = [t.to(device, dtype) for t in tensors]
    leaves = [t.detach().requires_grad_() for t in leaves]
    out = attention(*leaves, side, kernel)
    grads = torch.autograd.grad(out, leaves, dout)
    return [t.detach().cpu().double() for t in (out, *grads)]


def main():
    torch.ops.load_library(sys.argv[1])
    worse = 0
    for batch, heads, side, kernel, dim in [(1, 2, 28, 7, 32), (1, 2, 40, 31, 64), (1, 1, 48, 31, 128)]:
        generator = torch.Generator().manual_seed(side)
        shape = (batch, side, side, heads, dim)
        tensors = [torch.randn(shape, generator=generator, dtype=torch.float32) for _ in range(3)]
        tensors[2] += 1  # sums that grow show what is cut off on the way
        tensors.append(torch.randn(heads, 2 * kernel - 1, 2 * kernel - 1, generator=generator))
        tensors.append(torch.randn(shape, generator=generator))
        want = results(dense, tensors, "cpu", torch.float64, side, kernel)
        errors = {}
        for name, attention, dtype, backend, tf32 in [
            ("dense float32", dense, torch.float32, "", False), ("tile float32", fused, torch.float32, "tile", False),
            ("naive float32", fused, torch.float32, "naive", False), ("unfused float32", unfused, torch.float32, "tile", False),
            ("dense tf32", dense, torch.float32, "", True), ("tile tf32", fused, torch.float32, "tile", True),
            ("dense float64", dense, torch.float64, "", False), ("tile float64", fused, torch.float64, "tile", False),
        ]:
            if dtype == torch.float64 and dim > 64:
                continue
            torch.backends.cuda.matmul.allow_tf32 = tf32
            os.environ["NATTEN_BACKEND"] = backend
            got = results(attention, tensors, "cuda", dtype, side, kernel)
            errors[name] = [((g - w).abs().max() / w.abs().max()).item() for g, w in zip(got, want)]
        torch.backends.cuda.matmul.allow_tf32 = False
        print(f"B{batch} H{heads} {side}x{side} D{dim} K{kernel}x{kernel}: out, dq, dk, dv, drpb")
        for name, row in errors.items():
            print(f"  {name:16s} " + " ".join(f"{e:.1e}" for e in row))
        worse += sum(a > 2 * b for a, b in zip(errors["tile float32"], errors["dense float32"]))
    print(f"{worse} figures of the tile kernels exceed twice those of dense attention")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
