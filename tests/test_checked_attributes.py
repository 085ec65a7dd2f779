"""An attribute that is assigned later passes the same checks as in the constructor."""

import inspect
import math
import pickle

import numpy as np
import pytest

import fastnn as fn
from fastnn import schedules
from fastnn._attributes import Declared


def subclasses(cls):
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


def model():
    return fn.Sequential(fn.Linear(3, 4), fn.ReLU())


# What the constructors need besides their defaults.
ARGUMENTS = {
    fn.Param: {"value": np.ones(2)},
    fn.Linear: {"in_features": 2, "out_features": 3},
    fn.Conv2d: {"in_channels": 2, "out_channels": 4, "filter_size": 3},
    fn.Conv1d: {"in_channels": 2, "out_channels": 4, "filter_size": 3},
    fn.ConvTranspose2d: {"in_channels": 2, "out_channels": 4, "filter_size": 3},
    fn.Embedding: {"num_embeddings": 5, "embedding_dim": 2},
    fn.MaxPool1d: {"window": 2},
    fn.AvgPool1d: {"window": 2},
    fn.GroupNorm: {"groups": 2, "channels": 4},
    fn.MaxPool2d: {"window": 2},
    fn.AvgPool2d: {"window": 2},
    fn.BatchNorm1d: {"channels": 4},
    fn.BatchNorm2d: {"channels": 4},
    fn.LayerNorm: {"shape": 4},
    fn.Residual: {"branch": fn.ReLU()},
    fn.StopWhenStill: {"norm": 1e-5},
    fn.Trainer: {"model": model()},
    fn.Checkpoint: {"path": "checkpoint"},
    fn.CSVLogger: {"path": "log.csv"},
    fn.JSONLogger: {"path": "log.jsonl"},
    fn.TensorBoard: {"folder": "logs"},
    schedules.Step: {"every": 3},
    schedules.MultiStep: {"milestones": [1, 2]},
    schedules.Exponential: {"gamma": 0.5},
    schedules.Warmup: {"updates": 5},
}

PUBLIC = sorted(
    (
        kind
        for kind in subclasses(Declared)
        if kind.__module__.startswith("fastnn.")  # not the classes of other tests
        and kind.__name__ in {*fn.__all__, *vars(schedules)}
        and not inspect.isabstract(kind)
    ),
    key=lambda kind: kind.__name__,
)


def cases():
    """Yield (class, argument) for each constructor argument that is an attribute, too."""
    for kind in PUBLIC:
        if kind in (fn.Layer, fn.Callback, fn.Training, fn.Sequential, fn.Reshape, fn.Buffer):
            continue  # they have no arguments, many, or no public constructor
        owner = kind(**ARGUMENTS.get(kind, {}))
        for name in inspect.signature(kind).parameters:
            # `bias` is whether there is one; `monitor` alone does not tell the direction of `mode`.
            if hasattr(owner, name) and name not in ("value", "bias", "monitor"):
                yield pytest.param(kind, name, id=f"{kind.__name__}.{name}")


VALUES = [-5, -1, 0, 0.5, 1, 2, 3.5, 10**30, math.nan, math.inf, -math.inf, "x", "min", "sum", "tanh", "3"]
VALUES += [None, True, [1, -1], [0.5, 0.9], (2, 2), (9, 9), (0, 1, 2), np.float32(0.25), np.int64(3)]
VALUES += [np.ones(3), [math.nan], b"1", {}, "same", 1j, fn.ReLU(), fn.Adam, fn.Adam(), object()]


def same(a, b):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return a == b or repr(a) == repr(b)


@pytest.mark.parametrize(("kind", "name"), list(cases()))
@pytest.mark.filterwarnings("ignore")
def test_assignment_accepts_and_stores_what_the_constructor_does(kind, name):
    given = ARGUMENTS.get(kind, {})
    for value in VALUES:
        owner = kind(**given)
        before = dict(vars(owner))
        try:
            wanted = getattr(kind(**{**given, name: value}), name)
        except (TypeError, ValueError):
            with pytest.raises((TypeError, ValueError, AttributeError)):  # AttributeError: frozen, or fixed
                setattr(owner, name, value)
            assert vars(owner).items() >= before.items(), value
            continue
        try:
            setattr(owner, name, value)
        except AttributeError:  # frozen, or fixed
            assert vars(owner).items() >= before.items(), value
        else:
            assert same(getattr(owner, name), wanted), value


