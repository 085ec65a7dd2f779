"""Objects that are passed to two trainings carry nothing from the first into the second."""

import inspect

import numpy as np
import pytest

import fastnn as fn
from fastnn import augment
from fastnn.augment import Augmentation
from fastnn.layers import Layer
from fastnn.losses.base import PointwiseLoss
from fastnn.optim import schedules
from fastnn.optim.optimizers import Optimizer
from fastnn.training.callbacks import _AfterEpoch
from fastnn.training.watch import SparingWatch


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((70, 6, 6, 1), np.float32), rng.integers(0, 3, 70)


def net(units=8):
    fn.manual_seed(0)
    return fn.Sequential(
        fn.Flatten(),
        fn.Linear(36, units),
        fn.BatchNorm1d(units),
        fn.ReLU(),
        fn.Dropout(0.1),
        fn.Linear(units, 3),
    )


# A call that makes each object with a state or settings of its own, and the argument of `fit` that takes it.
MAKES = {
    schedules.Step: ("schedule", lambda: schedules.Step(1, 0.5)),
    schedules.MultiStep: ("schedule", lambda: schedules.MultiStep(iter([1, 2]))),
    schedules.Exponential: ("schedule", lambda: schedules.Exponential(0.5)),
    schedules.Cosine: ("schedule", schedules.Cosine),
    schedules.OneCycle: ("schedule", schedules.OneCycle),
    schedules.Warmup: (
        "schedule",
        lambda: schedules.Warmup(2, schedules.Plateau("loss", patience=0, threshold=0.5)),
    ),
    schedules.Plateau: ("schedule", lambda: schedules.Plateau("loss", patience=0, threshold=0.5)),
    fn.EMA: ("ema", lambda: fn.EMA(0.9)),
    fn.EarlyStopping: ("callbacks", lambda: fn.EarlyStopping("loss", patience=2, min_delta=0.02)),
    fn.StopWhenStill: ("callbacks", lambda: fn.StopWhenStill(0.05)),
    fn.GradientWatch: ("callbacks", lambda: fn.GradientWatch(silent=True)),
    fn.LivePage: ("callbacks", lambda: fn.LivePage(show_url=False)),
    SparingWatch: ("callbacks", SparingWatch),
    _AfterEpoch: ("callbacks", lambda: _AfterEpoch(lambda training: None)),
    augment.Together: ("augment", lambda: augment.Rotate(15) | augment.Shift(1)),
    augment.Rotate: ("augment", lambda: augment.Rotate(15)),
    augment.Shear: ("augment", lambda: augment.Shear(10)),
    augment.Scale: ("augment", lambda: augment.Scale(0.1)),
    augment.Shift: ("augment", lambda: augment.Shift(1)),
    augment.Crop: ("augment", lambda: augment.Crop(1)),
    augment.Flip: ("augment", augment.Flip),
    augment.Elastic: ("augment", lambda: augment.Elastic(2.0)),
    fn.CrossEntropy: ("loss", lambda: fn.CrossEntropy(weight=[1, 2, 3])),
    fn.Focal: ("loss", fn.Focal),
    fn.SquaredError: ("loss", fn.SquaredError),
    fn.BinaryCrossEntropy: ("loss", fn.BinaryCrossEntropy),
    fn.BinaryFocal: ("loss", fn.BinaryFocal),
    fn.Dice: ("loss", fn.Dice),
    fn.Hinge: ("loss", fn.Hinge),
    fn.BinaryHinge: ("loss", fn.BinaryHinge),
    fn.AbsoluteError: ("loss", fn.AbsoluteError),
    fn.Huber: ("loss", fn.Huber),
    fn.Poisson: ("loss", fn.Poisson),
}


def subclasses(kind):
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_class_of_the_package_is_tested():
    bases = (schedules.Schedule, fn.Callback, Augmentation, fn.Loss)
    found = {each for base in bases for each in subclasses(base) if each.__module__.startswith("fastnn.")}
    # Those of the other packages have tests of their own: loggers write files, and a search makes a callback
    # for each trial.
    elsewhere = tuple(f"fastnn.{name}" for name in ("cli", "experiments", "loggers", "sklearn", "studies"))
    in_training = {
        each for each in found if not inspect.isabstract(each) and not each.__module__.startswith(elsewhere)
    }
    base_classes = {each for each in in_training if each.__name__.startswith("_") and each is not _AfterEpoch}
    base_classes.add(PointwiseLoss)
    assert in_training - base_classes == MAKES.keys() - {fn.EMA}


