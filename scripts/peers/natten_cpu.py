"""NATTEN 0.17.5's functions on a machine without a GPU and with a newer torch than it was made for.

It imports an annotation that torch 2.11 no longer has and asks the GPU for its capability while it is imported.
"""
import torch

torch.cuda._device_t = object
torch.cuda.get_device_capability = lambda device=None: (0, 0)

import natten.functional as functional  # noqa: E402,F401
