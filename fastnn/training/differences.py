"""The differences between two descriptions of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What it means that a description has no such entry: older checkpoints lack some, others are there if set.
ABSENT: dict[str, Any] = {
    **dict.fromkeys(("batch.factor of x", "data.factor of x", "validation.factor of x")),
    "drop_last": False,
    "micro_batch": None,
    "precision": None,
    "processes": 1,
    "sync_batch_norm": False,
    "validate_every": None,
}


def differences(before: object, now: object, words: tuple[str, str] = ("was", "is")) -> list[str]:
    """The differences between two descriptions, such as "batch_size was 32, is 64"."""
    was, is_now = words
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{path[:200]} {was} {_shown(old, path)}, {is_now} {_shown(new, path)}"
        for path in {**old, **new}
        if path not in old or path not in new or old[path] != new[path]
    ]


def _shown(leaves: Mapping[str, object], path: str) -> str:
    """The value at a path as text, which is cut if it is long."""
    found = {**ABSENT, **leaves}
    text = repr(found[path]) if path in found else "missing"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value
