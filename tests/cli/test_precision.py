"""The setting `precision`: it reaches the training, and an error names a processor that lacks it."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.cli import settings_file, train_run
from fastnn.cli.main import main
from fastnn.kernels import core, cpu

SHORT = "dataset: digits\nlayers: [64, 10]\nepochs: 1\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(SHORT)
    return tmp_path


@pytest.fixture
def without_bf16():
    """The compiled kernels of a processor without AVX512_BF16."""
    isa, lowest = core.isa(), cpu.supported()[-1]
    if lowest == "v4":
        pytest.skip("only v4 is built")
    core.select_isa(lowest)
    yield
    core.select_isa(isa)


def weights(run):
    return fn.load(run / train_run.WEIGHTS).parameters()[0].value


def test_flag_and_settings_file_train_in_bf16(here):
    reference = ["--backend", "ref", "--micro-batch", "20"]
    assert main(["train", "config.yaml", "--out", "float32", *reference]) == 0
    assert main(["train", "config.yaml", "--out", "flag", "--precision", "bf16", *reference]) == 0
    (here / "bf16.yaml").write_text(f"{SHORT}precision: bf16\nbackend: ref\nmicro_batch: 20\n")
    assert main(["train", "bf16.yaml", "--out", "file"]) == 0
    exact, *others = (weights(here / run) for run in ("float32", "flag", "file"))
    np.testing.assert_array_equal(*others)
    assert 2.0**-14 < np.abs(others[0] - exact).max() < 2.0**-5


def test_sweep_over_precision_and_pieces_trains_each_point(here):
    (here / "config.yaml").write_text(f"{SHORT}backend: ref")
    grid = ["--grid", "precision=bf16", "micro-batch=10,32", "--seeds", "0:1", "--out", "sweep"]
    assert main(["sweep", "config.yaml", *grid]) == 0
    study = fn.Study.load(here / "sweep" / "study.json")
    ends = {member.point["micro_batch"]: member.history["loss"][-1] for member in study.members}
    settings = settings_file.changed(
        settings_file.read(here / "config.yaml"), {"precision": "bf16", "validation": 0.1}
    )
    for size in (10, 32):
        chosen = settings_file.changed(settings, {"micro_batch": size})
        with fn.backend("ref"):
            history = fn.fit(**arguments(chosen), progress=False)
        assert ends[size] == history["loss"][-1]
    assert ends[10] != ends[32]


def arguments(settings):
    loaded = train_run.load(settings)
    return train_run.fit_arguments(settings, *train_run.prepared(settings, loaded))


@pytest.mark.parametrize(
    "words",
    [
        ["train", "bf16.yaml", "--out", "run"],
        ["train", "bf16.yaml", "--find-lr"],
        ["sweep", "bf16.yaml", "--grid", "batch_size=16,32", "--out", "run"],
        ["sweep", "config.yaml", "--grid", "precision=bf16", "--out", "run"],
    ],
)
def test_processor_without_bf16_is_named_before_anything_is_written(here, capsys, without_bf16, words):
    (here / "bf16.yaml").write_text(f"{SHORT}precision: bf16")
    before = sorted(here.iterdir())
    with fn.backend("aot"):
        assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastnn: error: bf16 needs a processor with AVX512_BF16")
    assert 'emulate it, slowly, with the backend "ref"' in error
    assert sorted(here.iterdir()) == before


def test_run_in_bf16_is_read_on_any_processor(here, capsys, without_bf16):
    options = ["--precision", "bf16", "--backend", "ref", "--out", "run"]
    assert main(["train", "config.yaml", *options]) == 0
    config = here / "run" / "config.json"
    config.write_text(config.read_text().replace('"backend": "ref"', '"backend": null'))
    with fn.backend("aot"):
        assert main(["evaluate", "run"]) == 0
    assert "accuracy" in capsys.readouterr().out
