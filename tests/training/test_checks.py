"""What `fit` refuses before anything changes, and the sizes of mini-batches that it makes fit."""

import pickle

import numpy as np
import pytest

import fastnn as fn
from fastnn.rng import default_generator
from fastnn.training.pieces import batch_sizes
from tests.systems import needs_modes


def data(count=65, classes=3):
    rng = np.random.default_rng(0)
    return rng.random((count, 6), np.float32), rng.integers(0, classes, count)


def net():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 8), fn.BatchNorm1d(8), fn.ReLU(), fn.Dropout(0.2), fn.Linear(8, 3))


class Sizes(fn.Layer):
    """An identity layer that records the sizes of the training batches."""

    def __init__(self):
        self.sizes = []

    def forward(self, x, *, train=False):
        if train:
            self.sizes.append(len(x))
        return x, lambda dy, *, need_dx=True: dy


# --- batch norm and the last mini-batch ---


@pytest.mark.parametrize("smallest", [1, 2, 3])
def test_batch_sizes_cover_all_samples_and_none_is_too_small(smallest):
    for count in range(smallest, 40):
        for batch_size in range(smallest, 40):
            sizes = batch_sizes(count, batch_size, smallest)
            assert sizes.sum() == count
            assert sizes.min() >= smallest
            assert (sizes[:-1] == batch_size).all()
            if count % batch_size == 0 or count % batch_size >= smallest:
                np.testing.assert_array_equal(sizes, batch_sizes(count, batch_size))


@pytest.mark.parametrize("order", ["random", "fixed", "alternate", "balanced"])
@pytest.mark.parametrize(
    ("count", "batch_size", "wanted"), [(65, 32, [32, 33]), (9, 8, [9]), (66, 32, [32, 32, 2])]
)
def test_single_last_sample_joins_the_batch_before_it_for_batch_norm(order, count, batch_size, wanted):
    sizes = Sizes()
    options = {"order": order, "batch_size": batch_size, "epochs": 2, "watch": False}
    history = fn.fit(fn.Sequential(sizes, *net()), data(count), **options)
    assert sizes.sizes == 2 * wanted
    assert len(history.updates["loss"]) == 2 * len(wanted)


@pytest.mark.parametrize(
    "norm", [fn.Identity, lambda: fn.LayerNorm(8), lambda: fn.Sequential(fn.Residual(fn.Linear(8, 8)))]
)
def test_single_last_sample_stays_alone_without_batch_norm(norm):
    sizes = Sizes()
    fn.fit(fn.Sequential(sizes, fn.Linear(6, 8), norm(), fn.Linear(8, 3)), data(), watch=False)
    assert sizes.sizes == [32, 32, 1]


def test_batch_norm_of_images_may_use_a_single_image():
    sizes = Sizes()
    images = np.random.default_rng(0).random((9, 4, 4, 1), np.float32), np.arange(9) % 3
    layers = fn.Conv2d(1, 2, 3), fn.BatchNorm2d(2), fn.Flatten(), fn.Linear(8, 3)
    fn.fit(fn.Sequential(sizes, *layers), images, batch_size=4, watch=False)
    assert sizes.sizes == [4, 4, 1]
    sizes.sizes.clear()
    one_pixel = fn.Sequential(sizes, fn.Conv2d(1, 2, 4), fn.BatchNorm2d(2), fn.Flatten(), fn.Linear(2, 3))
    fn.fit(one_pixel, images, batch_size=4, watch=False)
    assert sizes.sizes == [4, 5]


class Wrapped(fn.Layer):
    """A user's layer that holds another one."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x, *, train=False):
        return self.inner.forward(x, train=train)


class Several(fn.Layer):
    """A user's layer that holds a list of layers."""

    def __init__(self, *layers):
        self.chain = list(layers)

    def forward(self, x, *, train=False):
        return self.chain[0].forward(x, train=train)


@pytest.mark.parametrize("wrap", [Wrapped, Several, fn.Residual, fn.Sequential])
def test_batch_norm_inside_other_layers_is_found(wrap):
    sizes = Sizes()
    fn.fit(fn.Sequential(sizes, wrap(fn.BatchNorm1d(6)), fn.Linear(6, 3)), data(), watch=False)
    assert sizes.sizes == [32, 33]


