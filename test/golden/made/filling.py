"""The filling formula of cases/README.md."""
import math

import torch


def fill(key, shape, low, high):
    """A float64 tensor of float32 values in low..high that depend on `key` alone."""
    seed = 0x811C9DC5
    for byte in key.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (seed + torch.arange(math.prod(shape), dtype=torch.int64) * 0x9E3779B9) & 0xFFFFFFFF
    x = x ^ (x >> 16)
    x = multiply32(x, 0x21F0AAAD)
    x = x ^ (x >> 15)
    x = multiply32(x, 0x735A2D97)
    x = x ^ (x >> 15)
    value = low + (high - low) * x.double() / 2**32
    return value.float().double().reshape(shape)


def multiply32(x, factor):
    """x * factor mod 2^32 without leaving 63 bits."""
    return ((((x >> 16) * factor & 0xFFFF) << 16) + (x & 0xFFFF) * factor) & 0xFFFFFFFF
