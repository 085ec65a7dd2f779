"""Descriptions of architectures: round trips of every layer, the code of `repr`, invalid descriptions."""

import json

import numpy as np
import pytest

import fastnn as fn
from fastnn.architecture import LAYERS, MOST_NESTED, build, describe
from fastnn.layers import Activation, Elementwise, Layer
from fastnn.layers import __all__ as public
from fastnn.training.fingerprint import describe as settings

# Arguments other than the defaults, for every layer of the table.
EXAMPLES = [
    fn.AvgPool2d((2, 3), 1, (1, 0)),
    fn.BatchNorm1d(3, 1e-3, 0.2, dtype="float64"),
    fn.BatchNorm2d(4, affine=False),
    fn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, dilation=2, groups=2, bias=False),
    fn.Conv2d(1, 2, 3, padding=((0, 1), (0, 1)), dtype=np.float64),
    fn.Conv2d(1, 2, 3, padding=((1, 1), (2, 2))),
    fn.Conv2d(1, 2, (2, 3), padding="same"),
    fn.Dropout(1 / 3),
    fn.ELU(0.7),
    fn.Flatten(),
    fn.GELU("tanh"),
    fn.GlobalAvgPool2d(),
    fn.Identity(),
    fn.LayerNorm((2, 3), 1e-3),
    fn.LayerNorm(3, affine=False),
    fn.LeakyReLU(0.1 + 0.2),
    fn.Linear(3, 4, bias=False, weight_init="he_normal", dtype=np.float64),
    fn.MaxPool2d(3, stride=2, padding=1),
    fn.MaxPool2d(3, stride=3),
    fn.ReLU(),
    fn.Reshape(2, -1, 3),
    fn.Residual(fn.Sequential(fn.Linear(4, 6), fn.Tanh(), fn.Linear(6, 4))),
    fn.Residual(fn.Linear(4, 2), fn.Linear(4, 2, bias=False)),
    fn.Sequential(),
    fn.Sequential(fn.Sequential(fn.Linear(2, 3)), fn.Sequential(fn.Sequential(), fn.ReLU())),
    fn.SiLU(),
    fn.Sigmoid(),
    fn.Softmax(),
    fn.Tanh(),
]
NETS = [
    fn.nets.mlp([6, 5, 3], activation="gelu", dropout=0.2),
    fn.nets.mnist_cnn((8, 8)),
    fn.nets.mlp([4, 3], activation="leaky_relu").to(np.float64),
]


def kinds(spec):
    """The names of all layers in a description."""
    if isinstance(spec, dict):
        own = [spec["layer"]] if "layer" in spec else []
        return own + [name for value in spec.values() for name in kinds(value)]
    return [name for item in spec for name in kinds(item)] if isinstance(spec, list) else []


def held(model):
    return {name: (p.shape, p.dtype) for name, p in (*model.named_parameters(), *model.named_buffers())}


def test_table_has_every_public_layer():
    """A layer that is missing cannot be loaded from a file: add it to `LAYERS`, and an example above."""
    classes = [each for name in public if isinstance(each := getattr(fn.layers, name), type)]
    layers = {kind for kind in classes if issubclass(kind, Layer)}
    assert set(LAYERS.values()) == layers - {Layer, Activation, Elementwise}
    assert {name for example in EXAMPLES for name in kinds(describe(example))} == set(LAYERS)


@pytest.mark.parametrize("model", EXAMPLES + NETS, ids=lambda model: repr(model)[:40])
def test_description_and_repr_rebuild_the_model(model):
    spec = describe(model)
    built, evaluated = build(json.loads(json.dumps(spec))), eval(repr(model), dict(vars(fn)))
    for twin in (built, evaluated):
        assert type(twin) is type(model)
        assert repr(twin) == repr(model)
        assert settings(twin) == settings(model)
        assert describe(twin) == spec
        assert held(twin) == held(model)


def test_alexnet_is_described():
    spec = describe(fn.nets.alexnet(2, form="two_groups", weight_init="zeros"))
    assert spec["arguments"]["layers"][3]["arguments"]["groups"] == 2


def test_a_layer_that_occurs_again_stays_one_object():
    shared = fn.BatchNorm1d(3, affine=False)
    model = fn.Sequential(fn.Linear(3, 3), shared, fn.Sequential(fn.ReLU(), shared))
    built = build(describe(model))
    assert built[1] is built[2][1]
    assert built[1] is not shared


class Scale(fn.Layer):
    """A layer of a user, which keeps its arguments under their names."""

    def __init__(self, size, *inner, factor=2.0, **more):
        self.size, self.inner, self.factor = size, inner, factor
        self.more = more

    def arguments(self):
        return {"size": self.size, "inner": self.inner, "factor": np.float64(self.factor), **self.more}

    def forward(self, x, *, train=False):
        return x * self.factor, lambda dy, need_dx=True: dy * self.factor


def test_layers_of_users():
    model = fn.Sequential(Scale(2, fn.ReLU(), fn.Tanh(), factor=0.5, name="a"))
    spec = json.loads(json.dumps(describe(model)))
    assert spec["arguments"]["layers"][0]["custom"] is True
    built = build(spec, {"Scale": Scale})[0]
    assert (built.size, built.factor, built.more) == (2, 0.5, {"name": "a"})
    assert [type(layer) for layer in built.inner] == [fn.ReLU, fn.Tanh]
    with pytest.raises(ValueError, match=r"model.layers\[0\] is a layer of a user's own class 'Scale': pass"):
        build(spec)


