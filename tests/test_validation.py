"""Argument checks: invalid input raises an error that says what to do, and no state changes."""

import copy
import warnings

import numpy as np
import pytest

import fastnn as fn
from fastnn._validation import choose

X = np.random.default_rng(0).normal(size=(8, 6))
Y = np.arange(8) % 3

UNKNOWN_BACKEND = "unknown backend 'cuda': choose one of aot, jit, ref$"


class Broken(fn.Layer):
    """A user-defined layer that raises in its forward or in its backward pass."""

    def __init__(self, fails_in):
        self.fails_in = fails_in

    def forward(self, x, *, train=False):
        if self.fails_in == "forward":
            raise ZeroDivisionError("broken")

        def backward(dy, *, need_dx=True):
            raise ZeroDivisionError("broken")

        return x, backward


@pytest.fixture
def trained(make_model):
    """A float64 model with dropout and its Adam optimizer, after two updates (so that all have state)."""
    model, optimizer = make_model(rate=0.5, dtype=np.float64), fn.Adam()
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1)
    for _ in range(2):
        trainer.step(X, Y)
    return model, optimizer


@pytest.fixture(params=["fit", "validation", "step", "evaluate", "gradients"])
def use(request, trained):
    """Each entry point that takes data, for the trained model, as a function of the data."""
    model, optimizer = trained
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1)
    options = {"optimizer": optimizer, "seed": 9}
    return {
        "fit": lambda data: fn.fit(model, data, **options),
        "validation": lambda data: fn.fit(model, (X, Y), validation=data, **options),
        "step": lambda data: trainer.step(*data),
        "evaluate": lambda data: fn.evaluate(model, data),
        "gradients": lambda data: fn.gradients(model, data),
    }[request.param]


