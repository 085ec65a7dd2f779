"""Running statistics in plans: updated as in eager mode, and only by steps that succeed."""

import copy

import numpy as np
import pytest

import fastnn as fn

from .twins import CLASSES, AsImages, batch, small_net

X, Y = batch()


def normed():
    return small_net(fn.BatchNorm1d(16), fn.ReLU(), fn.Dropout(0.3), fn.Linear(16, 16), fn.BatchNorm1d(16))


def of_images():
    return small_net(
        *(AsImages(), fn.Conv2d(2, 6, (1, 3), padding=(0, 1)), fn.BatchNorm2d(6), fn.ReLU()),
        *(fn.MaxPool2d((1, 2)), fn.Flatten(), fn.Linear(24, 16)),
    )


def one_twice():
    norm = fn.BatchNorm1d(16, affine=False, momentum=0.5)
    return small_net(norm, fn.Tanh(), norm, fn.Linear(16, 16), norm)


NETS = {"vectors": normed, "images": of_images, "one layer three times": one_twice}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
fused_or_not = pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])


def moments(model):
    return [buffer.value.tobytes() for buffer in model.buffers()]


@every_net
def test_running_moments_are_updated_in_every_step(net, twins):
    pair = twins(net)
    seen = set()
    for _ in range(5):
        pair.step()
        seen.add(str(moments(pair.planned.model)))
    assert len(seen) == 5
    assert pair.replays


def spoilt(number):
    x = X.copy()
    x[3, 2] = number
    return x


FAILURES = {
    "nan": (spoilt(np.nan), Y),
    "infinity": (spoilt(np.inf), Y),
    "label": (X, Y + CLASSES),
    "last label": (X, np.where(np.arange(len(Y)) == len(Y) - 1, -1, Y)),
}


@every_net
@fused_or_not
@pytest.mark.parametrize("failure", FAILURES)
def test_a_rejected_batch_does_not_update_running_moments(failure, net, fuse, twins):
    pair = twins(net, optimizer=fn.Adam, fuse=fuse)
    pair.fail(*FAILURES[failure])
    pair.run()
    pair.fail(*FAILURES[failure])
    pair.run()
    assert pair.replays


@every_net
@fused_or_not
def test_a_nonfinite_loss_does_not_update_running_moments(net, fuse, twins):
    """By then all of them have moved."""
    pair = twins(net, fuse=fuse)
    pair.run()
    weights = pair.planned.model[-1].weight.value
    pair.do(lambda trainer: setattr(trainer.model[-1].weight, "value", np.full_like(weights, 3e38)))
    assert isinstance(pair.fail(X, Y), fn.NonFiniteError)
    pair.do(lambda trainer: setattr(trainer.model[-1].weight, "value", weights))
    pair.run()
    assert pair.replays


@pytest.mark.parametrize("update", [1, 2, 7])
def test_a_failure_in_the_middle_of_fit(update, snapshot):
    """As after a fit on what came before."""
    x, y = batch(rows=100)
    target = np.eye(CLASSES, dtype=np.float32)[y]
    target[10 * (update - 1) + 4] = 1e30  # its square is infinite
    options = {"batch_size": 10, "shuffle": False, "seed": 1, "loss": "squared_error"}
    results = []
    for plan in (True, False):
        fn.manual_seed(0)
        model = normed()
        with pytest.raises(fn.NonFiniteError, match=f"at update {update}:"):
            fn.fit(model, (x, target), plan=plan, **options)
        results.append(snapshot(model))
    fn.manual_seed(0)
    good = normed()
    if update > 1:
        fn.fit(good, (x[: 10 * update - 10], target[: 10 * update - 10]), **options)
    assert results[0] == results[1]
    assert results[0][0] == snapshot(good)[0]
    assert moments(model) == moments(good)


class Moody(fn.Layer):
    """Raises when told to; y = x."""

    moods = ()

    def forward(self, x, *, train=False):
        if self.moods and train:
            raise RuntimeError(self.moods.pop())
        return x, lambda dy, *, need_dx=True: dy


def test_a_later_python_layer_that_raises_does_not_update_running_moments(twins):
    pair = twins(lambda: fn.Sequential(normed(), Moody()))
    pair.run()
    pair.do(lambda trainer: setattr(trainer.model[1], "moods", ["bad day"]))
    assert isinstance(pair.fail(X, Y), RuntimeError)
    pair.run()
    assert pair.replays


