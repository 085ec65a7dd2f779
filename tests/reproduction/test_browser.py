"""The page about all results in headless Chromium: wide and narrow, light and dark.

Needs `pip install playwright` and a Chromium of the system, such as Debian's package `chromium`.
"""

import shutil

import pytest

from fastnn.reproduction import page
from fastnn.reproduction.runner import Run, run_one

from . import tiny

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def test_the_page_is_readable_at_any_width(tmp_path):
    for variant in ("corrected", "as-written"):
        run_one(Run(tiny.experiment(stand_in="half circles"), variant, False, tmp_path))
    page.write(tmp_path, {"T-4": "a" * 200}, tmp_path / "index.html")
    with sync_api.sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, who runs tests in containers.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        backgrounds = set()
        for width, scheme in ((1600, "light"), (400, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            tab, messages = context.new_page(), []
            tab.on("console", lambda message, to=messages: to.append(message.text))
            tab.on("request", lambda request, to=messages: to.append(request.url))
            tab.goto(f"file://{tmp_path}/index.html")
            assert [text for text in messages if not text.startswith(("file:", "data:"))] == []
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            images = "[...document.images].map(image => image.complete && image.naturalWidth > 0)"
            assert tab.evaluate(images) == [True, True]
            backgrounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            tops = [box.bounding_box()["y"] for box in tab.locator(".variant").all()]
            assert (tops[0] == tops[1]) == (width == 1600)  # side by side, or below each other
            table = tab.locator(".variant >> nth=0").locator("table").bounding_box()
            assert table["y"] < tab.locator("figure >> nth=0").bounding_box()["y"]
        assert len(backgrounds) == 2
        browser.close()
