"""Configure pytest for the benchmarks: `pytest --benchmark-only` runs them, a plain `pytest` does not.

`pytest bench --benchmark-disable` runs each benchmark once without timing it: it checks that the
benchmark works and that what it times gives the right result.
"""

from pathlib import Path

import pytest

# Enough for medians that repeat within a few percent, while the whole folder takes less than three minutes.
TIMING = pytest.mark.benchmark(max_time=0.5, min_rounds=5, disable_gc=True)


def pytest_collection_modifyitems(config, items):
    benchmarks = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in benchmarks:
        item.add_marker(TIMING)
    # Deselect rather than skip, because a skip looks as if something were missing. (`--benchmark-skip` in
    # pyproject.toml would forbid `--benchmark-only`.)
    if not (config.getoption("benchmark_only") or config.getoption("benchmark_disable")):
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if item not in benchmarks]
