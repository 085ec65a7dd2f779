"""`fastnn export` and `fastnn import`."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.cli.main import main
from tests.cli.own_files import flowers, houses

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on the digits of scikit-learn."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    assert main(["train", "digits", "--epochs", "1", "--out", str(folder)]) == 0
    return folder


def test_a_run_goes_out_and_comes_back(run, tmp_path, capsys):
    path = tmp_path / "net.onnx"
    assert main(["export", str(run), str(path), "--opset", "18", "--layout", "nhwc"]) == 0
    model = onnx.load(path)
    assert model.opset_import[0].version == 18
    sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == [0, 8, 8, 1]
    assert main(["import", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "Sequential(Flatten(), Linear(64, 64), ReLU()" in printed
    assert str(tmp_path / "net.safetensors") in printed
    twin = fn.load(tmp_path / "net.safetensors")
    assert main(["export", str(tmp_path / "net.safetensors"), str(path)]) == 0
    assert repr(fn.import_onnx(path)) == repr(twin)
    _, (x, y) = fn.data.digits()
    assert np.mean(twin.predict_classes(x) == y) > 0.5


def test_the_graph_of_a_table_takes_standardized_features_as_a_note_says(tmp_path, capsys):
    flowers(tmp_path / "f.csv")
    houses(tmp_path / "h.csv")
    features = "note: the graph takes features as data.json describes them: (value - mean) / std, and 0 or 1"
    for name, label, task in (("f.csv", "species", "classification"), ("h.csv", "price", "regression")):
        out = tmp_path / task
        options = ["--label", label, "--task", task, "--epochs", "1", "--out", str(out)]
        drop = ["--drop", "id"] if label == "species" else []
        assert main(["train", str(tmp_path / name), *options, *drop]) == 0
        assert "data.json" not in capsys.readouterr().err
        assert main(["export", str(out), str(tmp_path / "net.onnx")]) == 0
        error = capsys.readouterr().err
        assert features in error
        assert ("its output is (value - mean) / std of the label" in error) == (task == "regression")


def test_runs_on_images_need_no_note(run, tmp_path, capsys):
    assert main(["export", str(run), str(tmp_path / "net.onnx")]) == 0
    assert capsys.readouterr().err == ""


def test_options_of_import(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    fn.export_onnx(fn.Sequential(fn.Conv2d(3, 2, 3)), path, input_shape=(5, 6, 3))
    out = tmp_path / "other.safetensors"
    arguments = ["--out", str(out), "--input-shape", "3,5,6", "--layout", "nchw"]
    assert main(["import", str(path), *arguments]) == 0
    assert out.exists()


def test_errors_end_with_code_1(run, tmp_path, capsys):
    for arguments, words in (
        (["export", str(tmp_path), "x.onnx"], "has no finished run"),
        (["export", str(run), str(tmp_path / "x.onnx"), "--layout", "hwc"], "unknown layout"),
        (["import", str(run / "history.json")], "it is no ONNX file"),
        (["import", str(tmp_path / "missing.onnx")], "No such file"),
    ):
        assert main(arguments) == 1
        assert words in capsys.readouterr().err
