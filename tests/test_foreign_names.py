"""Wrong arguments, and names of other libraries, raise errors that say what to write."""

import inspect

import pytest

import fastnn as fn
from fastnn import schedules


def model():
    return fn.Sequential(fn.Linear(3, 4), fn.ReLU(), fn.Linear(4, 2))


CALLS = {
    "activation": (
        lambda: fn.Linear(64, activation="relu"),
        "Linear.. got .* 'activation': activations are layers",
    ),
    "units": (lambda: fn.Linear(3, units=4), r"write out_features=\.\.\."),
    "use_bias": (lambda: fn.Linear(3, 4, use_bias=False), r"write bias=\.\.\."),
    "kernel_initializer": (lambda: fn.Linear(3, 4, kernel_initializer="zeros"), "write weight_init="),
    "missing": (
        lambda: fn.Linear(64),
        r"'out_features': write Linear\(in_features, out_features, \*, bias=True",
    ),
    "by position": (lambda: fn.Linear(3, 4, True), r"got 3 arguments by position: write Linear\(in_features"),
    "stride, padding": (lambda: fn.Conv2d(1, 8, 3, 1, 1), r"filter_size, \*, stride=1, padding=0"),
    "kernel_size": (lambda: fn.Conv2d(1, 8, kernel_size=3), r"write filter_size=\.\.\."),
    "pool_size": (lambda: fn.MaxPool2d(pool_size=2), r"write window=\.\.\."),
    "window": (lambda: fn.AvgPool2d(kernel_size=2), r"write window=\.\.\."),
    "input_shape": (lambda: fn.Flatten(input_shape=(28, 28)), "leave it out; the first layer is told"),
    "inplace": (lambda: fn.ReLU(inplace=True), "ReLU.. got .* 'inplace': leave it out"),
    "start_dim": (lambda: fn.Flatten(1), r"Flatten\(\) got 1 arguments by position: write Flatten\(\)"),
    "dim": (lambda: fn.Softmax(dim=1), "leave it out; the last axis"),
    "p": (lambda: fn.Dropout(p=0.5), r"write rate=\.\.\."),
    "eps": (lambda: fn.LayerNorm(3, eps=1e-6), r"write epsilon=\.\.\."),
    "negative_slope": (lambda: fn.LeakyReLU(negative_slope=0.1), r"write slope=\.\.\."),
    "learning_rate": (lambda: fn.SGD(learning_rate=0.1), r"SGD\(\) got .* 'learning_rate': write lr=\.\.\."),
    "beta_1": (lambda: fn.Adam(beta_1=0.9), r"write betas=\.\.\."),
    "epsilon": (lambda: fn.Adam(epsilon=1e-7), r"write eps=\.\.\."),
    "momentun": (lambda: fn.SGD(momentun=0.9), r"write momentum=\.\.\."),
    "parameters, lr": (
        lambda: fn.Adam(model().parameters(), lr=0.1),
        "optimizers take no parameters: write fn.fit",
    ),
    "parameters": (lambda: fn.SGD(model().parameters()), "optimizers take no parameters"),
    "named": (lambda: fn.SGD(model().named_parameters()), "optimizers take no parameters"),
    "groups": (lambda: fn.SGD([{"params": []}]), "optimizers take no parameters"),
    "params": (lambda: fn.SGD(params=[], lr=1), "optimizers take no parameters"),
    "model": (lambda: fn.AdamW(model()), "optimizers take no parameters"),
    "from_logits": (lambda: fn.CrossEntropy(from_logits=True), "leave it out; this loss takes logits"),
    "factor": (lambda: schedules.Plateau(factor=0.5), r"write gamma=\.\.\."),
    "of a dataclass": (lambda: schedules.Exponential(), r"missing .* 'gamma': write Exponential\(gamma\)"),
    "step_size": (lambda: schedules.Step(step_size=3), r"write every=\.\.\."),
    "patiens": (lambda: fn.EarlyStopping(patiens=3), r"write patience=\.\.\."),
    "step": (lambda: fn.SGD().step(), r"SGD.step\(\) missing .*write optimizer.step\(model.parameters\(\)\)"),
}


@pytest.mark.parametrize("case", CALLS.values(), ids=CALLS)
def test_wrong_arguments_say_the_right_ones(case):
    call, words = case
    with pytest.raises(TypeError, match=words):
        call()


def test_error_inside_a_constructor_stays_as_it_is():
    with pytest.raises(TypeError, match=r"^pass an instance, fn\.init\.Zeros"):
        fn.Linear(3, 4, weight_init=fn.init.Zeros)