BAD_DATA = {
    "feature count": (
        X[:, :5],
        Y,
        ValueError,
        r"layer 0: Linear\(6, 16.*\) expects samples of .*\(6,\), got \(5,\)",
    ),
    "rank too high": (X[:, :, None], Y, ValueError, r"got \(6, 1\): put fn.Flatten\(\) in front"),
    "single sample": (X[0], Y[:1], ValueError, r"got \(6,\): for a single sample pass x\[None\]"),
    "scalar": (1.0, 1, ValueError, r"x must have shape \(samples, features...\)"),
    "empty batch": (X[:0], Y[:0], ValueError, r"x is an empty batch of shape \(0, 6\)"),
    "complex": (X + 0j, Y, TypeError, "x must hold real numbers, but its dtype is complex128"),
    "text": (X.astype(str), Y, TypeError, "x must hold real numbers, but its dtype is <U"),
    "objects": (X.astype(object), Y, TypeError, "x must hold real numbers, but its dtype is object"),
    "too few labels": (
        X,
        Y[:7],
        ValueError,
        "x has 8 samples, but y has 7 targets: pass one target per sample",
    ),
    "no labels": (X, Y[:0], ValueError, "x has 8 samples, but y has 0 targets"),
    "one label": (X, 1, ValueError, r"y is a single target, but x has 8 samples: pass x\[None\], y\[None\]"),
    "label too large": (X, Y + 2, ValueError, r"labels must lie in 0..2 .*, but there is a label 4$"),
    "labels from 1": (X, Y + 1, ValueError, "there is a label 3: are the labels counted from 1?"),
    "negative label": (X, Y - 1, ValueError, "there is a label -1$"),
    "float labels": (X, Y.astype(float), TypeError, r"labels must be integers, .* use y.astype\(int\)"),
    "one-hot width": (X, np.eye(4)[Y], ValueError, r"rows of shape \(N, 3\), got \(8, 4\)"),
    "label column": (
        X,
        Y[:, None],
        ValueError,
        r"labels of shape \(N,\) or rows of shape \(N, 3\), got \(8, 1\)",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_invalid_data_raises_and_changes_nothing(case, use, trained, unchanged):
    x, y, error, message = BAD_DATA[case]
    with unchanged(*trained), pytest.raises(error, match=message):
        use((x, y))


@pytest.mark.parametrize(
    "data", [None, 3, X[0], (X,), (X, Y, None, Y)], ids=["none", "number", "array", "one", "four"]
)
def test_data_that_is_not_a_pair_is_rejected(data, trained, unchanged):
    with unchanged(*trained), pytest.raises(TypeError, match=r"data must be a pair of arrays \(x, y\)"):
        fn.fit(trained[0], data, optimizer=trained[1])


@pytest.mark.parametrize("case", ["feature count", "single sample", "empty batch", "complex"])
def test_predict_rejects_invalid_data(case, make_model):
    x, _, error, message = BAD_DATA[case]
    with pytest.raises(error, match=message.replace("layer 0: ", "")):
        make_model().predict(x)


BAD_OPTIONS = {
    "loss": (
        {"loss": "cosine"},
        ValueError,
        r"unknown loss 'cosine': choose one of absolute_error, .*, squared_error$",
    ),
    "loss class": ({"loss": fn.CrossEntropy}, TypeError, r"pass an instance, CrossEntropy\(\)"),
    "optimizer": (
        {"optimizer": "sdg"},
        ValueError,
        "unknown optimizer 'sdg': choose one of adam, adamw, rmsprop, sgd$",
    ),
    "optimizer class": ({"optimizer": fn.SGD}, TypeError, r"pass an instance, SGD\(lr=...\)"),
    "nonfinite": (
        {"on_nonfinite": "skip"},
        ValueError,
        "unknown on_nonfinite 'skip': .* ignore, raise, stop$",
    ),
    "no reduction": (
        {"loss": fn.CrossEntropy(reduction="none")},
        ValueError,
        'choose the reduction "mean", "batch_mean" or "sum"',
    ),
    "batch size 0": ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1, not 0"),
    "batch size 2.5": (
        {"batch_size": 2.5},
        ValueError,
        "batch_size must be an integer of at least 1, not 2.5",
    ),
    "no epochs": ({"epochs": 0}, ValueError, "epochs must be an integer of at least 1, not 0"),
    "seed": ({"seed": -1}, ValueError, "a seed must be a non-negative integer, not -1"),
    "weights": ({"loss": fn.CrossEntropy(weight=[1, 2])}, ValueError, "2 class weights for 3 classes"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_invalid_options_of_fit_raise_and_change_nothing(case, trained, unchanged):
    options, error, message = BAD_OPTIONS[case]
    with unchanged(*trained), pytest.raises(error, match=message):
        fn.fit(trained[0], (X, Y), **{"optimizer": trained[1], "seed": 9, **options})


@pytest.mark.parametrize("case", ["loss", "loss class"])
@pytest.mark.parametrize("function", [fn.evaluate, fn.gradients])
def test_evaluate_and_gradients_reject_an_invalid_loss(function, case, make_model):
    options, error, message = BAD_OPTIONS[case]
    with pytest.raises(error, match=message):
        function(make_model(), (X, Y), **options)


def test_gradients_rejects_unreduced_losses(make_model):
    with pytest.raises(ValueError, match='choose the reduction "mean", "batch_mean" or "sum"'):
        fn.gradients(make_model(), (X, Y), loss=fn.CrossEntropy(reduction="none"))


@pytest.mark.parametrize(
    "model", [fn.Linear, "model", None, np.ones((6, 3))], ids=["class", "text", "none", "array"]
)
@pytest.mark.parametrize("function", [fn.fit, fn.evaluate, fn.gradients])
def test_non_models_are_rejected(function, model):
    with pytest.raises(TypeError, match=r"model must be a layer such as fn.Sequential\(...\), not"):
        function(model, (X, Y))


def test_unknown_activation_error_lists_the_valid_names():
    with pytest.raises(ValueError, match=r"unknown activation 'swish': .* elu, gelu, .*, softmax, tanh$"):
        choose("swish", fn.layers.ACTIVATIONS, "activation")


def test_unknown_backend_error_lists_the_valid_names():
    with pytest.raises(ValueError, match=UNKNOWN_BACKEND), fn.backend("cuda"):
        pass


# ---- warnings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "data"), [(fn.fit, {"data": (X, Y)}), (fn.Trainer, {})])
@pytest.mark.parametrize("nested", [False, True])
def test_softmax_before_a_loss_on_logits_warns_at_the_callers_line(nested, function, data):
    model = fn.Sequential(fn.Linear(6, 3), fn.Sequential(fn.Softmax()) if nested else fn.Softmax())
    with pytest.warns(
        UserWarning, match=r"ends with Softmax\(\), but .* expects logits .* remove that layer"
    ) as caught:
        function(model, **data)
    assert [warning.filename for warning in caught] == [__file__]


def test_softmax_elsewhere_does_not_warn():
    fn.Trainer(fn.Sequential(fn.Linear(6, 3), fn.Softmax()), loss="squared_error")
    fn.Trainer(fn.Sequential(fn.Linear(6, 3), fn.Softmax(), fn.Linear(3, 3)), loss="cross_entropy")


@pytest.fixture
def pixels():
    """Eight uint8 images of 28x28 pixels."""
    return np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype=np.uint8)


@pytest.fixture
def image_model():
    return fn.Sequential(fn.Flatten(), fn.Linear(784, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_unscaled_pixels_warn_at_the_callers_line(pixels, image_model, dtype):
    with pytest.warns(
        UserWarning, match="features reach 255 and look like unscaled pixels: .* divide them by 255"
    ) as caught:
        fn.fit(image_model, (pixels.astype(dtype), Y))
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda x: x, {}),
        (lambda x: x / 255, {}),
        (lambda x: x.astype(float), {"scale": 1 / 255}),
        (lambda x: (x - 128.0) / 64, {}),
        (lambda x: np.floor(x / 16.0), {}),
        (lambda x: x * 1000.0, {}),
        (lambda x: 0.5 * x + 0.25, {}),
        (lambda x: x - 128.0, {}),
    ],
    ids=["bytes", "unit", "scaled", "standard", "sixteen grey", "large", "fractions", "signed"],
)
def test_plausible_data_do_not_warn(pixels, image_model, change, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fn.fit(image_model, (change(pixels), Y), optimizer=fn.SGD(lr=1e-9), **options)


# ---- NaN and infinity --------------------------------------------------------------------------------


def with_nonfinite_element(value):
    """X with one element replaced by `value`."""
    x = X.copy()
    x[5, 2] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "raise"}], ids=["default", "raise"])
