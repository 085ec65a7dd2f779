"""The measured peak and bandwidth: plausible values, the cache file, and `fastnn probe`."""

import json
import time

import numpy as np
import pytest

from fastnn.cli.main import main
from fastnn.kernels import core, cpu, load
from fastnn.measure import probe

NAMES = ["fma float32", "fma float64", "read L1", "update L1", "read L2", "update L2"]
NAMES += ["read L3", "update L3", "read memory", "update memory"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache folder of this test, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fastnn"


@pytest.fixture
def measured(monkeypatch):
    """The arguments of all measurements so far; measurement number n returns n."""
    calls = []

    def measure(*arguments, **options):
        calls.append((*arguments, *options.values()))
        return float(len(calls))

    monkeypatch.setattr(probe, "fma_gflops", measure)
    monkeypatch.setattr(probe, "bandwidth", measure)
    return calls


@pytest.fixture
def threads():
    """A function that sets the number of threads of the kernels; the fixture restores it after the test."""
    before = core.get_num_threads()
    yield core.set_num_threads
    core.set_num_threads(before)


# --- measuring ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_product_does_not_exceed_the_peak(threads, dtype):
    peak = probe.fma_gflops(1, dtype=dtype, repeats=10)
    size = 192
    x, y = np.ones((2, size, size), dtype)
    threads(1)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        load("aot")["dense_forward"](x, x, None, y)
        seconds.append(time.perf_counter() - start)
    assert 1 < 2 * size**3 / min(seconds) / 1e9 < 1.1 * peak


def test_the_float32_peak_is_twice_the_float64_peak():
    single, double = (probe.fma_gflops(1, dtype=dtype, repeats=20) for dtype in ("float32", "float64"))
    assert 1.5 < single / double < 2.5


@pytest.mark.parametrize("size", [2**14, 2**22])
@pytest.mark.parametrize("update", [False, True])
def test_bandwidth_is_plausible(size, update):
    assert 0.5 < probe.bandwidth(size, update=update, repeats=3) < 5000


@pytest.mark.parametrize("update", [False, True])
def test_bandwidth_counts_all_bytes(monkeypatch, update):
    from fastnn.kernels import probe as native

    name = "update_seconds" if update else "read_seconds"
    monkeypatch.setattr(native, name, lambda data, rounds: data.nbytes * rounds / 1e9)
    assert probe.bandwidth(2**20, update=update) == pytest.approx(2 if update else 1)


def test_the_peak_counts_all_threads(monkeypatch):
    from fastnn.kernels import probe as native

    monkeypatch.setattr(native, "fma_seconds", lambda sink, rounds: rounds / 1e9)
    assert probe.fma_gflops(3) == pytest.approx(3 * probe.fma_gflops(1))
    assert probe.fma_gflops(1) == pytest.approx(core.probe_flop("float32"))


def test_a_measurement_restores_the_number_of_threads(threads, monkeypatch):
    from fastnn.kernels import probe as native

    seen = []

    def note(*_):
        seen.append(core.get_num_threads())
        return 1.0

    def fail(*_):
        raise MemoryError

    threads(3)
    for name in ("fma_seconds", "read_seconds"):
        monkeypatch.setattr(native, name, note)
    probe.fma_gflops(2)
    probe.bandwidth(2**14, 1)
    assert set(seen[:20]) == {2}
    assert set(seen[20:]) == {1}
    assert core.get_num_threads() == 3
    monkeypatch.setattr(native, "fma_seconds", fail)
    with pytest.raises(MemoryError):
        probe.fma_gflops(1)
    assert core.get_num_threads() == 3


# --- saving ---


def test_figures_are_saved_and_read_again(measured, folder):
    found = probe.figures(2)
    assert list(found) == NAMES
    assert list(found.values()) == list(range(1, 11))
    assert measured[:2] == [(2, "float32"), (2, "float64")]
    assert measured[2:4] == [(2 * 2**14, 2), (2 * 2**14, 2, True)]
    assert json.loads(probe.cache_file(2).read_text()) == found
    assert [path.parent for path in folder.iterdir()] == [folder]  # one file, and no temporary file
    assert probe.figures(2) == found
    assert len(measured) == 10


def test_fresh_figures_are_measured_again_and_saved(measured):
    first = probe.figures()
    again = probe.figures(fresh=True)
    assert list(again.values()) == list(range(11, 21))
    assert probe.figures() == again != first


def test_each_thread_count_and_instruction_set_has_its_own_file(measured):
    before = core.isa()
    try:
        files = set()
        for isa in cpu.supported():
            core.select_isa(isa)
            files |= {probe.cache_file(1), probe.cache_file(2)}
            probe.figures()
    finally:
        core.select_isa(before)
    assert len(files) == 2 * len(cpu.supported())
    assert len(measured) == 10 * len(cpu.supported())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"fma float32": 1.0',
        b"\xff\xfe",
        b"[1.0]",
        b"{}",
        json.dumps(dict.fromkeys(NAMES[:-1], 1.0)).encode(),
        json.dumps(dict.fromkeys(NAMES, "fast")).encode(),
    ],
    ids=["empty", "cut off", "no text", "a list", "no figures", "one is missing", "no numbers"],
)
def test_a_damaged_file_is_measured_again_and_replaced(measured, folder, content):
    folder.mkdir()
    probe.cache_file(1).write_bytes(content)
    found = probe.figures()
    assert len(measured) == 10
    assert probe.figures() == found
    assert len(measured) == 10


