"""The pictures of the docs are those that their scripts draw."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def draw(script, *arguments):
    command = [sys.executable, DOCS / "pictures" / script, *arguments]
    # The scripts import each other from their folder, which PYTHONSAFEPATH would keep from the path.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def benchmark(contestant, threads, median, shape="B 784-300-10 sigmoid b50 sgd"):
    info = {"shape": shape, "contestant": contestant, "threads": threads, "flop": 10e6}
    return {"stats": {"median": median}, "extra_info": info}


@pytest.mark.parametrize(
    ("script", "arguments", "stem"),
    [("speed.py", [DOCS / "pictures" / "speed.json"], "speed"), ("architecture.py", [], "architecture")],
)
def test_committed_pictures_are_up_to_date(script, arguments, stem, tmp_path):
    draw(script, *arguments, tmp_path / stem)
    for theme in ("light", "dark"):
        name = f"{stem}-{theme}.svg"
        assert (tmp_path / name).read_text() == (DOCS / name).read_text(), (
            f"{name}: run docs/pictures/{script}"
        )


def test_chart_takes_the_best_variant_within_the_threads(tmp_path):
    """Of fastnn exactly the number of threads, of a library its fastest variant with at most that number."""
    run = [
        benchmark("fastnn", 1, 100e-6),
        benchmark("fastnn", 2, 50e-6),
        benchmark("torch", 1, 400e-6),
        benchmark("torch.compile", 1, 300e-6),
        benchmark("torch", 2, 200e-6),
        benchmark("sklearn", 2, 900e-6),
    ]
    (tmp_path / "run.json").write_text(json.dumps({"benchmarks": run}))
    draw("speed.py", tmp_path / "run.json", tmp_path / "one", "--threads", "1")
    one = (tmp_path / "one-light.svg").read_text()
    assert ">100 us<" in one
    assert ">300 us, 3.0x<" in one
    assert "900 us" not in one
    draw("speed.py", tmp_path / "run.json", tmp_path / "two", "--threads", "2")
    two = (tmp_path / "two-light.svg").read_text()
    assert ">50 us<" in two
    assert ">200 us, 4.0x<" in two
    assert ">900 us, 18.0x<" in two
    assert ">//<" in two  # broken off


def test_committed_tables_are_up_to_date(tmp_path):
    for page in (DOCS.parent / "README.md", DOCS / "performance.md"):
        copy = tmp_path / page.name
        copy.write_text(page.read_text())
        draw("step_tables.py", DOCS / "pictures" / "speed.json", copy)
        assert copy.read_text() == page.read_text(), f"{page.name}: run docs/pictures/step_tables.py"
        assert "<!-- end of steps -->" in page.read_text()


def test_tables_have_the_marked_nets_in_their_order(tmp_path):
    run = [
        benchmark(name, threads, seconds / threads, shape)
        for shape in ("A 4-4 relu b2 sgd", "H32 LeNet-5 b32 adam")
        for name, seconds in (("fastnn", 100e-6), ("jax", 250e-6), ("keras", 1e-6))
        for threads in (1, 2)
    ]
    machine = {"fma_gflops": {"1": 200.0, "2": 400.0}}
    (tmp_path / "run.json").write_text(json.dumps({"machine_info": machine, "benchmarks": run}))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- steps H32 A, peak -->\nold\n<!-- end of steps -->\nafter\n")
    draw("step_tables.py", tmp_path / "run.json", page)
    before, marker, head, _, first, second, end, after = page.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert (marker, end) == ("<!-- steps H32 A, peak -->", "<!-- end of steps -->")
    assert head.count("of the peak") == 2
    assert first == (
        "| LeNet-5; batch 32, Adam | 100 | 250 (JAX) | 2.50 | 50 % | 50.0 | 125 (JAX) | 2.50 | 50 % |"
    )
    assert second.startswith("| 4-4 ReLU; batch 2, SGD | 100 |")