def test_joined_batch_has_the_same_bits_planned_and_eager(snapshot):
    found = []
    for plan in (True, False):
        model, optimizer = net(), fn.Adam()
        history = fn.fit(model, data(), optimizer=optimizer, epochs=3, seed=1, plan=plan)
        found.append((history.updates["loss"], snapshot(model, optimizer)))
    assert found[0] == found[1]


def test_joined_batch_resumes_with_the_same_bits(tmp_path, snapshot):
    def stop_once(training):
        if training.epoch == 0:
            raise KeyboardInterrupt

    def train(*callbacks):
        model = net()
        options = {"epochs": 3, "seed": 1, "callbacks": callbacks}
        fn.fit(model, data(), checkpoint=fn.Checkpoint(tmp_path / "c", seconds=0), **options)
        return snapshot(model)

    with pytest.raises(KeyboardInterrupt):
        train(stop_once)
    resumed = train()
    (tmp_path / "c").unlink()
    assert resumed == train()


def test_training_by_single_samples_with_batch_norm_is_refused():
    for count, batch_size, message in ((65, 1, "batch_size=1"), (1, 32, "a data set of 1")):
        with pytest.raises(
            ValueError, match=f"cannot be trained with {message}: its layers, such as batch norm"
        ):
            fn.fit(net(), data(count), batch_size=batch_size)


# --- bad calls ---


def mean_of(outputs, targets):
    return (outputs - targets).mean()  # shapes (N, 3) and (N,)


class TooLong(fn.schedules.Schedule):
    def factor(self, update, length):
        return 1.0 if update < 2 else -1.0


class Refusing(fn.Callback):
    monitor = "val_f1"


