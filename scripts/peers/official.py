"""A plain PyTorch forward of NAT and DiNAT over a state dict of the official layout.

Written from the definition in the papers (arXiv 2204.07143, 2209.15001), slowly and without NATTEN: keys are gathered
by index. It judges checkpoints: a tensor under the wrong name, transposed or cut differently changes the logits.
"""

import torch
import torch.nn.functional as F


def windows(length, kernel, dilation):
    """Token indices [length, kernel] that each query attends to, and the bias index of each."""
    index = torch.empty(length, kernel, dtype=torch.long)
    bias = torch.empty(length, kernel, dtype=torch.long)
    for i in range(length):
        r, p = i % dilation, i // dilation
        group = (length - 1 - r) // dilation + 1
        start = min(max(p - (kernel - 1) // 2, 0), group - kernel)
        for t in range(kernel):
            index[i, t] = (start + t) * dilation + r
            bias[i, t] = start + t - p + kernel - 1
    return index, bias


def projected(x, sd, prefix, heads, kernel, dilation, attend):
    """Attention with its projections on [B, H, W, C], padded at the ends as the official module does.

    attend maps q (scaled), k, v [B, heads, H, W, D] and the bias table to an output of q's shape.
    """
    b, h, w, c = x.shape
    need = kernel * dilation
    hp, wp = max(h, need), max(w, need)
    if (hp, wp) != (h, w):
        x = F.pad(x, (0, 0, 0, wp - w, 0, hp - h))
    d = c // heads
    qkv = F.linear(x, sd[prefix + "qkv.weight"], sd.get(prefix + "qkv.bias"))
    q, k, v = qkv.reshape(b, hp, wp, 3, heads, d).permute(3, 0, 4, 1, 2, 5)
    out = attend(q * d**-0.5, k, v, sd[prefix + "rpb"]).permute(0, 2, 3, 1, 4).reshape(b, hp, wp, c)
    out = out[:, :h, :w]
    return F.linear(out, sd[prefix + "proj.weight"], sd[prefix + "proj.bias"])


def attention(x, sd, prefix, heads, kernel, dilation):
    """Neighborhood attention by gathering keys and values."""

    def attend(q, k, v, rpb):
        hp, wp = q.shape[2:4]
        iy, by = windows(hp, kernel, dilation)
        ix, bx = windows(wp, kernel, dilation)
        # [hp, wp, kernel, kernel]: the keys of each query, and their places in the bias table.
        rows, cols = iy[:, None, :, None], ix[None, :, None, :]
        keys, values = k[:, :, rows, cols], v[:, :, rows, cols]
        logits = torch.einsum("bhyxd,bhyxstd->bhyxst", q, keys)
        logits = logits + rpb[:, by[:, None, :, None], bx[None, :, None, :]]
        weights = logits.flatten(-2).softmax(-1).view_as(logits)
        return torch.einsum("bhyxst,bhyxstd->bhyxd", weights, values)

    return projected(x, sd, prefix, heads, kernel, dilation, attend)


def norm(x, sd, prefix):
    return F.layer_norm(x, x.shape[-1:], sd[prefix + "weight"], sd[prefix + "bias"], 1e-5)


def forward(sd, image, depths, num_heads, kernel_size, dilations=None):
    """Logits [B, classes] for an image [B, 3, H, W]; all arithmetic in the image's dtype."""
    sd = {k: v.to(image.dtype) if v.is_floating_point() else v for k, v in sd.items()}
    x = F.conv2d(image, sd["patch_embed.proj.0.weight"], sd["patch_embed.proj.0.bias"], 2, 1)
    x = F.conv2d(x, sd["patch_embed.proj.1.weight"], sd["patch_embed.proj.1.bias"], 2, 1)
    x = norm(x.permute(0, 2, 3, 1), sd, "patch_embed.norm.")
    for i, depth in enumerate(depths):
        for j in range(depth):
            p = f"levels.{i}.blocks.{j}."
            dilation = dilations[i][j] if dilations else 1
            y = attention(norm(x, sd, p + "norm1."), sd, p + "attn.", num_heads[i], kernel_size, dilation)
            x = x + y * sd.get(p + "gamma1", 1)
            y = F.linear(norm(x, sd, p + "norm2."), sd[p + "mlp.fc1.weight"], sd[p + "mlp.fc1.bias"])
            y = F.linear(F.gelu(y), sd[p + "mlp.fc2.weight"], sd[p + "mlp.fc2.bias"])
            x = x + y * sd.get(p + "gamma2", 1)
        if i < len(depths) - 1:
            x = F.conv2d(x.permute(0, 3, 1, 2), sd[f"levels.{i}.downsample.reduction.weight"], None, 2, 1)
            x = norm(x.permute(0, 2, 3, 1), sd, f"levels.{i}.downsample.norm.")
    x = norm(x, sd, "norm.").mean((1, 2))
    return F.linear(x, sd["head.weight"], sd["head.bias"])
