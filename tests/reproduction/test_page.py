"""The page about all results."""

import html.parser
from dataclasses import asdict

import pytest

import fastnn as fn
from fastnn.reproduction import page
from fastnn.reproduction.runner import Run, run_one

from . import tiny

ITEMS = {"T-1": "a value", "T-2": "a claim", "T-3": "a figure", "T-4": "<never> run"}


class Elements(html.parser.HTMLParser):
    """Collects what the page loads, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def out(tmp_path):
    for variant in ("corrected", "as-written"):
        run_one(Run(tiny.experiment(stand_in="half <circles>"), variant, False, tmp_path / "out"))
    return tmp_path / "out"


def test_the_page_holds_everything_itself(out):
    results = page.write(out, ITEMS, out / "index.html")
    assert len(results) == 2
    text = (out / "index.html").read_text()
    found = Elements(text)
    assert "script" not in found.tags
    assert all(source.startswith(("data:", "#")) for source in found.sources)
    assert found.tags.count("img") == 2
    assert found.tags.count("section") == 1  # both variants side by side
    assert "half &lt;circles&gt;" in text
    assert "3 of 4" in text
    assert "<li>T-4: &lt;never&gt; run</li>" in text


def test_large_pictures_are_png(out, monkeypatch):
    monkeypatch.setattr(page, "LARGEST_SVG", 10)
    page.write(out, ITEMS, out / "index.html")
    assert "data:image/png" in (out / "index.html").read_text()
    assert "data:image/svg" not in (out / "index.html").read_text()


def a_result(name, variant="corrected", quick=False, folder=None, **content):
    found = {"id": name, "title": "a title", "variant": variant, "quick": quick, "seconds": 1.0, "rows": []}
    found |= {"environment": {}, "depends_on": {"parameters": {}}, "figures": [], "folder": folder}
    return found | content


def test_sections_are_in_the_order_of_numbers_and_what_is_corrected_comes_first():
    results = [a_result("s1.part10"), a_result("s1.part9", quick=True)]
    results += [a_result("s1.part9", "as-written"), a_result("s1.part9")]
    text = page.page(results, {})
    parts = [f'id="s1.part{number}"' for number in (9, 10)]
    variants = [f"<h3>{variant}</h3>" for variant in ("corrected", "as-written", "corrected, quick")]
    places = [text.index(word) for word in (parts[0], *variants, parts[1])]
    assert places == sorted(places)


def test_a_claim_about_the_item_of_a_figure_stands_below_it(tmp_path):
    report = fn.Report(tmp_path)
    report.claim("T-1", "it <grows>", True, "2 > 1")
    report.claim("T-2", "another item", True, "2 > 1")
    report.measured("T-1", "a value", 3.0)
    report.figure("T-1", "curve", lambda path: path.write_text(""), "a curve")
    rows = [asdict(row) for row in report.rows]
    text = page.page([a_result("t.one", folder=tmp_path, rows=rows, figures=report.figures)], {})
    caption = text.partition("<figcaption>")[2].partition("</figcaption>")[0]
    claim = '<li><span class="good">claim holds</span> it &lt;grows&gt;: 2 &gt; 1</li>'
    assert caption == f"T-1: a curve<ul>{claim}</ul>"


@pytest.mark.parametrize("names", [[], ["gone.svg"], ["../secret.png"], ["result.json"]])
def test_pictures_that_are_missing_or_elsewhere(tmp_path, names):
    (tmp_path / "secret.png").write_text("secret")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    figure = {"item": "T-1", "name": "curve", "caption": "a curve", "files": names}
    text = page.page([a_result("t.one", folder=folder, figures=[figure])], {})
    assert "the picture is missing" in text
    assert "<img" not in text


def test_a_folder_without_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no results: run fastnn reproduce"):
        page.write(tmp_path, ITEMS, tmp_path / "index.html")