X, Y = data()
NAN = X.copy()
NAN[3, 1] = np.nan
BAD_CALLS = {
    "batch of one": ({"batch_size": 1}, "such as batch norm, need at least 2"),
    "batch size": ({"batch_size": 0}, "batch_size must be an integer"),
    "epochs": ({"epochs": 1.5}, "epochs must be an integer"),
    "early stopping": (
        {"callbacks": [fn.EarlyStopping()]},
        r"'val_loss', but an epoch has only loss, accuracy: pass",
    ),
    "single early stopping": ({"callbacks": fn.EarlyStopping("val_f1")}, "monitors 'val_f1'"),
    "own monitor": (
        {"callbacks": [Refusing()], "validation": (X, Y)},
        "Refusing monitors 'val_f1'.*val_accuracy",
    ),
    "plateau": ({"schedule": fn.schedules.Plateau()}, "Plateau monitors 'val_loss'.*, lr: pass validation"),
    "plateau after a warm-up": (
        {"schedule": fn.schedules.Warmup(1, fn.schedules.Plateau()), "epochs": 2},
        "Warmup monitors 'val_loss'",
    ),
    "warm-up": ({"schedule": fn.schedules.Warmup(2)}, "longer than the training, which has 2 updates"),
    "negative factor": ({"schedule": TooLong(), "epochs": 2}, r"factor -1.0 for update 2"),
    "overflowing factor": (
        {"schedule": fn.schedules.Exponential(1e200), "epochs": 3},
        "factor inf for update 4",
    ),
    "schedule class": ({"schedule": fn.schedules.Cosine}, "add parentheses"),
    "metric": (
        {"metrics": [mean_of], "validation": (X, Y)},
        r"'mean_of' .* outputs \(N, 3\) and targets \(N\)",
    ),
    "metric that returns an array": (
        {"metrics": {"own": lambda outputs, targets: outputs}, "validation": (X, Y)},
        "'own' cannot be computed",
    ),
    "metrics without validation": ({"metrics": ["f1"]}, "the metrics f1 are computed on validation data"),
    "unknown metric": (
        {"metrics": ["acc"]},
        "'acc': choose one of loss, accuracy, f1, precision, recall, iou, cohen_kappa",
    ),
    "one unknown metric": ({"metrics": "auc"}, "unknown metric 'auc'"),
    "number as metrics": ({"metrics": 3}, "metrics must be functions"),
    "metric class": ({"metrics": [dict], "validation": (X, Y)}, "must be a function"),
    "callback": ({"callbacks": 3}, "not 3"),
    "callback class": ({"callbacks": [fn.EarlyStopping]}, "parentheses"),
    "augment": ({"augment": fn.augment.Flip()}, "takes images"),
    "validation of other features": ({"validation": (X[:, :2], Y)}, "validation data: .*expects samples"),
    "validation of other classes": ({"validation": (X, Y + 3)}, "validation data: labels must lie in 0..2"),
    "validation without labels": ({"validation": X}, "validation data: data must be a pair"),
    "validation fraction": ({"validation": 1.2}, "a fraction of the data above 0 and below 1"),
    "order": ({"order": "sorted"}, "unknown order"),
    "order of regression": (
        {"order": "balanced", "loss": "squared_error", "data": (X, X[:, :3])},
        "order='balanced' needs classes",
    ),
    "accuracy of regression": (
        {"metrics": ["accuracy"], "loss": "squared_error", "data": (X, X[:, :3])},
        "accuracy is not defined",
    ),
    "nan": ({"data": (NAN, Y)}, "1 value of x is NaN"),
    "nan in validation": ({"validation": (NAN, Y)}, "validation data: 1 value of x is NaN"),
    "seed": ({"seed": -1, "ema": 0.9}, "a seed must be"),
    "history": ({"history": {}}, "history must be an fn.History"),
    "how to resume": ({"resume": "always"}, "resume must be True, False or"),
    "resume": ({"resume": True}, "needs the checkpoint to resume from"),
    "checkpoint in a file": ({"checkpoint": f"{__file__}/c"}, "is not a folder"),
    "checkpoint is a folder": ({"checkpoint": "/"}, "is a folder"),
    "progress": ({"progress": "yes"}, "progress must be True, False, None"),
    "decay": ({"ema": 1.0}, "decay must be below 1"),
    "clip": ({"clip_norm": 0}, "clip_norm must be above 0"),
    "loss": ({"loss": "mse"}, "unknown loss 'mse': pass \"squared_error\""),
    "loss of one output": ({"loss": fn.SquaredError()}, "expects targets of shape"),
    "positional": ({"positional": True}, r"pass the others by name, and the data as one pair: \(x, y\)"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_call_changes_nothing(name, unchanged):
    options, message = BAD_CALLS[name]
    options = {"data": (X, Y), "seed": None, **options}
    model, optimizer, history = net(), fn.SGD(0.1, momentum=0.9), fn.History()
    fn.fit(model, (X, Y), optimizer=optimizer, history=history)  # so that every state holds something
    history.stopped = "before"
    ema, plateau, stopping = fn.EMA(0.9), fn.schedules.Plateau("loss"), fn.EarlyStopping("loss")
    fn.fit(model, (X, Y), ema=ema, schedule=plateau, callbacks=stopping)
    states = [ema, plateau, stopping]
    before = pickle.dumps([vars(each) for each in states])
    kept, generator = history.as_dict(), default_generator().bit_generator.state
    options = {"ema": ema, "optimizer": optimizer, "history": history, **options}
    positional = (*options.pop("data"),) if options.pop("positional", False) else (options.pop("data"),)
    with (
        unchanged(model, optimizer),
        pytest.raises((TypeError, ValueError, OSError, fn.NonFiniteError), match=message),
    ):
        fn.fit(model, *positional, **options)
    assert pickle.dumps([vars(each) for each in states]) == before
    assert history.as_dict() == kept
    assert str(default_generator().bit_generator.state) == str(generator)
    assert optimizer.lr == 0.1


@needs_modes
def test_checkpoint_in_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="is not writable"):
        fn.fit(net(), data(), checkpoint=tmp_path / "new" / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total_updates": 0}, "total_updates must be an integer of at least 1"),
        ({"updates_per_epoch": -1}, "updates_per_epoch must be an integer"),
        ({"seed": "3", "ema": 0.9}, "a seed must be"),
        ({"schedule": fn.schedules.Warmup(8), "total_updates": 8, "seed": 0}, "longer than the training"),
    ],
)
def test_bad_trainer_changes_nothing(options, message, unchanged):
    model = net()
    generator = default_generator().bit_generator.state
    with unchanged(model), pytest.raises(ValueError, match=message):
        fn.Trainer(model, **options)
    assert str(default_generator().bit_generator.state) == str(generator)