@pytest.mark.parametrize("entry_point", ["fit", "validation", "step", "target"])
def test_nonfinite_data_raise_and_change_nothing(entry_point, options, value, trained, unchanged):
    model, optimizer = trained
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1, **options)
    rows = np.eye(3)[Y]
    rows[5, 2] = value
    calls = {
        "fit": lambda: fn.fit(
            model, (with_nonfinite_element(value), Y), optimizer=optimizer, seed=9, **options
        ),
        "validation": lambda: fn.fit(
            model,
            (X, Y),
            validation=(with_nonfinite_element(value), Y),
            optimizer=optimizer,
            seed=9,
            **options,
        ),
        "step": lambda: trainer.step(with_nonfinite_element(value), Y),
        "target": lambda: trainer.step(X, rows),
    }
    message = (
        f"1 value of {'y' if entry_point == 'target' else 'x'} is NaN or inf, {value} in row 5, column 2"
    )
    if entry_point == "validation":
        message = f"^validation data: {message}"
    with unchanged(model, optimizer), pytest.raises(fn.NonFiniteError, match=message):
        calls[entry_point]()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_data_stop_and_change_nothing(value, trained, unchanged):
    model, optimizer = trained
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1, on_nonfinite="stop")
    with unchanged(model, optimizer):
        trainer.step(with_nonfinite_element(value), Y)
    with unchanged(model, optimizer):
        history = fn.fit(
            model, (with_nonfinite_element(value), Y), optimizer=optimizer, seed=9, on_nonfinite="stop"
        )
    assert f"1 value of x is NaN or inf, {value} in row 5, column 2; repair" in history.stopped
    assert history == {}


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_data_train_with_on_nonfinite_ignore(value, trained):
    model, optimizer = trained
    history = fn.fit(model, (with_nonfinite_element(value), Y), optimizer=optimizer, on_nonfinite="ignore")
    assert history.stopped is None
    assert np.isnan(model[0].weight.value).any()


