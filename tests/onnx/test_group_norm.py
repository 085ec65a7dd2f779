"""Group norm in ONNX files below opset 21, which have no such operator: the nodes that PyTorch writes."""

import warnings

import numpy as np
import pytest

import fastnn as fn

onnx = pytest.importorskip("onnx")

SCALES = np.arange(1, 4, dtype=np.float32)


def pytorch_nets():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.GroupNorm(2, 6), nn.ReLU())

        def forward(self, x):
            return x + self.branch(x)

    return {
        "images": (
            nn.Sequential(nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6, 2**-10), nn.ReLU()),
            (2, 6, 5),
            "Conv2d(2, 6, 3), GroupNorm(3, 6, epsilon=0.0009765625), ReLU()",
        ),
        "of the input": (nn.Sequential(nn.GroupNorm(2, 6, affine=False)), (6, 3, 4), "GroupNorm(2, 6)"),
        "one group": (nn.Sequential(nn.GroupNorm(1, 6)), (6, 3, 4), "GroupNorm(1, 6)"),
        "instances": (nn.Sequential(nn.GroupNorm(6, 6)), (6, 3, 4), "GroupNorm(6, 6)"),
        "features": (
            nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(3, 6), nn.Linear(6, 2)),
            (4,),
            "Linear(4, 6), GroupNorm(3, 6), Linear(6, 2)",
        ),
        "sequences": (
            nn.Sequential(nn.Conv1d(4, 6, 1), nn.GroupNorm(2, 6)),
            (4, 7),
            "Conv1d(4, 6, 1), GroupNorm(2, 6)",
        ),
        "residual": (
            nn.Sequential(Block(), nn.Flatten(), nn.Linear(72, 2)),
            (6, 3, 4),
            "Residual(Sequential(Conv2d(6, 6, 3, padding=1), GroupNorm(2, 6), ReLU())), Flatten(), "
            "Linear(72, 2)",
        ),
    }


NETS = ("images", "of the input", "one group", "instances", "features", "sequences", "residual")


@pytest.mark.parametrize("opset", [14, 20])
@pytest.mark.parametrize("name", NETS)
def test_group_norm_of_pytorch_is_one_layer(name, opset, tmp_path):
    net, shape, layers = pytorch_nets()[name]
    import torch

    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in net.parameters():
            param.uniform_(0.5, 1.5, generator=rng)
    x = torch.randn(3, *shape, generator=rng)
    axes = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), x, tmp_path / "net.onnx", dynamo=False, opset_version=opset, **axes)
    model = fn.import_onnx(tmp_path / "net.onnx", layout="nchw")
    assert repr(model) == f"Sequential({layers})"
    expected = net(x).detach().numpy()
    found = model.predict(np.ascontiguousarray(np.moveaxis(x.numpy(), 1, -1)))
    if found.ndim > 2:
        found = np.moveaxis(found, -1, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def graph(nodes, shape, path, *, output="y", split=(0, 3, -1), joined=(0, 6, 2, 2), opset=18):
    """A file with the nodes, samples of this shape, and the constants that the nodes of a group norm need."""
    constants = {
        "split": np.array(split),
        "joined": np.array(joined),
        "scale": SCALES,
        "bias": -SCALES,
    }
    values = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *shape])]
    made = onnx.helper.make_graph(
        nodes,
        "graph",
        values,
        [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", opset)]), path)
    return path


def group_norm():
    return [
        onnx.helper.make_node("Reshape", ["x", "split"], ["groups"]),
        onnx.helper.make_node("InstanceNormalization", ["groups", "scale", "bias"], ["normal"]),
        onnx.helper.make_node("Reshape", ["normal", "joined"], ["y"]),
    ]


@pytest.mark.parametrize("joined", [(0, 6, 2, 2), (-1, 6, 2, 2)])
def test_scales_and_biases_of_the_groups_are_those_of_their_channels(joined, tmp_path):
    model = fn.import_onnx(graph(group_norm(), (6, 2, 2), tmp_path / "a.onnx", joined=joined))
    assert repr(model) == "Sequential(GroupNorm(3, 6))"
    np.testing.assert_array_equal(model[0].gamma.value, [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(model[0].beta.value, [-1, -1, -2, -2, -3, -3])


@pytest.mark.parametrize("options", [{"joined": (0, 3, 4, 2)}, {"split": (0, 4, -1)}], ids=str)
def test_groups_that_are_not_joined_as_they_were_are_refused(options, tmp_path):
    with pytest.raises(fn.ModelFormatError, match="node"):
        fn.import_onnx(graph(group_norm(), (6, 2, 2), tmp_path / "a.onnx", **options))


def test_groups_with_a_second_reader_are_refused(tmp_path):
    nodes = group_norm()
    for op, inputs, output in (
        ("Reshape", ["normal", "split"], "again"),
        ("Reshape", ["again", "joined"], "z"),
        ("Add", ["y", "z"], "sum"),
    ):
        nodes.append(onnx.helper.make_node(op, inputs, [output]))
    with pytest.raises(fn.ModelFormatError, match="would have to be transposed"):
        fn.import_onnx(graph(nodes, (6, 2, 2), tmp_path / "a.onnx", output="sum"))


def test_instance_norm_of_features_that_become_sequences_stays(tmp_path):
    """Linear, Reshape, InstanceNormalization and a convolution are no group norm."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.conv = nn.Linear(5, 12), nn.Conv1d(3, 2, 2)
            self.norm = nn.InstanceNorm1d(3, affine=True)

        def forward(self, x):
            return self.conv(self.norm(self.linear(x).reshape(-1, 3, 4)))

    net = Net()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), x, tmp_path / "net.onnx", dynamo=False, opset_version=17)
    model = fn.import_onnx(tmp_path / "net.onnx")
    found = np.moveaxis(model.predict(x.numpy()), -1, 1)
    np.testing.assert_allclose(found, net(x).detach().numpy(), rtol=1e-4, atol=1e-5)
