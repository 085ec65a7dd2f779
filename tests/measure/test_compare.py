"""Reading benchmark runs, and their table and picture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.cli.main import main
from fastnn.measure import compare

BENCH = Path(__file__).resolve().parents[2] / "bench"


def benchmark(race, shape, contestant, median, preemptions=3.0):
    """One benchmark as pytest-benchmark writes it, reduced to the fields that `compare.load` reads."""
    return {
        "name": f"test_{race}[{shape}-{contestant}]",
        "extra_info": {
            "race": race,
            "shape": shape,
            "contestant": contestant,
            "preemptions_per_second": preemptions,
        },
        "stats": {"median": median},
    }


RUN = [
    benchmark("dense_dx", "32x784x128", "numpy", 40e-6),
    benchmark("dense_dx", "32x784x128", "jit", 50e-6),
    benchmark("dense_dx", "32x784x128", "aot", 5e-6),
    benchmark("gradient", "4-4-4", "naive-paths", 1.5),
    benchmark("gradient", "4-4-4", "numpy", 2e-3),
    benchmark("gradient", "4-4-4", "aot", 250e-9, preemptions=80.0),
    benchmark("sgd", "784x128", "numpy", 16e-6),
    benchmark("sgd", "784x128", "jit", 16e-6),
    benchmark("sgd", "784x128", "aot", 4e-6),
]


@pytest.fixture
def run(tmp_path):
    """A function that writes its argument as JSON and returns the path."""

    def write(report):
        path = tmp_path / "run.json"
        path.write_text(json.dumps(report))
        return path

    return write


@pytest.fixture
def races(run):
    return compare.load(run({"machine_info": {}, "benchmarks": RUN}))


def test_load_groups_benchmarks_by_race(races):
    assert [(race.name, race.shape) for race in races] == [
        ("dense_dx", "32x784x128"),
        ("gradient", "4-4-4"),
        ("sgd", "784x128"),
    ]
    assert races[0].medians == {"numpy": 40e-6, "jit": 50e-6, "aot": 5e-6}
    assert [race.disturbed for race in races] == [set(), {"aot"}, set()]
    assert races[0].factor("aot") == 8
    assert races[0].factor("jit") == 0.8


def test_table_has_times_speedups_and_warnings(races):
    assert compare.table(races) == "\n".join(
        [
            "race      shape         numpy      jit            aot",
            "-----------------------------------------------------------",
            "dense_dx  32x784x128  40.0 us  50.0 us  0.8x  5.00 us  8.0x",
            "sgd       784x128     16.0 us  16.0 us  1.0x  4.00 us  4.0x",
            "",
            "race      shape  naive-paths    numpy           aot",
            "---------------------------------------------------------------",
            "gradient  4-4-4       1.50 s  2.00 ms  750x  250 ns  6,000,000x",
            "",
            "Median times, and speedups over the first contestant of the row.",
            "",
            "Not faster than numpy in 2 of 5 comparisons:",
            "  jit  dense_dx 32x784x128: 50.0 us versus 40.0 us",
            "  jit  sgd 784x128: 16.0 us versus 16.0 us",
            "",
            "Other processes disturbed 1 of 9 timings: the speedups are unreliable. Run the benchmarks "
            "again on an idle machine.",
        ]
    )


def test_table_without_slow_kernels_or_disturbances(run):
    table = compare.table(compare.load(run({"benchmarks": [RUN[0], RUN[2]]})))
    assert table.endswith("Not faster than numpy in 0 of 1 comparisons.")


def test_table_without_numpy(run):
    table = compare.table(compare.load(run({"benchmarks": [RUN[2]]})))
    assert table.splitlines()[2] == "dense_dx  32x784x128  5.00 us"
    assert table.endswith('No race has both "numpy" and a compiled kernel.')


def test_load_reads_the_output_of_peers(run, capsys, monkeypatch):
    """`bench/peers.py` writes times of whole training steps."""
    monkeypatch.syspath_prepend(str(BENCH))
    import peers

    results = [
        peers.Result(contestant, "A", threads, [[2 * time, time], [time, time], [3 * time, time]], 100.0)
        for threads in (1, 2)
        for contestant, time in (("torch", 400e-6 / threads), ("fastnn", 50e-6 / threads))
    ]
    path = run(peers.as_json(results, {}))
    races = compare.load(path)
    shape = "A 784-128-64-32-10 relu b32 sgd"
    assert [(race.name, race.shape, race.contestants) for race in races] == [
        ("training step, 1 thread", shape, ("torch", "fastnn")),
        ("training step, 2 threads", shape, ("torch", "fastnn")),
    ]
    assert races[0].medians == pytest.approx(
        {"torch": 600e-6, "fastnn": 75e-6}
    )  # the median of the medians of the rounds
    assert races[1].factor("fastnn") == pytest.approx(8)
    assert main(["compare", str(path)]) == 0
    assert f"training step, 1 thread   {shape}  600 us  75.0 us  8.0x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not a valid JSON file"),
        ("{", "is not a valid JSON file"),
        ("[1, 2]", "must hold a JSON object"),
        ('{"benchmarks": {}}', "was not written by pytest-benchmark"),
        ('{"benchmarks": []}', "has no benchmarks"),
    ],
)
def test_load_errors_name_the_file_and_the_reason(tmp_path, content, reason):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"other\.json.* {reason}"):
        compare.load(path)


def test_load_rejects_binary_files(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match=r"picture\.png is not a valid JSON file"):
        compare.load(path)


def test_load_of_a_missing_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        compare.load(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (7, "race, shape and contestant"),
        ({"name": "test_x"}, "race, shape and contestant"),
        ({**RUN[0], "extra_info": {}}, "race, shape and contestant"),
        ({**RUN[0], "extra_info": {**RUN[0]["extra_info"], "shape": [32]}}, "race, shape and contestant"),
        ({**RUN[0], "stats": None}, "a positive median in seconds"),
        ({**RUN[0], "stats": {"median": 0.0}}, "a positive median in seconds, not 0.0"),
        ({**RUN[0], "stats": {"median": "fast"}}, "a positive median in seconds, not 'fast'"),
        ({**RUN[0], "stats": {"median": float("nan")}}, "a positive median in seconds, not nan"),
        (RUN[1], "jit ran twice in the race dense_dx 32x784x128"),
    ],
)
def test_load_errors_name_the_benchmark(run, entry, reason):
    path = run({"benchmarks": [RUN[1], entry]})
    with pytest.raises(ValueError, match=rf"run\.json, benchmark .*: .*{reason}"):
        compare.load(path)


def test_plot_writes_a_picture(races, tmp_path):
    from matplotlib.image import imread

    picture = compare.plot(races, tmp_path / "speedups.png")
    assert picture == tmp_path / "speedups.png"
    pixels = imread(picture)[..., :3]
    assert (pixels[0, 0] == 1).all(), "the background is not white"
    assert pixels.std() > 0.05, "the picture is empty"


def test_labels_do_not_overlap(run, tmp_path, monkeypatch):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
    long = [benchmark("training_step", "784-128-64-32-10 b32", name, 1e-3) for name in ("numpy", "aot")]
    compare.plot(compare.load(run({"benchmarks": RUN + long})), tmp_path / "speedups.png")
    (figure,) = figures
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)

    texts = list(figure.legends[0].get_texts())
    for axes in figure.axes:
        left, right = axes.get_xlim()
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        texts += [label for tick, label in ticks if left <= tick <= right]
        title = axes.get_title(loc="left")
        texts += [text for text in axes.findobj(Text) if text.get_text() == title]
        texts += [*axes.get_yticklabels(), *axes.texts]
        # The names of the fastest contestants are beside the dots, not among them.
        assert all(text.get_window_extent(renderer).x0 > axes.bbox.x1 for text in axes.texts)
    labels = {text.get_text() for text in texts}
    assert {"dense_dx  32x784x128", "gradient  4-4-4", "aot 8.0x", "1x", "naive-paths"} <= labels
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    for index, (label, box) in enumerate(boxes):
        assert box.x0 >= 0, f"{label!r} is cut off"
        assert box.x1 <= figure.bbox.x1, f"{label!r} is cut off"
        for other, other_box in boxes[:index]:
            assert not box.overlaps(other_box), f"{label!r} overlaps {other!r}"


def test_plot_without_matplotlib_raises_an_error_that_says_what_to_install(races, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "fastnn.viz._figure", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[demo\]'"):
        compare.plot(races, tmp_path / "speedups.png")


def test_table_does_not_import_matplotlib():
    code = "import sys; from fastnn.measure import compare; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
