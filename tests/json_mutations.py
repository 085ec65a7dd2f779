"""Change JSON content at random, for the fuzz tests of files whose syntax is valid."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

STRANGE = (
    *(None, True, False, 0, 1, -1, 2, 2.5, -0.0, 2**63 - 1, 2**63, 10**30, 10**400),
    *(float("nan"), float("inf"), 1e300, "", "x", "x" * 10_000),
    *([], [1], [True, 1], ["a"], [[[]]], {}, {"a": 1}, {"lr": -1}),
)
NAMES = ("", "x", "é", "lr", "steps", "0.weight.steps", "loss", "x" * 10_000)


def json_mutations(content: Any, count: int, seed: int) -> Iterator[Any]:
    """Yield `count` copies of `content`, a dict, each after one to three random changes.

    A change replaces a value by a strange one or by another value of the content, removes a value, or adds a
    strange one to a dict. The same seed gives the same copies.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = copy.deepcopy(content)
        for _ in range(rng.integers(1, 4)):
            _change(changed, rng)
        yield changed


def _change(content: Any, rng: np.random.Generator) -> None:
    places = list(_places(content))
    if not places:
        return
    container, key, value = places[rng.integers(len(places))]
    strange = copy.deepcopy(STRANGE[rng.integers(len(STRANGE))])
    match rng.integers(5):
        case 0 | 1:
            container[key] = strange
        case 2:
            container[key] = copy.deepcopy(places[rng.integers(len(places))][2])
        case 3:
            del container[key]
        case 4:
            target = value if isinstance(value, dict) else content
            target[NAMES[rng.integers(len(NAMES))]] = strange


def _places(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (container, key, value) for all values within `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key, item
        yield from _places(item)