def trained(name, value, *, seed=0, units=8, **options):
    """Everything that a training leaves."""
    model, (x, y) = net(units), data(seed)
    if name == "loss" and not isinstance(value, (fn.CrossEntropy, fn.Focal)):
        y = np.eye(3)[y]
    options = {"epochs": 4, "batch_size": 23, "seed": seed, "optimizer": fn.SGD(0.3), **options}
    history = fn.fit(model, (x, y), validation=(x, y), **{name: value, **options})
    held = [each.value.tobytes() for each in (*model.parameters(), *model.buffers())]
    averages = value.state_dict() if isinstance(value, fn.EMA) else {}
    looked = (value.updates, value.norms, value.found) if isinstance(value, fn.GradientWatch) else ()
    return held, history.as_dict(), {k: np.asarray(v).tobytes() for k, v in averages.items()}, looked


@pytest.mark.filterwarnings("ignore:.*guessing net")
@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("units", [8, 5], ids=["same model", "other model"])
def test_second_training_with_one_object_equals_one_with_a_new_object(kind, units):
    name, make = MAKES[kind]
    used = make()
    trained(name, used, seed=3, epochs=9)
    assert trained(name, used, units=units) == trained(name, make(), units=units)


def test_two_trainers_with_one_object_do_not_share_state():
    plateau, ema = schedules.Plateau("loss", patience=0), fn.EMA(0.9)
    for _ in range(2):
        trainer = fn.Trainer(fn.Linear(36, 3), optimizer=fn.SGD(0.1), schedule=plateau, ema=ema)
        assert plateau.state_dict() == schedules.Plateau("loss").state_dict()
        for name, held in ema.state_dict().items():
            np.testing.assert_array_equal(
                held, 0 if name == "updates" else getattr(trainer.model, name).value
            )
        trainer.step(data()[0].reshape(70, 36), data()[1])
        plateau.end_epoch({"loss": 1.0})
        plateau.end_epoch({"loss": 2.0})


def test_optimizer_keeps_its_state_as_documented():
    """The exception: as in Keras and scikit-learn, a second call with the same optimizer continues."""
    optimizer = fn.Adam(0.01)
    model = net()
    for count in (1, 2):
        fn.fit(model, data(), optimizer=optimizer, batch_size=70)
        assert optimizer.state(model.parameters()[0]).steps == count
    assert "keeps its state" in fn.fit.__doc__
    assert "stays with the" in Optimizer.__doc__


def test_metrics_and_orders_have_no_state():
    metrics = [fn.metrics.top_k(2), fn.metrics.f1]
    for order in ("random", "alternate", "balanced"):
        options = {"metrics": metrics, "order": order}
        trained("seed", 5, **options)
        assert trained("seed", 0, **options) == trained(
            "seed", 0, metrics=[fn.metrics.top_k(2), "f1"], order=order
        )


def test_schedule_of_a_user_is_told_to_begin():
    class Falling(schedules.Schedule):
        def begin(self):
            self.rate = 1.0

        def factor(self, update, length):
            return self.rate

        def end_epoch(self, values):
            self.rate /= 2

    falling = Falling()
    for schedule in (falling, falling, schedules.Warmup(1, falling)):
        history = fn.fit(net(), data(), schedule=schedule, optimizer=fn.SGD(0.1), epochs=3)
        assert history["lr"] == [0.1, 0.05, 0.025]


def test_watch_compares_the_losses_of_its_own_training():
    """A history that is continued begins with the losses of an earlier training."""
    history = fn.History()
    history.updates["loss"].extend([1e-3] * 200)
    watch = fn.GradientWatch(silent=True)
    fn.fit(
        net(), data(), callbacks=watch, history=history, batch_size=1 + 1, epochs=6, optimizer=fn.SGD(1e-3)
    )
    assert "diverged" not in watch.found


def test_watch_of_another_training_is_forgotten_when_a_training_resumes(tmp_path):
    def stop_once(training):
        if training.epoch == 1:
            raise KeyboardInterrupt

    options = {
        "checkpoint": fn.Checkpoint(tmp_path / "c", seconds=0),
        "epochs": 3,
        "seed": 0,
        "optimizer": fn.SGD(0.1),
    }
    with pytest.raises(KeyboardInterrupt):
        fn.fit(net(), data(), callbacks=stop_once, **options)
    watch = fn.GradientWatch(silent=True)
    fn.fit(net(), data(), callbacks=watch, epochs=7)
    fn.fit(net(), data(), callbacks=watch, **options)
    assert watch.updates == [6, 9]


def test_layers_start_a_training_with_fresh_random_numbers():
    assert issubclass(fn.Dropout, Layer)
    model, other = net(), net()
    fn.fit(model, data(), seed=1)
    for one, new in zip(model.parameters(), other.parameters(), strict=True):
        one.value = new.value
    for one, new in zip(model.buffers(), other.buffers(), strict=True):
        one.value = new.value
    histories = [fn.fit(each, data(), seed=2).as_dict() for each in (model, other)]
    assert histories[0] == histories[1]
