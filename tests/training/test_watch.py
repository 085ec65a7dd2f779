"""Warnings during training: constant loss, vanishing and exploding gradients, dead ReLUs."""

import itertools
import warnings

import numpy as np
import pytest

import fastnn as fn
from fastnn.training.watch import BETWEEN_CHECKS, CHECK_SAMPLES

CLASSES = 4


def blobs(count=4000, seed=0):
    """Samples of four classes that a net learns quickly."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    return rng.standard_normal((count, 8), np.float32) + 2 * np.eye(CLASSES, 8, dtype=np.float32)[y], y


def mlp(*sizes, activation=fn.ReLU, weight_init="he_uniform"):
    fn.manual_seed(0)
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [fn.Linear(fan_in, fan_out, weight_init=weight_init), activation()]
        layers[-2].bias.value = np.zeros(fan_out)
    return fn.Sequential(*layers[:-1])


def fit(model, data=None, **options):
    options = {"optimizer": fn.SGD(lr=0.1), "batch_size": 16, "seed": 0, "progress": False, **options}
    return fn.fit(model, blobs() if data is None else data, **options)


def watched(model, data=None, **options):
    watch = fn.GradientWatch(silent=True)
    fit(model, data, callbacks=[watch], **options)
    return watch


def killed(model):
    """The same net with such negative biases in its first layer that none of its ReLUs is ever active."""
    model[0].bias.value = np.full(model[0].bias.shape, -100.0)
    return model


def test_healthy_training_gives_no_warning():
    watch = watched(mlp(8, 32, 16, CLASSES), epochs=3)
    assert watch.found == {}
    assert watch.updates == [250, 500, 750]
    assert {name: len(norms) for name, norms in watch.norms.items()} == dict.fromkeys(
        ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"), 3
    )


def test_norms_equal_the_gradient_norms():
    x, y = blobs(CHECK_SAMPLES)  # all samples are checked
    model = mlp(8, 16, CLASSES)
    model[2].bias.trainable = False
    watch = watched(model, (x, y))
    fn.gradients(model, (x, y))
    expected = {name: np.linalg.norm(p.grad) for name, p in model.named_parameters() if not p.frozen}
    assert watch.norms.keys() == expected.keys()
    for name, norm in expected.items():
        assert watch.norms[name] == pytest.approx([norm], rel=1e-6)


def test_constant_loss_warns():
    with pytest.warns(UserWarning, match=r"after 250 updates.*ln\(4\) = 1.386.*nothing.*now 1e-09"):
        history = fit(mlp(8, 16, CLASSES, weight_init=fn.init.Normal(0.01)), optimizer=fn.SGD(lr=1e-9))
    assert history["loss"][0] == pytest.approx(np.log(4), rel=0.02)


def test_constant_loss_of_rare_classes_warns():
    x, _ = blobs()
    y = (np.random.default_rng(0).random(len(x)) < 0.05).astype(
        int
    )  # labels that do not depend on the features
    watch = watched(mlp(8, CLASSES, weight_init=fn.init.Constant(0)), (x, np.eye(CLASSES)[y]))
    assert watch.found == {}  # the loss falls from ln(4) to the entropy of the labels
    watch = watched(mlp(8, CLASSES, weight_init=fn.init.Constant(0)), (x, y), optimizer=fn.SGD(lr=1e-9))
    assert list(watch.found) == ["stuck"]
    y[:] = 2
    assert watched(mlp(8, 16, CLASSES), (x, y)).found == {}


@pytest.mark.parametrize(
    "loss", [fn.CrossEntropy(weight=[1, 1, 1, 1]), fn.CrossEntropy(label_smoothing=0.5), "squared_error"]
)
def test_losses_with_unknown_guess_are_never_stuck(loss):
    x, y = blobs()
    target = np.eye(CLASSES)[y] if loss == "squared_error" else y
    watch = watched(mlp(8, 16, CLASSES), (x, target), loss=loss, optimizer=fn.SGD(lr=1e-9))
    assert "stuck" not in watch.found


@pytest.mark.filterwarnings("ignore:the loss was")
def test_vanished_gradients_warn():
    model = mlp(8, *[16] * 6, CLASSES, activation=fn.Sigmoid, weight_init=fn.init.Normal(0.1))
    with pytest.warns(UserWarning, match="vanish") as found:
        fit(model, epochs=2)
    told = [str(warning.message) for warning in found if "vanish" in str(warning.message)]
    assert len(told) == 1  # once per training
    assert "in 0.weight, " in told[0]
    assert ", ...," in told[0]  # seven layers are too many to name
    assert told[0].count(".weight") == 6
    assert "ReLU" in told[0]


def test_exploded_gradients_warn():
    # Weights that shrink from layer to layer: each layer has larger gradients than the next one.
    model = mlp(8, *[16] * 3, CLASSES, activation=fn.Identity)
    model[4].weight.value = 1e4 * model[4].weight.value
    model[0].weight.value = 1e-4 * model[0].weight.value
    watch = watched(model, optimizer=fn.SGD(lr=1e-12))
    assert "explode towards the first layers" in watch.found["exploded"]


def test_nonfinite_gradients_warn():
    model = mlp(8, 16, CLASSES)
    watch = fn.GradientWatch(silent=True)

    def break_it(training):
        model[2].weight.value = np.full(model[2].weight.shape, np.nan)

    fit(model, callbacks=[break_it, watch])
    assert "0.weight" in watch.found["exploded"]
    assert "not finite" in watch.found["exploded"]


def test_growing_loss_warns():
    x, y = blobs()
    targets = np.eye(CLASSES, dtype=np.float32)[y]
    model = mlp(8, CLASSES)

    def enlarge(training):
        model[0].weight.value = 20 * model[0].weight.value

    with pytest.warns(UserWarning, match=r"the loss grows.*after 500 updates. Lower the learning rate"):
        fit(
            model,
            (x, targets),
            loss="squared_error",
            optimizer=fn.SGD(lr=1e-4),
            epochs=2,
            callbacks=[enlarge],
        )


@pytest.mark.parametrize(
    ("schedule", "first"),
    [(None, 200), (fn.schedules.OneCycle(), 400), (fn.schedules.Warmup(350), 500)],
    ids=["no schedule", "one cycle", "warm-up"],
)
def test_a_warm_up_is_not_stuck(schedule, first):
    """The rate rises for 300 and for 350 updates; 100 updates later the net should have learned."""
    rng = np.random.default_rng(0)
    data = 0.01 * rng.standard_normal((1200, 8), np.float32), np.arange(1200) % 60
    watch, stuck = fn.GradientWatch(silent=True), []
    fit(
        mlp(8, 60),
        data,
        batch_size=12,
        epochs=10,
        schedule=schedule,
        optimizer=fn.SGD(1e-6),
        callbacks=[
            watch,
            lambda training: stuck.append(training.updates) if "stuck" in watch.found else None,
        ],
    )
    assert stuck[0] == first


@pytest.mark.filterwarnings("ignore:the loss was")
@pytest.mark.parametrize("convolutional", [False, True])
def test_dead_relus_warn(convolutional):
    x, y = blobs()
    model = killed(mlp(8, 16, CLASSES))
    if convolutional:
        fn.manual_seed(0)
        model = killed(
            fn.Sequential(fn.Conv2d(1, 16, 2), fn.ReLU(), fn.Sequential(fn.Flatten(), fn.Linear(48, CLASSES)))
        )
        x = x.reshape(-1, 2, 4, 1)
    with pytest.warns(UserWarning, match="dead") as found:
        fit(model, (x, y), epochs=7, optimizer=fn.SGD(lr=1e-4))
    told = [str(warning.message) for warning in found if "dead" in str(warning.message)]
    assert len(told) == 1
    assert "16 of the 16 units of layer 1 are 0 for each of 2,048 training samples" in told[0]


def test_rarely_active_units_are_not_dead():
    x, y = blobs()
    x[:, 0] = 0
    x[101::200, 0] = 200.0  # active for one sample in 200, for none of the first check
    model = killed(mlp(8, 16, CLASSES))
    weight = np.zeros((8, 16))
    weight[0] = 1
    model[0].weight.value = weight
    watch = watched(model, (x, y), optimizer=fn.SGD(lr=1e-6))
    assert "dead" not in watch.found


def test_few_dead_units_give_no_warning():
    model = mlp(8, 16, CLASSES)
    bias = np.zeros(16)
    bias[:7] = -100
    model[0].bias.value = bias
    assert watched(model, optimizer=fn.SGD(lr=1e-2)).found == {}
    bias[:8] = -100
    model[0].bias.value = bias
    assert "8 of the 16 units of layer 1" in watched(model, optimizer=fn.SGD(lr=1e-2)).found["dead"]


def nets():
    fn.manual_seed(3)
    yield mlp(8, 16, CLASSES)
    yield fn.Sequential(fn.Linear(8, 16), fn.BatchNorm1d(16), fn.ReLU(), fn.Dropout(0.3), fn.Linear(16, 4))
    yield fn.Sequential(fn.Residual(fn.Linear(8, 8)), fn.ReLU(), fn.Linear(8, 4))


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_watching_changes_nothing(plan, keep):
    results = []
    for watch in (True, False):
        for model in nets():
            callbacks = [fn.GradientWatch()] if watch else []
            history = fit(
                model,
                epochs=3,
                callbacks=callbacks,
                plan=plan,
                keep_gradients=keep,
                watch=watch,
                clip_norm=5.0,
            )
            arrays = [held.value for held in [*model.parameters(), *model.buffers()]]
            gradients = [p.grad for p in model.parameters()]
            results.append((history.updates["loss"], arrays, gradients))
    for (losses, arrays, gradients), (other_losses, others, other_gradients) in zip(
        results[:3], results[3:], strict=True
    ):
        assert losses == other_losses
        for a, b in zip(arrays, others, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(gradients, other_gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)


class Counting(fn.Layer):
    calls = 0

    def forward(self, x, *, train=False):
        self.calls += 1
        return x, lambda dy, need_dx=True: dy


def test_default_watch_does_not_call_custom_layers():
    counts = []
    for watch in (True, False):
        counting = Counting()
        fit(fn.Sequential(counting, mlp(8, CLASSES)), blobs(BETWEEN_CHECKS), watch=watch)
        counts.append(counting.calls)
    assert counts[0] == counts[1] == BETWEEN_CHECKS // 16


def test_default_watch_checks_less_and_less_often(monkeypatch):
    looks = []
    monkeypatch.setattr(
        "fastnn.training.watch.GradientWatch._check",
        lambda watch, training: looks.append(training.updates * 16),
    )
    fit(mlp(8, CLASSES), epochs=40)
    assert looks == [28_000, 56_000, 112_000]
    looks.clear()
    fit(mlp(8, CLASSES), epochs=10, watch=False)
    fit(mlp(8, CLASSES), epochs=2)
    assert looks == []


def test_watch_resets_for_each_training():
    watch = fn.GradientWatch(silent=True)
    fit(killed(mlp(8, 16, CLASSES)), callbacks=[watch], epochs=2)
    assert "dead" in watch.found
    fit(mlp(8, 16, CLASSES), callbacks=[watch])
    assert watch.found == {}
    assert watch.updates == [250]


def test_fit_adds_at_most_one_watch():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(killed(mlp(8, 16, CLASSES)), callbacks=[fn.GradientWatch()], epochs=8)
    assert sum("dead" in str(warning.message) for warning in found) == 1


@pytest.mark.filterwarnings("ignore:the loss")
@pytest.mark.parametrize("seed", range(3))
def test_rate_that_kills_all_relus_is_warned_of_within_five_epochs(seed):
    digits, _ = fn.data.digits()
    fn.manual_seed(seed)
    layers = fn.Linear(64, 64), fn.ReLU(), fn.Linear(64, 32), fn.ReLU(), fn.Linear(32, 10)
    with pytest.warns(UserWarning, match="32 of the 32 units of layer 4 .* Lower the learning rate"):
        fn.fit(fn.Sequential(fn.Flatten(), *layers), digits, optimizer=fn.SGD(10.0), epochs=5, seed=seed)


def test_default_watch_checks_a_guessing_net_once_and_at_the_end(monkeypatch):
    """ReLUs may die after the first check. A net that learns is not checked: see the test above."""
    looks = []

    def check(watch, training):
        looks.append(training.epoch)
        watch.updates.append(training.updates)

    monkeypatch.setattr("fastnn.training.watch.GradientWatch._check", check)
    x, y = blobs(400)
    fit(
        mlp(8, CLASSES),
        (x, np.random.default_rng(1).integers(0, CLASSES, 400)),
        epochs=9,
        optimizer=fn.SGD(1e-9),
    )
    assert looks == [3, 8]  # 25 updates per epoch; PATIENCE is 100
    looks.clear()
    fit(mlp(8, CLASSES), (x, y), epochs=9)
    assert looks == []