# The names of attributes that no constructor takes, and those that depend on each other.
@pytest.mark.parametrize(
    ("make", "name", "value", "error", "words"),
    [
        (fn.SGD, "momentum", -5, ValueError, r"momentum must be a finite number, at least 0, not -5"),
        (fn.SGD, "lr", math.nan, ValueError, "lr must be a finite number"),
        (fn.SGD, "nesterov", True, ValueError, "nesterov needs a momentum above 0"),
        (fn.SGD, "nesterov", "no", TypeError, "nesterov must be True or False, not 'no'"),
        (lambda: fn.SGD(momentum=0.9, nesterov=True), "momentum", 0, ValueError, "nesterov needs a momentum"),
        (fn.Adam, "betas", ("a", 0.9), ValueError, r"betas\[0\] must be in \[0, 1\), not 'a'"),
        (lambda: fn.Dropout(0.5), "rate", 2, ValueError, r"rate must be a finite number, in \[0, 1\], not 2"),
        (fn.Focal, "gamma", -1, ValueError, "gamma must be a finite number, at least 0, not -1"),
        (fn.CrossEntropy, "weight", [1, -1], ValueError, "class weights must be a list of finite numbers"),
        (fn.CrossEntropy, "reduction", "avg", ValueError, "unknown reduction 'avg'"),
        (fn.EarlyStopping, "patience", -1, ValueError, "patience must be an integer from 0"),
        (fn.EarlyStopping, "patience", 2.5, ValueError, "patience must be an integer from 0"),
        (fn.EarlyStopping, "mode", "best", ValueError, "unknown mode 'best'"),
        (lambda: fn.StopWhenStill(1e-5), "norm", -1, ValueError, "norm must be"),
        (fn.EMA, "decay", 1, ValueError, "decay must be below 1"),
        (lambda: fn.Checkpoint("x"), "seconds", -1, ValueError, "seconds must be a finite number"),
        (lambda: fn.Checkpoint("x"), "second", 5, AttributeError, "did you mean 'seconds'?"),
        (lambda: fn.Param(np.ones(2)), "lr_scale", -1, ValueError, "lr_scale must be a finite number"),
        (lambda: fn.Param(np.ones(2)), "decay_scale", "1", ValueError, "decay_scale must be a finite number"),
        (lambda: fn.MaxPool2d(2), "padding", 2, ValueError, "padding must be at most half of the window, 2"),
        (lambda: fn.MaxPool2d(4, padding=2), "window", 2, ValueError, "padding must be at most half"),
        (lambda: fn.Conv2d(2, 4, 3), "groups", 2, AttributeError, r"groups of Conv2d\(2, 4, 3\) cannot be "),
        (
            lambda: fn.BatchNorm1d(4),
            "channels",
            5,
            AttributeError,
            "cannot be changed: make a new BatchNorm1d",
        ),
        (model, "layers", ["relu"], TypeError, "Sequential takes layers, not 'relu'"),
    ],
)
def test_an_assigned_value_out_of_range_is_rejected(make, name, value, error, words):
    owner = make()
    before = dict(vars(owner))
    with pytest.raises(error, match=words):
        setattr(owner, name, value)
    assert vars(owner) == before


def test_assigned_geometry_is_converted_as_in_the_constructor():
    conv, pool = fn.Conv2d(1, 2, 3), fn.MaxPool2d(2)
    conv.padding, pool.stride = "same", 1
    assert conv.output_shape((8, 8, 1)) == (8, 8, 2)
    assert pool.output_shape((8, 8, 1)) == (7, 7, 1)


def test_the_direction_of_an_assigned_mode_is_found_by_the_name():
    stopping = fn.EarlyStopping("val_accuracy", mode="min")
    stopping.mode = "auto"
    assert stopping.mode == "max"


def test_a_subclass_keeps_the_checks_and_may_replace_them():
    class Scheduled(fn.SGD):
        """Keeps the checks of SGD."""

    class Own(fn.SGD):
        """Gives momentum another meaning."""

        momentum = None

    scheduled = pickle.loads(pickle.dumps(fn.SGD(momentum=0.5)))
    for owner in (Scheduled(), scheduled):
        with pytest.raises(ValueError, match="momentum"):
            owner.momentum = -1
    own = Own()
    own.momentum = "a schedule of momenta"
    assert own.momentum == "a schedule of momenta"


def test_a_changed_option_holds_from_the_next_step(blobs):
    x, y = blobs
    values = []
    for plan in (True, False):
        fn.manual_seed(0)
        net = fn.Sequential(fn.Linear(x.shape[1], 8), fn.Dropout(0.5), fn.Linear(8, 3))
        trainer = fn.Trainer(net, loss=fn.Focal(), optimizer=fn.SGD(0.1), seed=0, plan=plan)
        for _ in range(2):
            trainer.step(x, y)
        net[1].rate, trainer.loss.gamma, trainer.optimizer.momentum = 0.2, 1.0, 0.9
        values.append([trainer.step(x, y) for _ in range(3)])
    assert values[0] == values[1]


@pytest.mark.parametrize(
    "share",
    [
        lambda net: setattr(net, "layers", [net[0], net[0]]),
        lambda net: setattr(net[1], "weight", net[0].weight),
    ],
)
def test_a_parameter_that_is_shared_by_assignment_is_not_trained(share):
    net = fn.Sequential(fn.Linear(3, 3), fn.Linear(3, 3))
    share(net)
    with pytest.raises(
        ValueError, match=r"'1.weight' is the same object as '0.weight': a parameter may occur"
    ):
        fn.fit(net, (np.ones((4, 3)), [0, 1, 2, 0]))