@pytest.mark.parametrize("kind", [fn.Linear, fn.SGD, fn.EMA, fn.CrossEntropy], ids=lambda kind: kind.__name__)
def test_signatures_are_kept(kind):
    names = list(inspect.signature(kind).parameters)
    assert names
    assert not {"arguments", "keywords", "self"} & set(names)


# --- names of modules ---

NAMES = {
    "Dense": r"write fn.Linear\(in_features, out_features\)",
    "Conv2D": r"write fn.Conv2d\(",
    "nn": "layers are names of fastnn itself",
    "train": r"write fn.fit\(model",
    "CrossEntropyLoss": r"write fn.CrossEntropy\(\)",
    "MSELoss": "factor of 1/2",
    "tensor": "fastnn takes NumPy arrays",
    "DataLoader": "batch_size",
    "seed": r"fn.manual_seed\(seed\)",
    "Sequental": "did you mean 'Sequential'?",
    "save_": "did you mean 'save'?",
}


@pytest.mark.parametrize(("name", "words"), NAMES.items(), ids=NAMES)
def test_foreign_names_of_the_package_say_what_to_write(name, words):
    with pytest.raises(AttributeError, match=f"module 'fastnn' has no attribute '{name}': .*{words}"):
        getattr(fn, name)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("from fastnn import nn", "layers are names of fastnn itself"),
        ("from fastnn.layers import Flatten, Dense", r"write fn\.Linear\("),
        ("from fastnn.metrics import confusion_matrix as matrix", r"write fn\.metrics\.confusion\("),
        ("from fastnn.optim import lr_scheduler", r"fn\.schedules"),
        ("from fastnn import Sequental", r"did you mean 'Sequential'\?"),
    ],
)
def test_imports_of_foreign_names_say_what_to_write(statement, words):
    name = statement.split("import ")[1].split(", ")[-1].split()[0]
    with pytest.raises(ImportError, match=f"cannot import name '{name}' from 'fastnn.*': .*{words}"):
        exec(statement, {})


def test_python_adds_no_suggestion_of_its_own_to_hints():
    """It would end the traceback with "Did you mean: 'dense'?", from the attributes of `obj`."""
    with pytest.raises(AttributeError) as caught:
        _ = fn.layers.Dense
    assert caught.value.obj is None
    with pytest.raises(AttributeError) as caught:
        _ = model().compile
    assert caught.value.obj is None


def test_foreign_names_of_subpackages_say_what_to_write():
    with pytest.raises(AttributeError, match=r"module 'fastnn.layers' .* fn.Linear\("):
        _ = fn.layers.Dense
    with pytest.raises(AttributeError, match=r"module 'fastnn\.optim' .*fn\.schedules"):
        _ = fn.optim.lr_scheduler
    with pytest.raises(AttributeError, match=r"schedules' .*write schedule=fn\.schedules\.Step\(every\)"):
        _ = fn.schedules.StepLR
    with pytest.raises(AttributeError, match=r"schedules' .*did you mean 'Exponential'\?"):
        _ = fn.schedules.ExponentialLR
    with pytest.raises(AttributeError, match=r"module 'fastnn.losses' .* fn.SquaredError\(\)"):
        _ = fn.losses.MSELoss
    with pytest.raises(AttributeError, match=r"^module 'fastnn' has no attribute '_private'$"):
        _ = fn._private
    assert not hasattr(fn, "Dense")


def test_a_forward_method_as_in_pytorch_is_refused_where_the_class_is_defined():
    with pytest.raises(TypeError, match=r"Net\.forward must be forward\(self, x, \*, train=False\)"):

        class Net(fn.Layer):
            def forward(self, x):
                return x


def test_a_schedule_in_the_place_of_a_learning_rate_says_where_it_belongs():
    with pytest.raises(TypeError, match=r"lr must be a number: pass schedule=Cosine\(end=0.0\) to fn.fit"):
        fn.SGD(lr=schedules.Cosine())


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (fn.Checkpoint("path"), "pass it as checkpoint="),
        (schedules.Plateau(), "pass it as schedule="),
        (fn.EarlyStopping, "add parentheses"),
    ],
)
def test_objects_that_are_no_callbacks_say_where_they_belong(callback, words):
    with pytest.raises(TypeError, match=words):
        fn.fit(model(), ([[1, 2, 3]], [0]), callbacks=[callback])


def test_what_is_no_model_cannot_be_saved_or_loaded(tmp_path):
    for call in (lambda: fn.save({"weight": [1]}, tmp_path / "w"), lambda: fn.load("model", tmp_path / "w")):
        with pytest.raises(TypeError, match=r"fn\.(save|load) takes layers, not"):
            call()
    assert not list(tmp_path.iterdir())
