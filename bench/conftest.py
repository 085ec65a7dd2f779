"""Benchmarks run with `pytest --benchmark-only`; a plain `pytest` leaves them out.

`pytest bench --benchmark-disable` runs each of them once, without timing: it checks that they work and that
what they time is right.
"""

from pathlib import Path

import pytest

# Enough for medians that repeat within some per cent; the whole folder stays below three minutes.
TIMING = pytest.mark.benchmark(max_time=0.5, min_rounds=5, disable_gc=True)


def pytest_collection_modifyitems(config, items):
    benchmarks = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in benchmarks:
        item.add_marker(TIMING)
    # Deselected rather than skipped: a skip would look like something missing. (`--benchmark-skip` among
    # the options of pyproject.toml is no way out, as it forbids `--benchmark-only`.)
    if not (config.getoption("benchmark_only") or config.getoption("benchmark_disable")):
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if item not in benchmarks]
