"""Exported models: valid ONNX, and the same outputs in onnxruntime."""

import json

import numpy as np
import pytest

import fastnn as fn
from fastnn.onnx.layer_writers import WRITERS

from .cases import inputs_of, layers, nets, outputs_of, randomized, samples

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

CASES = {**layers(), **nets()}

# Layers that `export_onnx` refuses by name.
WITHOUT_COUNTERPART = {"Layer"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def run(path, x):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("opset", [17, 20, 21])
@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_agrees_with_predict(name, opset, layout, path):
    model, shape = CASES[name]
    model = randomized(model)
    assert fn.export_onnx(model, path, opset=opset, input_shape=shape, layout=layout) == path
    onnx.checker.check_model(onnx.load(path), full_check=True)
    for count in (1, 5):
        x = samples(model, shape, count)
        y = model.predict(x)
        given, expected = (inputs_of(model, x), outputs_of(model, y)) if layout == "nchw" else (x, y)
        np.testing.assert_allclose(run(path, given), expected, rtol=1e-5, atol=1e-5)


def test_every_layer_has_a_case():
    """A new layer needs a row in WRITERS and a case here, or a reason."""
    tested = {type(model) for model, _ in layers().values()}
    assert tested == set(WRITERS)
    kinds = {value for value in vars(fn).values() if isinstance(value, type) and issubclass(value, fn.Layer)}
    assert {kind.__name__ for kind in kinds - tested} <= WITHOUT_COUNTERPART


@pytest.mark.parametrize("name", [name for name, (model, _) in CASES.items() if model.parameters()])
def test_float64_models_stay_float64(name, path):
    """The runtime lacks float64 for some operators. The reference of the package onnx has it, with a few
    constants in float32.
    """
    from onnx.reference import ReferenceEvaluator

    model, shape = CASES[name]
    if name == "ConvTranspose2d":
        pytest.skip("the reference of onnx 1.23 has no groups in ConvTranspose")
    model = randomized(model).to("f8")
    try:
        fn.export_onnx(model, path, input_shape=shape, opset=20)
        x = samples(model, shape, dtype=np.float64)
        found = ReferenceEvaluator(onnx.load(path)).run(None, {"input": inputs_of(model, x)})[0]
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, outputs_of(model, model.predict(x)), rtol=1e-6, atol=1e-6)
    finally:
        model.to("f4")


WITHOUT_TRANSPOSE = ["mnist_cnn", "flatten-linear", "flatten-norms", "residual", "mlp-of-images"]
WITHOUT_TRANSPOSE += ["rows", "tokens-flat"]


@pytest.mark.parametrize("name", WITHOUT_TRANSPOSE)
def test_nothing_is_transposed_when_the_graph_runs(name, path):
    model, shape = CASES[name]
    fn.export_onnx(model, path, input_shape=shape)
    assert "Transpose" not in operators(path)
    fn.export_onnx(model, path, input_shape=shape, layout="nhwc")
    assert operators(path).count("Transpose") <= 1


@pytest.mark.parametrize(
    ("model", "shape", "given", "returned"),
    [
        (fn.Sequential(fn.Conv1d(3, 4, 2), fn.LayerNorm(4)), (5, 3), [3, 5], [4, 4]),
        (fn.Sequential(fn.GELU(), fn.Residual(fn.BatchNorm1d(3))), (5, 3), [3, 5], [3, 5]),
        (fn.Sequential(fn.LayerNorm(3)), (5, 3), [5, 3], [5, 3]),
        (fn.Sequential(fn.Flatten(), fn.Linear(15, 2)), (5, 3), [5, 3], [2]),
        (fn.Sequential(fn.Embedding(9, 4), fn.ReLU()), (5,), [5], [5, 4]),
        (fn.Sequential(fn.Embedding(9, 4), fn.Conv1d(4, 6, 1)), (5,), [5], [6, 5]),
    ],
)
def test_sequences_have_their_channels_first_where_layers_take_them_so(model, shape, given, returned, path):
    """As in PyTorch: (N, C, L) for convolutions, pools, batch and group norm, (N, L, C) for layer norm."""
    fn.export_onnx(model, path, input_shape=shape)
    graph = onnx.load(path).graph
    sides = [
        [side.dim_value for side in value.type.tensor_type.shape.dim[1:]]
        for value in (*graph.input, *graph.output)
    ]
    assert sides == [given, returned]
    is_index = graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    assert is_index == isinstance(model[0], fn.Embedding)


def test_dropout_is_left_out_and_the_batch_is_dynamic(path):
    model = fn.Sequential(fn.Linear(3, 2), fn.Dropout(0.5), fn.ReLU())
    fn.export_onnx(model, path)
    assert operators(path) == ["Gemm", "Relu"]
    graph = onnx.load(path).graph
    assert [side.dim_param for side in graph.input[0].type.tensor_type.shape.dim] == ["N", ""]
    assert [value.name for value in (*graph.input, *graph.output)] == ["input", "output"]


def test_metadata_hold_classes_and_feeding(path):
    x, y = np.arange(60, dtype=np.uint8).reshape(20, 3), np.array(["no", "yes"])[np.arange(20) % 2]
    model = fn.Sequential(fn.Linear(3, 2))
    fn.fit(model, (x, y), epochs=1, seed=0, progress=False)
    fn.export_onnx(model, path)
    record = json.loads({each.key: each.value for each in onnx.load(path).metadata_props}["fastnn"])
    assert record["classes"] == ["no", "yes"]
    assert record["feeding"]["scale"] == 1 / 255
    twin = fn.import_onnx(path)
    assert twin.predict_classes(x).tolist() == model.predict_classes(x).tolist()
    np.testing.assert_allclose(twin.predict(x), model.predict(x), rtol=1e-6)


def test_export_is_deterministic(path):
    model = fn.Linear(3, 2)
    contents = {fn.export_onnx(model, path).read_bytes() for _ in range(2)}
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"opset": 16}, "opset must be an integer from 17 to"),
        ({"opset": 1000}, "opset must be"),
        ({"opset": True}, "opset must be"),
        ({"layout": "chwn"}, "unknown layout 'chwn': choose one of nchw, nhwc"),
        ({"input_shape": (4,)}, "expects samples of shape"),
        ({"input_shape": (0,)}, "a size of input_shape must be an integer of at least 1"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, words, path):
    with pytest.raises(ValueError, match=words):
        fn.export_onnx(fn.Linear(3, 2), path, **arguments)
    assert not path.exists()


def test_unknown_shape_must_be_passed(path):
    with pytest.raises(ValueError, match=r"pass it, as in input_shape=\(28, 28, 1\)"):
        fn.export_onnx(fn.Sequential(fn.Flatten(), fn.Linear(4, 2)), path)


def test_layers_without_counterpart_are_named(path):
    class Mine(fn.ReLU):
        pass

    for layer in (fn.elementwise(lambda x: x, lambda x, dy: dy), Mine()):
        with pytest.raises(ValueError, match="has no counterpart in ONNX: export_onnx takes AvgPool1d, "):
            fn.export_onnx(fn.Sequential(fn.Linear(3, 2), layer), path)
    with pytest.raises(TypeError, match="export_onnx takes layers"):
        fn.export_onnx("model", path)


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    fn.export_onnx(fn.Linear(3, 2), path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        fn.export_onnx(fn.Linear(4, 2), path)
    assert path.read_bytes() == before


def test_missing_package_names_the_command(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    for call in (lambda: fn.export_onnx(fn.Linear(3, 2), path), lambda: fn.import_onnx(path)):
        with pytest.raises(ImportError, match="pip install onnx"):
            call()
