"""Writes gna_windows.json: which keys each query sees under stride, even
kernels, dilation and causal masking, read out of the mask function of NATTEN's
own FlexAttention backend (needs natten >= 0.20 and torch, no GPU).

    python gna_windows.py > gna_windows.json

Each row: length, kernel_size, dilation, stride, is_causal, then per query the
first key and the number of keys (neighbouring keys are `dilation` apart).
"""
import json
import sys

import natten
import torch
from natten.backends.flex import get_na_flex_mask


def windows(length, kernel, dilation, stride, causal):
    mask = get_na_flex_mask(
        device="cpu", na_dim=1, qkv_shape=(length,), kernel_size=(kernel,), stride=(stride,),
        dilation=(dilation,), is_causal=(causal,),
    ).mask_mod
    queries = torch.arange(length).reshape(-1, 1)
    keys = torch.arange(length).reshape(1, -1)
    seen = mask(torch.tensor(0), torch.tensor(0), queries, keys)
    first, count = [], []
    for row in seen:
        tokens = row.nonzero().flatten().tolist()
        assert tokens == list(range(tokens[0], tokens[0] + len(tokens) * dilation, dilation))
        first.append(tokens[0])
        count.append(len(tokens))
    return first, count


def main(longest):
    rows = []
    for length in range(2, longest + 1):
        for dilation in range(1, 4):
            for kernel in range(2, length // dilation + 1):
                for stride in range(1, kernel + 1):
                    for causal in (False, True):
                        case = (length, kernel, dilation, stride, causal)
                        rows.append(json.dumps([*case, *windows(*case)], separators=(",", ":")))
    source = json.dumps(f"natten {natten.__version__}, FlexAttention mask")
    print('{"source":%s,"rows":[\n%s\n]}' % (source, ",\n".join(rows)))


main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
