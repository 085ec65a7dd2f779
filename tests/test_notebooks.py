"""What notebooks show, and the guides as notebooks."""

import importlib.util
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fastnn as fn
from fastnn.studies.study import Member
from fastnn.tables import html_table

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted(path.stem for path in (ROOT / "docs" / "guide").glob("*.md") if path.stem != "index")


class Cells(HTMLParser):
    """The cells of HTML tables row by row, and the sources of images; fails if tags are not closed."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.images, self.open = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes)["src"])
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def test_model_shows_its_summary():
    model = fn.Sequential(fn.Conv2d(1, 2, 3), fn.Flatten(), fn.Linear(8, 3))
    rows = Cells(model._repr_html_()).rows
    assert [row[1] for row in rows] == ["", "Conv2d(1, 2, 3)", "Flatten()", "Linear(8, 3)", "total"]
    assert rows[1][2] == "?"
    fn.fit(model, (np.zeros((6, 4, 4), np.float32), np.arange(6) % 3), epochs=1, seed=0, progress=False)
    rows = Cells(model._repr_html_()).rows  # the shape of the samples is known now
    assert [row[2] for row in rows] == ["output of a sample", "(2, 2, 2)", "(8,)", "(3,)", ""]
    assert rows[-1][5] == str(sum(param.size for param in model.parameters()))


def test_model_whose_layers_do_not_fit_shows_its_code():
    model = fn.Sequential(fn.Linear(2, 3), fn.Linear(4, 5))
    assert model._repr_html_() == "<pre>Sequential(Linear(2, 3), Linear(4, 5))</pre>"


def test_history_shows_its_curves(blobs):
    pytest.importorskip("matplotlib")
    history = fn.fit(fn.Linear(6, 3), blobs, epochs=2, seed=0, progress=False)
    shown = Cells(history._repr_html_())
    assert shown.rows == [["loss", "accuracy"], [f"{history[name][-1]:.4g}" for name in ("loss", "accuracy")]]
    assert shown.images[0].startswith("data:image/png;base64,iVBOR")
    assert "empty history" in fn.History()._repr_html_()


def test_history_without_matplotlib_shows_its_values(blobs, monkeypatch):
    history = fn.fit(fn.Linear(6, 3), blobs, epochs=1, seed=0, progress=False)
    monkeypatch.setitem(sys.modules, "fastnn.viz._figure", None)
    shown = Cells(history._repr_html_())
    assert (len(shown.rows), shown.images) == (2, [])


def test_study_shows_its_table_and_its_problems():
    good = Member({"name": "<b>&"}, 0, values={"loss": 0.25})
    study = fn.Study([good, Member({"name": "x"}, 1, error="ValueError: <i>")])
    html = study._repr_html_()
    assert Cells(html).rows == [["name", "loss", "seconds"], ["<b>&", "0.25", "0"]]
    assert "ValueError: &lt;i&gt;" in html
    assert fn.Study()._repr_html_() == "no run has finished"


def test_rate_test_shows_its_picture(blobs):
    pytest.importorskip("matplotlib")
    found = fn.find_lr(fn.Linear(6, 3), blobs, updates=20, low=1e-3)
    html = found._repr_html_()
    assert html.startswith(f"<pre>{found}</pre>")
    assert len(Cells(html).images) == 1


def test_html_table_escapes_and_aligns():
    html = html_table([["a", "b"], ["<x>", "2"]], left=1, caption="<c>")
    assert "<x>" not in html
    assert "<c>" not in html
    assert Cells(html).rows == [["a", "b"], ["<x>", "2"]]
    assert html.count("text-align:left") == html.count("text-align:right") == 2


# --- the guides ---


@pytest.fixture(scope="module")
def notebooks():
    """The module docs/notebooks.py."""
    pytest.importorskip("jupytext")
    if not GUIDES:
        pytest.skip("the guides are not here: a copy of the code with a planted mistake")
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_is_a_notebook_with_its_code(notebooks, name):
    """CI runs all of them; here the cells are compared with the blocks that other tests run."""
    from tests.test_readme import blocks

    guide = ROOT / "docs" / "guide" / f"{name}.md"
    made = notebooks.notebook(guide)
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    python = [block for block in blocks(guide) if block.language == "python"]
    assert [cell.source.split() for cell in cells] == [block.code.split() for block in python]
    for cell, block in zip(cells, python, strict=True):
        is_skipped = "tags" in cell.metadata
        needed = block.mark.removeprefix("needs ") if block.mark.startswith("needs ") else "fastnn"
        assert is_skipped == (not block.runs or not has(needed))


def has(module):
    return importlib.util.find_spec(module) is not None


def test_a_guide_runs_in_a_kernel(notebooks):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    made = notebooks.notebook(ROOT / "docs" / "guide" / "first_net.md")
    notebooks.run(made)
    outputs = [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
