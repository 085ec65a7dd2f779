"""The pages in headless Chromium: they draw, they move on, the button works, and no error is logged.

Needs `pip install playwright` and a Chromium of the system, such as Debian's package `chromium`.
"""

import shutil

import numpy as np
import pytest

import fastnn as fn
from fastnn.board import runs
from fastnn.board.server import PageServer

from .test_runs import write_run

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, who runs tests in containers.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(1600, "light"), (400, "dark")], ids=lambda p: f"{p[0]} {p[1]}")
def tab(browser, request):
    """An empty tab; anything that it logs as an error fails the test."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    errors = []
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    # The tests end servers while pages are open.
    assert [error for error in errors if "ERR_CONNECTION_REFUSED" not in error] == []


def test_the_live_page_draws_and_stops(tab):
    rng = np.random.default_rng(0)
    x, y = rng.random((3000, 64), np.float32), rng.integers(5, size=3000)
    model = fn.Sequential(fn.Linear(64, 32), fn.Tanh(), fn.Linear(32, 5))
    seen = []

    def click(training):
        """In the thread of the training, because Playwright's tabs belong to the thread that made them."""
        page._view.look(training)
        expect(tab.locator("#progress")).to_have_js_property(
            "value", training.updates / training.total_updates
        )
        expect(tab.locator("#confusion td")).to_have_count(25)
        seen.append(
            {
                "status": tab.inner_text("#status"),
                "curves": tab.locator("#loss path.curve").count(),
                "axis": tab.text_content("#loss svg"),
                "filters": tab.evaluate("document.getElementById('filters').width"),
                "numbers": tab.inner_text("#numbers"),
            }
        )
        if training.epoch == 1:
            tab.click("#stop")
            tab.wait_for_timeout(300)

    with fn.LivePage(show_url=False) as page:
        tab.goto(page.url)
        history = fn.fit(
            *(model, (x, y)), epochs=50, validation=0.2, callbacks=[page, click], progress=False, seed=0
        )
    assert history.stopped == "stopped on the live page"
    expect(tab.locator("#status")).to_have_text("ended: stopped on the live page")
    assert tab.is_disabled("#stop")
    first, second = seen
    assert first["status"] == "epoch 1 of 50"
    assert first["curves"] == 2
    assert first["filters"] == 16 * 9 - 1
    assert "validation accuracy" in second["numbers"]
    assert second["axis"] != first["axis"]  # the updates go on


def test_the_live_page_draws_every_validation_set(tab):
    rng = np.random.default_rng(0)
    x, y = rng.random((90, 16), np.float32), rng.integers(3, size=90)
    sets = {"valid": (x[:30], y[:30]), "test": (x[30:], y[30:])}
    with fn.LivePage(show_url=False) as page:
        fn.fit(
            *(fn.Sequential(fn.Linear(16, 3)), (x, y)),
            **{"validation": sets, "validate_every": 2, "callbacks": page, "progress": False, "epochs": 2},
        )
        tab.goto(page.url)
        expect(tab.locator("#loss path.curve")).to_have_count(3)
    assert tab.locator("#accuracy path.curve").count() == 4
    for name in ("valid loss", "test loss", "test accuracy", "running training accuracy"):
        assert name in tab.inner_text("#numbers")


def test_the_board_says_that_there_are_no_runs(tab, tmp_path):
    page = PageServer(runs.routes(tmp_path))
    tab.goto(page.url)
    expect(tab.locator("#empty")).to_contain_text("no runs of fastnn train")
    write_run(tmp_path / "one")
    tab.click("#reload")
    expect(tab.locator("#empty")).to_be_hidden()
    page.close()


def test_the_board_compares_runs(tab, tmp_path):
    for lr in (0.1, 0.2):
        for seed in (0, 1, 2):
            epochs = {"loss": [2.0 + seed, 1.0, 0.5 * lr], "accuracy": [0.5, 0.8, 0.8 + lr]}
            write_run(tmp_path / f"lr{lr} s{seed}", lr=lr, seed=seed, epochs=epochs)
    picture = tmp_path / "lr0.1 s0" / "curves.png"
    fn.viz.save_weights(np.random.default_rng(0).random((64, 4)), picture, image_shape=(8, 8))
    write_run(tmp_path / "damaged")
    (tmp_path / "damaged" / "history.json").write_text("{")
    page = PageServer(runs.routes(tmp_path))
    tab.goto(page.url)
    tab.wait_for_selector("#runs td")
    assert tab.locator("#runs tr").count() == 7
    assert tab.locator("#chart path.curve").count() == 2  # a curve for each learning rate
    assert tab.locator("#chart path.band").count() == 2
    assert "damaged" in tab.inner_text("#errors")
    assert "optimizer.lr" in tab.inner_text("#runs tr")
    assert "dataset" not in tab.inner_text("#runs tr")  # the same in all runs
    tab.uncheck("input[aria-label='draw lr0.1 s0']")
    tab.uncheck("input[aria-label='draw lr0.1 s1']")
    assert tab.locator("#chart path.band").count() == 1
    tab.select_option("#curve", "loss of the updates")
    tab.click("th button:text('seed')")
    assert tab.inner_text("#runs tr:nth-child(2) td.name").endswith("s2")
    tab.click("td.name button:text('lr0.1 s0')")
    image = tab.locator("#pictures img")
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("image => image.naturalWidth") > 100
    page.close()
    tab.click("#reload")
    expect(tab.locator("#summary")).to_have_text("fastnn board has ended")
