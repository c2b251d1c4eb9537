"""PyTorch's own numerical checks of the operators' derivatives, in float64: gradcheck with undefined gradients and
forward mode, gradgradcheck with forward over reverse, for each feature; saved tensors changed in place; gradients for
any subset of the inputs; the same bits run after run.

    python scripts/peers/derivatives.py LIBRARY

Exits non-zero at the first failure.
"""
import itertools
import sys

import torch
from torch.autograd import gradcheck, gradgradcheck

natten = torch.ops.natten


def leaf(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def features():
    """(name, function, inputs), small: the checks move every entry of every input."""
    window = ([3, 2], [1, 2], [False, False])
    q, k, v = leaf(1, 3, 4, 2, 2), leaf(1, 3, 4, 1, 2), leaf(1, 3, 4, 1, 1)
    rpb = leaf(2, 5, 3)
    yield "1D", lambda q, k, v: natten.na(q, k, v, None, [3], [1], [False]), (leaf(2, 4, 1, 2), leaf(2, 4, 1, 2), leaf(2, 4, 1, 2))
    yield "2D, bias, dilation, grouped heads, another value dim", lambda *t: natten.na(*t, *window), (q, k, v, rpb)
    yield "3D", lambda q, k, v: natten.na(q, k, v, None, [2, 1, 2], [1, 1, 1], [False] * 3), tuple(leaf(1, 2, 2, 3, 1, 1) for _ in range(3))
    yield "causal", lambda q, k, v: natten.na(q, k, v, None, [2, 2], [1, 1], [True, False]), (q, k, v)
    yield "stride", lambda q, k, v: natten.na(q, k, v, None, [3, 4], [1, 1], [False, False], None, [2, 3]), (q, k, v)
    yield "scale", lambda q, k, v: natten.na(q, k, v, None, *window, -0.7), (q, k, v)
    yield "window as large as the axis", lambda q, k, v: natten.na(q, k, v, None, [3, 4], [1, 1], [False, False]), (q, k, v)
    yield "axes of length 1", lambda q, k, v: natten.na(q, k, v, None, [1, 1], [1, 1], [False, False]), tuple(leaf(2, 1, 1, 2, 2) for _ in range(3))
    yield "log-sum-exp", lambda *t: natten.na_lse(*t, *window), (q, k, v, rpb)
    yield "logits", lambda *t: natten.na_qk(*t, *window, 0.5), (q, k, rpb)
    yield "weighted values", lambda a, v: natten.na_av(a, v, *window), (leaf(1, 3, 4, 2, 6), v)
    extra_k, extra_v = leaf(1, 2, 1, 2), leaf(1, 2, 1, 1)
    yield "additional keys", lambda q, k, v, rpb, ek, ev: natten.na(q, k, v, rpb, *window, None, [], ek, ev), (q, k, v, rpb, extra_k, extra_v)
    yield "merging", lambda a, b, x, y: natten.merge_attentions([a, b], [x, y]), (leaf(2, 3, 2), leaf(2, 3, 2), leaf(2, 3), leaf(2, 3))
    yield "packed", lambda *t: natten.na_varlen(*t, [3, 2, 2, 3], [2, 2], [1, 1], [False, False]), (leaf(12, 2, 2), leaf(12, 2, 2), leaf(12, 2, 2), leaf(2, 3, 3))
    yield "dropout", lambda q, k, v: natten.na(q, k, v, None, *window, None, [], None, None, 0.4, 11), (q, k, v)


def nested(q1, q2, rpb):
    """A nested batch of two samples; what comes out is plain again for gradcheck."""
    q = torch.nested.as_nested_tensor([q1, q2])
    return tuple(natten.na(q, q, q, rpb, [2], [1], [False]).unbind())


def check_every_mode():
    for name, f, inputs in features():
        # Dropout's composite uses softmax, whose tangent libtorch gives but cannot differentiate again in reverse.
        gradcheck(f, inputs, check_forward_ad=True, check_undefined_grad=True)
        gradgradcheck(f, inputs, check_fwd_over_rev=True)
        print("gradcheck, gradgradcheck, forward mode, forward over reverse:", name)
    samples = leaf(3, 1, 2), leaf(2, 1, 2), leaf(1, 3)
    gradcheck(nested, samples)
    gradgradcheck(nested, samples)
    print("gradcheck, gradgradcheck: nested")


def check_subsets():
    """A gradient where one is wanted, none elsewhere, and the wanted ones do not depend on which."""
    tensors = [torch.randn(s, dtype=torch.float64) for s in ((1, 5, 6, 2, 4),) * 3 + ((2, 5, 5),)]
    want = None
    for subset in sorted(itertools.product((False, True), repeat=4), reverse=True):
        if not any(subset):
            continue
        given = [t.clone().requires_grad_(g) for t, g in zip(tensors, subset)]
        natten.na(*given, [3, 3], [1, 2], [False, False]).square().sum().backward()
        want = want or [t.grad for t in given]
        for t, g, w in zip(given, subset, want):
            assert (t.grad is not None) == g
            if g:
                torch.testing.assert_close(t.grad, w)
    print("gradients of any subset of the inputs")


def check_in_place():
    """What is saved for the backward pass must not change unnoticed."""
    for which in range(5):
        q, k, v, rpb = (leaf(*s) for s in ((1, 5, 1, 2),) * 3 + ((1, 5),))
        given = [t * 1 for t in (q, k, v, rpb)]
        out = natten.na(*given, [3], [1], [False])
        (given + [out])[which].mul_(2)
        try:
            out.sum().backward()
        except RuntimeError as e:
            assert "modified by an inplace operation" in str(e), e
        else:
            sys.exit(f"argument {which} changed in place unnoticed")
    print("changes in place are noticed: q, k, v, rpb and the output")


def check_same_bits():
    """Two runs give the same bits, whatever the number of threads with deterministic algorithms on."""
    torch.manual_seed(5)
    tensors = [torch.randn(2, 17, 19, 3, 8) for _ in range(3)] + [torch.randn(3, 9, 9)]

    def run():
        given = [t.clone().requires_grad_() for t in tensors]
        out = natten.na(*given, [5, 5], [2, 1], [False, False])
        return [out, *torch.autograd.grad(out.sin().sum(), given)]

    torch.use_deterministic_algorithms(True)
    threads, first = torch.get_num_threads(), run()
    for n in (threads, 1, 2, 3):
        torch.set_num_threads(n)
        for a, b in zip(first, run()):
            assert torch.equal(a, b), f"{n} threads give other bits"
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    first = run()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, run())), "a second run gives other bits"
    print("the same bits run after run; with deterministic algorithms also for 1, 2 and 3 threads")


def check_autocast():
    """In a region the attention and its gradients run in bfloat16 or float16; float64 is left alone."""
    q, k, v = (torch.randn(1, 6, 2, 8, requires_grad=True) for _ in range(3))
    rpb = torch.randn(2, 5, requires_grad=True)
    want = natten.na(q, k, v, rpb, [3], [1], [False])
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            out = natten.na(q, k, v, rpb, [3], [1], [False])
            logits = natten.na_qk(q, k, rpb, [3], [1], [False])
            double = natten.na(q.double(), k.double(), v.double(), None, [3], [1], [False])
        assert out.dtype == logits.dtype == dtype and double.dtype == torch.float64
        torch.testing.assert_close(out.float(), want, atol=3e-2, rtol=3e-2)
        for t, g in zip((q, k, v, rpb), torch.autograd.grad(out.float().sum(), (q, k, v, rpb))):
            assert g.dtype == t.dtype == torch.float32
    print("autocast to bfloat16 and float16, gradients in float32")


if __name__ == "__main__":
    torch.ops.load_library(sys.argv[1])
    torch.manual_seed(0)
    check_every_mode()
    check_subsets()
    check_in_place()
    check_same_bits()
    check_autocast()
