"""A few hundred damaged files for each reader of data; `tests/data/fuzz.py` reads more."""

import pytest

from tests.data.fuzz import READERS, fuzz

NEEDED = {"images": "PIL", "mat": "scipy"}


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_give_a_result_or_dataset_error(reader):
    if reader in NEEDED:
        pytest.importorskip(NEEDED[reader])
    outcomes = fuzz(reader, 300)
    assert outcomes.total() > 290
    assert outcomes["DatasetError"] > 30