def test_an_unwritable_cache_does_not_prevent_measurements(measured, tmp_path, folder):
    folder.write_text("a file in the place of the folder")
    assert list(probe.figures()) == list(probe.figures()) == NAMES
    assert len(measured) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["fastnn"]


def test_user_without_a_home_folder_has_no_cache(measured, homeless, capsys):
    assert list(probe.figures()) == list(probe.figures()) == NAMES
    assert len(measured) == 20
    assert main(["probe", "--threads", "1"]) == 0
    assert "not saved: the user has no home folder" in capsys.readouterr().out


# --- printing ---


def test_the_command_prints_heading_table_and_cache_folder(measured, folder, capsys):
    assert main(["probe", "--threads", "1", "3"]) == 0
    heading, header, *rows, last = capsys.readouterr().out.splitlines()
    assert heading.endswith(f", instruction set {core.isa()}")
    assert len(heading) > len(f", instruction set {core.isa()}")
    assert header.split() == ["1", "thread", "3", "threads"]
    assert rows[0] == "fma float32                1.0          11.0  GFLOP/s"
    assert rows[2] == "read L1                    3.0          13.0  GB/s"
    assert [row[:16].strip() for row in rows] == NAMES
    assert {len(row[:44]) for row in [header, *rows]} == {44}  # the columns are aligned
    assert last == f"saved in {folder}; use --fresh to measure again"


def test_fresh_makes_the_command_measure_again(measured, capsys):
    command = ["probe", "--threads", "2", "2"]  # a repeated count has one column
    counts = []
    for options in ([], [], ["--fresh"]):
        assert main([*command, *options]) == 0
        counts.append(len(measured))
    assert counts == [10, 10, 20]
    assert capsys.readouterr().err == ""


def test_the_default_thread_counts_are_one_and_all(measured, threads, capsys):
    for available, columns in ((1, ["1", "thread"]), (5, ["1", "thread", "5", "threads"])):
        threads(available)
        assert main(["probe"]) == 0
        assert capsys.readouterr().out.splitlines()[1].split() == columns
        assert core.get_num_threads() == available


def test_the_command_reports_an_unwritable_cache(measured, folder, capsys):
    folder.write_text("a file in the place of the folder")
    assert main(["probe", "--threads", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"not saved: cannot write to {folder}"


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_the_command_rejects_invalid_thread_counts(measured, capsys, count):
    with pytest.raises(SystemExit) as exit_:
        main(["probe", "--threads", count])
    assert exit_.value.code == 2
    assert "threads" in capsys.readouterr().err
    assert not measured
