"""Damaged and dangerous ONNX files end in a clean error, before memory or time is spent."""

import os

import numpy as np
import pytest

import fastnn as fn

from .fuzz import fuzz

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FUZZ = 400


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def weight(name, array):
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def write(path, nodes, weights=(), shape=("N", 3), change=None, outputs=("y",)):
    """Write a graph from "x" to "y"; a node is (operator, inputs, outputs, attributes)."""
    helper = onnx.helper
    made = [
        helper.make_node(op, inputs.split(), outs.split(), name=f"node{index}", **attributes)
        for index, (op, inputs, outs, attributes) in enumerate(nodes)
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    ys = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    model = helper.make_model(
        helper.make_graph(made, "test", [x], ys, list(weights)),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    if change:
        change(model)
    path.write_bytes(model.SerializeToString())


RELU = ("Relu", "x", "y", {})
W = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("nodes", "weights", "words"),
    [
        (
            [("Foo", "x", "y", {})],
            {},
            r"node 'node0' \(Foo\): this operator is not supported. Supported are Add",
        ),
        ([("Relu", "x", "y", {"beta": 1})], {}, r"\(Relu\): unknown attribute 'beta': supported are none"),
        (
            [("Gemm", "x w", "y", {"gamma": 1.0})],
            {"w": W},
            "supported are alpha, beta, broadcast, transA, tran",
        ),
        (
            [("Gemm", "x w", "y", {"alpha": 1})],
            {"w": W},
            "the attribute alpha is 1, which has the wrong type",
        ),
        (
            [("Relu", "z", "y", {})],
            {},
            "no input, weight or earlier node gives 'z': it is missing, or the gr",
        ),
        ([("Relu", "y", "z", {}), ("Relu", "z", "y", {})], {}, "or the graph has a cycle"),
        ([RELU, RELU], {}, "its output 'y' exists already"),
        ([("Gemm", "x w", "y", {})], {"w": W.T}, r"a matrix of shape \(2, 3\) does not fit samples of shape"),
        ([("Gemm", "x", "y", {})], {}, "input 1 is missing"),
        ([("MatMul", "x x", "y", {})], {}, "the others must be constants"),
        ([("Relu", "x", "a", {}), ("Mul", "a x", "y", {})], {}, "as a part of SiLU or GELU"),
        (
            [
                *(("Mul", "x f", "a", {}), ("Identity", "a", "b", {}), ("Sigmoid", "b", "c", {})),
                *(("Mul", "b c", "d", {}), ("Gemm", "d w", "y", {})),
            ],
            {"f": 3, "w": W},
            "its input needs a factor, which only a layer with weights can apply",
        ),
        (
            [("LeakyRelu", "x", "y", {"alpha": -1.0})],
            {},
            "slope must be a finite number, at least 0, not -1.0",
        ),
        ([("Clip", "x low high", "y", {})], {"low": 0.0, "high": 6.0}, "only min=0 without max"),
        ([("Transpose", "x", "y", {"perm": [1, 0]})], {}, "perm must have the axes 0 to 1, the batch first"),
        ([("Reshape", "x s", "y", {})], {"s": [-1, 2**40]}, "do not fit the shape"),
        ([("Softmax", "x", "y", {"axis": 0})], {}, "axis must be 1"),
        ([("Add", "x w", "y", {})], {"w": np.ones((5, 3))}, "more than one value per channel"),
        (
            [("Add", "x w", "y", {})],
            {"w": np.ones(3)},
            "must follow a Linear layer, a convolution or ",
        ),
    ],
)
def test_unsupported_graphs_are_named(nodes, weights, words, path):
    arrays = {
        name: np.asarray(value, np.int64 if name == "s" else np.float32) for name, value in weights.items()
    }
    write(path, nodes, [weight(*item) for item in arrays.items()])
    with pytest.raises(fn.ModelFormatError, match=words):
        fn.import_onnx(path)


def of_integers(model):
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Relu", "x", "y", {})], "its input needs an embedding, which only Cast, Flatten, Gather"),
        ([("Identity", "x", "y", {})], "the output needs an embedding"),
        ([("MatMul", "x w", "y", {})], "its input needs an embedding"),
        ([("Add", "x x", "y", {})], "is integers, which only an embedding can take"),
        ([("Mul", "x f", "a", {}), ("Gather", "w a", "y", {})], "is integers, which only an embedding"),
        ([("Relu", "x", "a", {}), ("Gather", "w a", "y", {})], "its input needs an embedding|integers"),
        ([("Less", "x n", "y", {})], "supported for the indices of an embedding"),
        (
            [("Less", "f x", "a", {}), ("Add", "x n", "b", {}), ("Where", "a b x", "y", {})],
            r"as Where\(x < 0, x \+ count, x\)",
        ),
        ([("Cast", "x", "y", {"to": 1})], "not to data type 1 here"),
        ([("Gather", "x n", "y", {})], "its second input must depend on the input of the graph"),
        ([("Gather", "w x", "y", {"axis": 1})], r"not for an array of float32, \(3, 2\), on axis 1"),
        ([("Gather", "v x", "y", {})], r"not for an array of float32, \(3,\), on axis 0"),
        ([("Gather", "n x", "y", {})], "not for an array of int64"),
        ([("Gather", "w x", "a", {}), ("Gather", "w a", "y", {})], "its indices must be integers"),
    ],
)
def test_integers_are_only_indices(nodes, words, path):
    arrays = {"w": W, "v": W[:, 0], "n": np.arange(4).reshape(2, 2), "f": np.float32(3)}
    write(path, nodes, [weight(*item) for item in arrays.items()], change=of_integers)
    with pytest.raises(fn.ModelFormatError, match=words):
        fn.import_onnx(path)


