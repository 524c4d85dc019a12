"""Philox 4x32-10 and Box-Muller in plain Python integers and float64: one counter at a time."""

from __future__ import annotations

import hashlib
import math

MASK = 0xFFFFFFFF


def words(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Ten rounds, as the paper has them (Salmon et al. 2011, figure 2)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & MASK, (first >> 32) ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def key_of(seed: int, chain: int, stream: str) -> tuple[int, int, int]:
    """The key's two words, and the counter's last."""
    digest = hashlib.blake2b(f"philox:{stream}:{seed}:{chain}".encode(), digest_size=12).digest()
    k0, k1, last = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8))
    return k0, k1, last


def normal(seed: int, chain: int, stream: str, step: int, element: int) -> float:
    """The number of one element of a chain's vector at one step."""
    k0, k1, last = key_of(seed, chain, stream)
    quad = element // 4
    four = words((quad & MASK, quad >> 32, step, last), (k0, k1))
    a, b = four[:2] if element % 4 < 2 else four[2:]
    radius = math.sqrt(max(0.0, -2 * math.log((a + 0.5) / 2**32)))
    angle = 2 * math.pi * b / 2**32
    return radius * (math.cos(angle) if element % 2 == 0 else math.sin(angle))
