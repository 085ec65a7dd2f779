"""The page about all results."""

import html.parser

import pytest

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
    assert all(source.startswith("data:") for source in found.sources)
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


def test_a_folder_without_results(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no results: run fastnn reproduce"):
        page.write(tmp_path, ITEMS, tmp_path / "index.html")
