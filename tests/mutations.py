"""Damage the bytes of a file at random, for the fuzz tests of all readers."""

import struct
from collections.abc import Iterator

import numpy as np

# Integers at the borders of their types, which break arithmetic on sizes and offsets.
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` damaged copies of `content`, each after one to four random changes.

    A change flips a bit, replaces a byte, deletes, repeats or moves a piece, inserts random bytes, cuts the
    end off, or writes an integer from `NUMBERS` in 1 to 8 bytes and either byte order. Half of the changes
    hit the first 512 bytes, where most formats have their header. The same seed gives the same copies.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            _change(damaged, rng)
        yield bytes(damaged)


def _change(content: bytearray, rng: np.random.Generator) -> None:
    """Make one random change to `content`."""
    near = min(len(content), 512) if rng.random() < 0.5 else len(content)
    at = int(rng.integers(near + 1))
    end = at + int(rng.integers(1, 1 + rng.choice([4, 32, 256])))
    match rng.integers(8):
        case 0:
            if at < len(content):
                content[at] ^= 1 << int(rng.integers(8))
        case 1:
            content[at : at + 1] = rng.bytes(1)
        case 2:
            del content[at:end]
        case 3:
            content[at:at] = content[at:end] * int(rng.integers(1, 4))
        case 4:
            to = int(rng.integers(len(content) + 1))
            content[to : to + end - at] = content[at:end]
        case 5:
            content[at:at] = rng.bytes(end - at)
        case 6:
            del content[at + int(rng.integers(len(content) - at + 1)) :]
        case 7:
            size = int(rng.choice([1, 2, 4, 8]))
            number = NUMBERS[rng.integers(len(NUMBERS))] + int(rng.integers(-1, 2))
            order = "<" if rng.random() < 0.5 else ">"
            content[at : at + size] = struct.pack(f"{order}Q", number % 2**64)[
                slice(size) if order == "<" else slice(8 - size, 8)
            ]