ignore_overflow = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")


@pytest.fixture
def overflow(trained):
    """A function on_nonfinite -> the history of a fit whose second batch (of four) has an infinite loss."""
    targets = np.zeros((8, 3))
    targets[2:4] = 1e300  # finite, but its square is not
    model, optimizer = trained
    options = {"loss": "squared_error", "optimizer": optimizer, "batch_size": 2, "shuffle": False, "seed": 1}
    return lambda on_nonfinite: fn.fit(model, (X, targets), on_nonfinite=on_nonfinite, **options)


@pytest.fixture
def after_first_batch(trained, snapshot):
    """The state of the trained model and its optimizer after one more valid batch."""
    model, optimizer = copy.deepcopy(trained)
    fn.Trainer(model, loss="squared_error", optimizer=optimizer, seed=1).step(X[:2], np.zeros((2, 3)))
    return snapshot(model, optimizer)


@ignore_overflow
def test_infinite_loss_raises_and_its_batch_changes_nothing(overflow, trained, after_first_batch, snapshot):
    with pytest.raises(
        fn.NonFiniteError, match=r"the loss is inf at update 2: lower the learning rate .* changed nothing"
    ):
        overflow("raise")
    assert snapshot(*trained) == after_first_batch


@ignore_overflow
def test_infinite_loss_stops_and_its_batch_changes_nothing(overflow, trained, after_first_batch, snapshot):
    history = overflow("stop")
    assert history.stopped.startswith("the loss is inf at update 2")
    assert (len(history.updates["loss"]), history.epochs) == (1, 0)
    assert snapshot(*trained) == after_first_batch
    assert fn.fit(trained[0], (X, Y), history=history).stopped is None


@ignore_overflow
def test_infinite_loss_trains_on_with_on_nonfinite_ignore(overflow):
    history = overflow("ignore")
    assert history.stopped is None
    assert (len(history.updates["loss"]), history.epochs) == (4, 1)
    assert np.isinf(history.updates["loss"][1])


@pytest.mark.parametrize("on_nonfinite", ["raise", "stop"])
def test_nan_loss_in_a_step_changes_nothing(on_nonfinite, trained, unchanged):
    model, optimizer = trained
    model[3].bias.value = [0, np.nan, 0]
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1, on_nonfinite=on_nonfinite)
    with unchanged(model, optimizer):
        if on_nonfinite == "stop":
            assert np.isnan(trainer.step(X, Y))
        else:
            with pytest.raises(fn.NonFiniteError, match="the loss is nan"):
                trainer.step(X, Y)


def test_nonfinite_error_is_a_floating_point_error():
    assert issubclass(fn.NonFiniteError, FloatingPointError)


@pytest.mark.parametrize("fails_in", ["forward", "backward"])
@pytest.mark.parametrize("function", ["step", "gradients"])
def test_step_that_fails_in_a_user_defined_layer_changes_nothing(function, fails_in, trained, unchanged):
    net, optimizer = trained
    model = fn.Sequential(fn.Dropout(0.5), *net, Broken(fails_in))
    trainer = fn.Trainer(model, optimizer=optimizer, seed=1)
    with unchanged(model, optimizer), pytest.raises(ZeroDivisionError):
        trainer.step(X, Y) if function == "step" else fn.gradients(model, (X, Y))