@every_net
def test_gradients_and_evaluation_do_not_update_running_moments(net, twins):
    pair = twins(net)
    pair.run()
    for trainer in pair.both:
        before = moments(trainer.model)
        fn.gradients(trainer.model, (X, Y))
        fn.evaluate(trainer.model, (X, Y))
        for _ in range(4):
            trainer.model.predict(X[:5])
        if trainer.plan:
            trainer.profile(X, Y, steps=3)
        assert moments(trainer.model) == before
    pair.run()


def test_predictions_between_steps_use_the_running_moments(twins):
    pair = twins(normed)
    for _ in range(4):
        pair.step()
        for _ in range(3):  # layer by layer, recorded, replayed
            found = [trainer.model.predict(X[:5]).tobytes() for trainer in pair.both]
            assert found[0] == found[1] == pair.planned.model.forward(X[:5])[0].tobytes()


def test_a_batch_of_one_is_rejected_after_larger_ones(twins):
    pair = twins(normed)
    pair.run()
    assert "more than one value per channel" in str(pair.fail(X[:1], Y[:1]))
    pair.run()


def layer_of(trainer):
    return trainer.model[1]


CHANGES = {
    "momentum": lambda trainer: setattr(layer_of(trainer), "momentum", 0.7),
    "epsilon": lambda trainer: setattr(layer_of(trainer), "epsilon", 0.1),
    "running mean": lambda trainer: setattr(layer_of(trainer).running_mean, "value", np.arange(16)),
    "another buffer": lambda trainer: setattr(
        layer_of(trainer), "running_var", fn.Buffer(np.full(16, 2.0, "f"))
    ),
    "float64": lambda trainer: trainer.model.to(np.float64),
    "float64 and back": lambda trainer: trainer.model.to(np.float64).to(np.float32),
    "frozen": lambda trainer: layer_of(trainer).set_lr_scale(0),
    "beta frozen": lambda trainer: setattr(layer_of(trainer).beta, "trainable", False),
    "no gamma": lambda trainer: setattr(layer_of(trainer), "gamma", None),
}


@fused_or_not
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_after_the_recording(change, fuse, twins):
    pair = twins(normed, fuse=fuse)
    pair.run()
    pair.do(change)
    pair.run()
    assert pair.replays


def test_a_file_is_loaded_into_a_recorded_plan(tmp_path, twins):
    other = twins(normed)
    other.run(4)
    path = fn.save(other.planned.model, tmp_path / "net.safetensors")
    pair = twins(normed)
    pair.run()
    recorded = pair.planned._plans.last
    pair.do(lambda trainer: fn.load(trainer.model, path))
    assert moments(pair.planned.model) == moments(other.planned.model)
    pair.run()
    assert pair.planned._plans.last is recorded


def test_copies_update_their_own_running_moments(twins):
    pair = twins(normed)
    pair.run()
    before = moments(pair.planned.model)
    twin = copy.deepcopy(pair.planned)
    for seed in range(3):
        twin.step(*batch(seed))
    assert moments(pair.planned.model) == before
    assert moments(twin.model) != before
    pair.run()


def test_results_do_not_depend_on_the_number_of_threads(twins, snapshot):
    results = set()
    for threads in (1, 2, 3, 7):
        fn.set_num_threads(threads)
        pair = twins(
            lambda: fn.Sequential(
                *(fn.Conv2d(1, 33, 3, padding=1), fn.BatchNorm2d(33), fn.ReLU(), fn.MaxPool2d(2)),
                *(fn.BatchNorm2d(33), fn.AvgPool2d(2), fn.LayerNorm((3, 3, 33)), fn.Flatten()),
                *(fn.Linear(9 * 33, 65), fn.BatchNorm1d(65), fn.Linear(65, 10)),
            )
        )
        for seed in range(3):
            generator = np.random.default_rng(seed)
            x = generator.normal(size=(37, 13, 14, 1)).astype(np.float32)
            pair.step(x, generator.integers(0, 10, 37))
        results.add(str(snapshot(pair.planned.model)))
    assert len(results) == 1
