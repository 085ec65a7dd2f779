"""The mistakes that `tests/mistakes/planted_mistakes.py` plants are up to date with the code."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "mistakes"


def test_every_mistake_has_its_place(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    mistakes = importlib.import_module("planted_mistakes").MISTAKES
    root = FOLDER.parent.parent
    code = {mistake.file: (root / mistake.file).read_text("utf-8") for mistake in mistakes}
    misplaced = [each.name for each in mistakes if code[each.file].count(each.old) != 1]
    assert not misplaced
    assert len({each.name for each in mistakes}) == len(mistakes)
    missing = {test for each in mistakes for test in each.tests if not (root / test.split("::")[0]).exists()}
    assert not missing