def test_indices_out_of_the_range_of_an_imported_embedding_are_refused(path):
    write(path, [("Gather", "w x", "y", {})], [weight("w", W)], change=of_integers)
    model = fn.import_onnx(path)
    assert model.predict(np.array([[0, 2, 1]], np.uint8)).shape == (1, 3, 2)
    with pytest.raises(ValueError, match="3"):
        model.predict(np.array([[0, 3, 1]]))


@pytest.mark.parametrize(
    "node",
    [
        ("ConstantOfShape", "n", "w", {}),
        ("Tile", "v n", "w", {}),
        ("Expand", "v n", "w", {}),
    ],
)
def test_huge_constants_take_no_memory(node, path):
    sizes = {"n": np.array([2**20, 2**20]), "v": np.ones((1, 1), np.float32)}
    write(path, [node, ("MatMul", "x w", "y", {})], [weight(*item) for item in sizes.items()])
    with pytest.raises(
        fn.ModelFormatError, match=r"the constant would have 1,099,511,627,776 elements, more"
    ):
        fn.import_onnx(path)


def test_many_large_constants_are_limited_together(path):
    made = [("ConstantOfShape", "n", f"w{index}", {}) for index in range(40)]
    sums = [
        ("Add", f"w{index} {'w0' if index == 1 else f's{index - 1}'}", f"s{index}", {})
        for index in range(1, 40)
    ]
    write(path, [*made, *sums, ("Mul", "x s39", "y", {})], [weight("n", np.array([2**19]))])
    with pytest.raises(fn.ModelFormatError, match="the constants that the graph computes are too large"):
        fn.import_onnx(path)


def test_constants_that_grow_by_themselves_are_limited(path):
    nodes = [("Concat", f"w{index} w{index}", f"w{index + 1}", {"axis": 0}) for index in range(60)]
    write(path, [*nodes, ("Mul", "x w60", "y", {})], [weight("w0", np.ones(8, np.float32))])
    with pytest.raises(fn.ModelFormatError, match=r"too large|more than"):
        fn.import_onnx(path)


def test_nested_and_repeated_sums_end_in_time(path):
    doubled = [("Add", f"a{index} a{index}", f"a{index + 1}", {}) for index in range(300)]
    write(path, [("Relu", "x", "a0", {}), *doubled, ("Relu", "a300", "y", {})])
    assert len(fn.import_onnx(path)) == 302
    nested = [("Relu", f"a{index}", f"a{index + 1}", {}) for index in range(100)]
    sums = [
        ("Add", f"{'a100' if index == 99 else f's{index + 1}'} a{index}", f"s{index}", {})
        for index in range(99, -1, -1)
    ]
    write(path, [("Relu", "x", "a0", {}), *nested, *sums, ("Relu", "s0", "y", {})])
    with pytest.raises(fn.ModelFormatError, match="more than 40 residual connections are nested"):
        fn.import_onnx(path)


def test_shared_layers_are_refused(path):
    nodes = [
        *(("Gemm", "x w", "a", {}), ("Relu", "a", "b", {}), ("Tanh", "a", "c", {})),
        *(("Add", "b c", "d", {}), ("Add", "b d", "e", {}), ("Relu", "e", "y", {})),
    ]
    write(path, nodes, [weight("w", np.ones((3, 3), np.float32))])
    with pytest.raises(fn.ModelFormatError, match="two paths of the graph share the layers that compute 'b'"):
        fn.import_onnx(path)


def damaged_weight(change):
    def apply(model):
        change(model.graph.initializer[0])

    return apply


