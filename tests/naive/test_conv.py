"""The naive convolutions meet the specification of the kernels, and their gradients those of the layer."""

import numpy as np
import pytest

import fastnn as fn
from fastnn import naive
from fastnn.kernels import load
from fastnn.naive import conv as naive_conv

from ..kernels.case import Arrays
from ..kernels.cases import CONVOLUTIONS
from ..kernels.convolution import Convolution

WAYS = ("loops", "shifts", "columns")
# Images and filters that are not square, with different strides, paddings and dilations for rows and columns.
ASYMMETRIC = Convolution((2, 9, 8, 3), (3, 2, 4), stride=(2, 3), padding=(2, 1), dilation=(1, 2))
SMALL = [ASYMMETRIC] + [conv for conv in CONVOLUTIONS if np.prod(conv.columns) * conv.filters[2] < 40_000]
PAIRS = [(way, conv) for conv in SMALL for way in WAYS if way == "loops" or conv.groups == 1]


def arguments(conv, bias, dtype=np.float64):
    """{kernel: (name of the naive function, its arguments)}; outputs start with wrong values."""
    a = Arrays(dtype, whole=False)
    x, w, dy, b = a(*conv.images), a(*conv.weights), a(*conv.outputs), a(conv.filters[2])
    outputs = a.poison(*conv.outputs), a.poison(*conv.images), a.poison(*conv.weights)
    return {
        "conv_forward": ("forward", (x, w, b if bias else None, *conv.steps, outputs[0])),
        "conv_dx": ("dx", (dy, w, *conv.steps, outputs[1])),
        "conv_dw": ("dw", (x, dy, *conv.steps, outputs[2])),
    }


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(("way", "conv"), PAIRS, ids=str)
def test_naive_convolutions_meet_the_specification(way, conv, bias):
    expected, got = arguments(conv, bias), arguments(conv, bias)
    for kernel, (name, given) in got.items():
        load("ref")[kernel](*expected[kernel][1])
        getattr(naive_conv, f"{name}_{way}")(*given)
        pairs = zip(given, expected[kernel][1], strict=True)
        for argument, want in (pair for pair in pairs if isinstance(pair[0], np.ndarray)):
            # This includes the inputs, which must not change.
            np.testing.assert_allclose(argument, want, 1e-12, 1e-12, err_msg=kernel)


def test_the_cases_cover_all_options():
    seen = [conv for way, conv in PAIRS if way == "columns"]
    for odd in ("stride", "padding", "dilation"):
        assert len({getattr(conv, odd) for conv in seen}) > 2
    assert {conv.groups for way, conv in PAIRS if way == "loops"} == {1, 2, 3, 4, 5}
    assert any(0 in conv.images for conv in seen)


@pytest.mark.parametrize("way", WAYS)
def test_float32_is_preserved(way):
    conv = ASYMMETRIC
    for kernel, (name, given) in arguments(conv, True, np.float32).items():
        expected = arguments(conv, True, np.float32)[kernel][1]
        load("ref")[kernel](*expected)
        getattr(naive_conv, f"{name}_{way}")(*given)
        assert given[-1].dtype == np.float32
        np.testing.assert_allclose(given[-1], expected[-1], 1e-5, 1e-5)


@pytest.mark.parametrize("way", ["shifts", "columns"])
def test_only_the_loops_support_groups(way):
    for name, given in arguments(Convolution((2, 6, 7, 4), (3, 3, 6), groups=2), True).values():
        with pytest.raises(
            ValueError, match=r"the filters have 2 channels and the images 4: only .* support groups"
        ):
            getattr(naive_conv, f"{name}_{way}")(*given)


def test_the_gradient_of_one_weight_equals_the_sum_by_hand():
    """One image, one weight: 1 * 10 + 3 * 20 + 9 * 30 + 11 * 40."""
    x = np.arange(1.0, 17).reshape(1, 4, 4, 1)
    dy, dw = np.array([10.0, 20, 30, 40]).reshape(1, 2, 2, 1), np.empty((1, 1, 1, 1))
    naive_conv.dw_loops(x, dy, (2, 2), (0, 0), (1, 1), dw)
    assert dw[0, 0, 0, 0] == 780


def test_dw_loops_agree_with_central_differences(monkeypatch):
    """A small model whose filter gradients are computed by the chain rule for each weight separately."""
    model = fn.Sequential(
        fn.Conv2d(2, 3, 3, stride=2, padding=1), fn.Tanh(), fn.Flatten(), fn.Linear(3 * 3 * 2, 4)
    ).to(np.float64)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 5, 4, 2)), rng.integers(4, size=3)
    expected = naive.central_differences(model, data)
    with fn.backend("ref"):
        monkeypatch.setitem(load("ref"), "conv_dw", naive_conv.dw_loops)
        fn.gradients(model, data)
    assert expected.keys() == {"0.weight", "0.bias", "3.weight", "3.bias"}
    for name, param in model.named_parameters():
        np.testing.assert_allclose(param.grad, expected[name], 0, 1e-8, err_msg=name)
