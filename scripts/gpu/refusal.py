"""Asking for what is not there gives an error that says so, and no crash: refusal.py LIBNATTEN, with NATTEN_BACKEND=tile."""

import sys

import torch

torch.ops.load_library(sys.argv[1])
try:
    x = torch.zeros(1, 3, 1, 7, device="cuda", dtype=torch.float16)
    torch.ops.natten.na(x, x, x, None, [3], [1], [False])
except (RuntimeError, AssertionError) as error:
    print("refused:", str(error).splitlines()[0])
else:
    sys.exit("a head dim of 7 was taken by the tensor-core kernels")
