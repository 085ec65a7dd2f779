"""The differences between two descriptions of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def differences(before: object, now: object, words: tuple[str, str] = ("was", "is")) -> list[str]:
    """The differences between two descriptions, such as "batch_size was 32, is 64"."""
    was, is_now = words
    old, new = dict(_leaves(before)), dict(_leaves(now))
    found = []
    for path in {**old, **new}:
        if path not in new:
            difference = f"{was} {_shown(old[path])}, {is_now} missing"
        elif path not in old:
            difference = f"{was} missing, {is_now} {_shown(new[path])}"
        elif old[path] != new[path]:
            difference = f"{was} {_shown(old[path])}, {is_now} {_shown(new[path])}"
        else:
            continue
        found.append(f"{path[:200]} {difference}")
    return found


def _shown(value: object) -> str:
    """The value as text, which is cut if it is long."""
    text = repr(value)
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