def test_a_user_class_with_the_name_of_a_layer_is_not_taken_for_it():
    namesake = type("ReLU", (Scale,), {"forward": Scale.forward})
    assert type(build(describe(namesake(2)), {"ReLU": namesake})) is namesake
    with pytest.raises(ValueError, match="user's own class 'ReLU'"):
        build(describe(namesake(2)))


class Square(fn.Linear):
    """Inherits `arguments` from a layer with another constructor."""

    def __init__(self, units, keeps=True):
        super().__init__(units, units)
        if keeps:
            self.units, self.keeps = units, keeps


def test_subclass_with_another_constructor():
    assert repr(Square(3)) == "Square(3)"
    assert describe(Square(3))["arguments"] == {"units": 3, "keeps": True}
    assert repr(Square(3, False)) == "Square(...)"
    with pytest.raises(TypeError, match="Square does not keep its argument units"):
        describe(Square(3, False))


class Forgetful(fn.Layer):
    def __init__(self, units):
        self.shape = (units,)

    def forward(self, x, *, train=False):
        return x, lambda dy, need_dx=True: dy


class Strange(fn.Layer):
    def __init__(self, units):
        self.units = units

    def forward(self, x, *, train=False):
        return x, lambda dy, need_dx=True: dy


def nested(depth):
    model = fn.Sequential()
    for _ in range(depth):
        model = fn.Sequential(model)
    return model


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (Forgetful(3), TypeError, "model: Forgetful does not keep its argument units: assign it to an"),
        (fn.Residual(Forgetful(3)), TypeError, "model.branch: Forgetful does not keep"),
        (Strange(np.zeros(3)), TypeError, r"model.units is array\(.*: a file holds numbers, text, layers"),
        (Strange({"a": 1}), TypeError, r"model.units is {'a': 1}"),
        (Strange([1, [len]]), TypeError, r"model.units\[1\]\[0\] is <built-in function len>"),
        (fn.elementwise(abs, lambda x, dy: dy), TypeError, "makes a layer of Python functions"),
        (nested(MOST_NESTED), ValueError, "is nested deeper than 64"),
    ],
)
def test_models_without_a_description_are_rejected(model, error, words):
    with pytest.raises(error, match=words):
        describe(model)


def test_repr_of_a_layer_with_unknown_arguments():
    assert repr(Forgetful(3)) == "Forgetful(...)"
    assert repr(Scale(2, fn.ReLU())) == "Scale(2, ReLU())"


def layer(name, **arguments):
    return {"layer": name, "arguments": arguments}


DEEP = {"layer": "Sequential", "arguments": {"layers": []}}
for _ in range(500):
    DEEP = {"layer": "Sequential", "arguments": {"layers": [DEEP]}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([], "model must be an object"),
        ({"layer": 3, "arguments": {}}, "model.layer must be a text"),
        ({"layer": "ReLU"}, "model.arguments is missing"),
        (layer("Swish"), "model is a layer 'Swish', which fastnn does not have: it has AvgPool2d, Batch"),
        (layer("os.system", command="true"), "which fastnn does not have"),
        (layer("Layer"), "which fastnn does not have"),
        (layer("ReLU", slope=1), "model: ReLU has no argument 'slope', but none"),
        (layer("Linear", in_features=3), "model is not a valid Linear: .*out_features"),
        (layer("Linear", in_features=0, out_features=1), "is not a valid Linear: in_features must be an int"),
        (layer("Linear", in_features=1, out_features=1, weight_init="ones"), "has no argument 'weight_init'"),
        (layer("Linear", in_features=1, out_features=1, dtype="),,"), "model.dtype must be float32 or"),
        (layer("Linear", in_features=1, out_features=1, dtype=[]), "model.dtype must be float32 or"),
        (layer("Dropout", rate=layer("ReLU")), "is not a valid Dropout: rate must be"),
        (layer("Dropout", rate=10**400), "is not a valid Dropout"),
        (layer("Sequential", layers="ab"), "model.layers must be a list, got 'ab'"),
        (layer("Sequential", layers=[3]), "is not a valid Sequential: Sequential takes layers, not 3"),
        (layer("Residual", branch=layer("Linear", in_features=-1, out_features=1)), "model.branch is not"),
        (layer("Sequential", layers=[{"same_as": 0}]), r"layers\[0\] is the same layer as number 0, of 0"),
        ({"same_as": "0"}, "is the same layer as number '0'"),
        (layer("Reshape", shape=[[[[]]]]), "is not a valid Reshape"),
        (DEEP, "is nested deeper than 64"),
    ],
)
def test_invalid_descriptions_are_rejected(spec, words):
    with pytest.raises(ValueError, match=words):
        build(spec)


@pytest.mark.parametrize("custom", [[Scale], {"Scale": Scale(1)}, {1: Scale}, {"Scale": len}, "Scale"])
def test_custom_must_have_layer_classes_by_name(custom):
    with pytest.raises(TypeError, match="custom must be a dict of layer classes by name"):
        build(layer("ReLU"), custom)