def external(tensor, **entries):
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: setattr(t, "raw_data", b"1234"), "weight 'w' is damaged"),
        (lambda t: t.dims.append(2**40), "weight 'w' is damaged"),
        (lambda t: t.dims.append(-1), "weight 'w' has a negative size"),
        (lambda t: setattr(t, "data_type", 8), r"its input 'w' is no tensor of real numbers"),
        (lambda t: setattr(t, "data_type", 77), r"its input 'w' is no tensor of real numbers"),
        (lambda t: external(t, location="../secret"), "must be in a file in the folder of the model, not in"),
        (lambda t: external(t, location="/etc/passwd"), "must be in a file in the folder of the model"),
        (lambda t: external(t, location="link"), "must be in a file in the folder of the model"),
        (lambda t: external(t, location="folder"), "must be in a file in the folder of the model"),
        (lambda t: external(t, location="gone"), "must be in a file in the folder of the model"),
        (lambda t: external(t, location="a\0b"), "damaged external data|must be in a file"),
        (lambda t: external(t, location="data", offset="-8"), "beyond the end of the file 'data'"),
        (lambda t: external(t, location="data", length="1000000000000"), "beyond the end of the file 'data'"),
        (lambda t: external(t, location="data", offset="x"), "has damaged external data"),
    ],
)
def test_damaged_weights_are_refused(change, words, tmp_path):
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(24))
    (folder / "data").write_bytes(bytes(24))
    os.symlink(tmp_path / "secret", folder / "link")
    path = folder / "model.onnx"
    write(path, [("Gemm", "x w", "y", {})], [weight("w", W)], change=damaged_weight(change))
    with pytest.raises(fn.ModelFormatError, match=words):
        fn.import_onnx(path)


def test_external_data_in_the_folder_are_read(path):
    path.with_name("data").write_bytes(b"\0" * 8 + W.tobytes())
    change = damaged_weight(lambda tensor: external(tensor, location="data", offset="8"))
    write(path, [("Gemm", "x w", "y", {})], [weight("w", W)], change=change)
    assert fn.import_onnx(path)[0].weight.value.tolist() == W.tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.graph.sparse_initializer.add(), "sparse weights, which are not supported"),
        (lambda m: setattr(m.opset_import[0], "version", 99), r"\(opset\) must be from 6 to 28, not 99"),
        (lambda m: m.ClearField("opset_import"), "not missing"),
        (lambda m: m.ClearField("graph"), "it has no graph"),
        (lambda m: m.graph.ClearField("input"), "no input, weight or earlier node gives 'x'"),
        (lambda m: m.graph.input.add(name="x2"), "the input 'x2' is no tensor with a shape"),
        (lambda m: m.graph.ClearField("output"), "choose one of the outputs of the graph"),
        (lambda m: setattr(m.graph.output[0], "name", "z"), "no node gives the output 'z'"),
        (lambda m: setattr(m.graph.output[0], "name", "x"), None),
        (
            lambda m: m.metadata_props.add(key="fastnn", value="[" * 10**5),
            "the metadata 'fastnn' are damaged",
        ),
        (lambda m: m.metadata_props.add(key="fastnn", value='{"classes": [1]}'), "metadata 'fastnn' are dam"),
        (lambda m: [m.graph.node.add(op_type="Relu") for _ in range(5001)], "more than 5,000"),
    ],
)
def test_damaged_graphs_are_refused(change, words, path):
    write(path, [RELU], change=change)
    if words is None:
        assert len(fn.import_onnx(path)) == 0
        return
    with pytest.raises(fn.ModelFormatError, match=words):
        fn.import_onnx(path)


@pytest.mark.parametrize("content", [b"", b"\x08", b"PK\x03\x04", b"\x3a" + b"\xff" * 9, b"{}", bytes(1000)])
def test_other_files_are_refused(content, path):
    path.write_bytes(content)
    with pytest.raises(fn.ModelFormatError, match="it is no ONNX file"):
        fn.import_onnx(path)
    with pytest.raises(FileNotFoundError):
        fn.import_onnx(path.with_name("missing"))


def test_shapes_that_are_not_fixed_must_be_passed(path):
    write(path, [RELU], shape=("N", 3, "h", "w"))
    with pytest.raises(
        fn.ModelFormatError, match=r"pass the shape of a sample .* input_shape=\(3, 224, 224\)"
    ):
        fn.import_onnx(path)
    assert len(fn.import_onnx(path, input_shape=(3, 4, 5))) == 1
    with pytest.raises(fn.ModelFormatError, match=r"samples of shape \(2, 4, 5\) do not fit"):
        fn.import_onnx(path, input_shape=(2, 4, 5))
    with pytest.raises(ValueError, match="unknown layout"):
        fn.import_onnx(path, layout="hwc")


def test_several_outputs_need_a_choice(path):
    write(path, [("Relu", "x", "y", {}), ("Tanh", "x", "z", {})], outputs=("y", "z"))
    with pytest.raises(
        fn.ModelFormatError, match=r"choose one of the outputs of the graph with output=\.\.\.: 'y'"
    ):
        fn.import_onnx(path)
    assert repr(fn.import_onnx(path, output="z")) == "Sequential(Tanh())"
    with pytest.raises(fn.ModelFormatError, match="no node gives the value 'q'"):
        fn.import_onnx(path, output="q")


def test_damaged_files_give_an_error_or_the_model_of_the_file():
    """400 files; `python -m tests.onnx.fuzz --count 5000` reads more."""
    outcomes = fuzz(FUZZ)
    assert set(outcomes) <= {"error", "equal", "unused by onnxruntime"}
    assert outcomes["error"] > FUZZ / 2
    assert outcomes["equal"] > 0
