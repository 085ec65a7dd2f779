"""Updates in pieces: recorded pieces have the bits of eager ones, whatever happens between the updates."""

import copy

import numpy as np
import pytest

import fastnn as fn

from .test_python_layers import MIDDLE, Scale
from .test_python_rules import Absolute, rows
from .test_running_moments import NETS
from .twins import CLASSES, FEATURES, batch, small_net

NETS = {
    **NETS,
    "plain": small_net,
    "dropout": lambda: small_net(fn.ReLU(), fn.Dropout(0.3), fn.Linear(16, 16), fn.LayerNorm(16)),
    "pooled": lambda: small_net(
        *(fn.Reshape(4, 4, 1), fn.Conv2d(1, 6, 3, padding=1), fn.BatchNorm2d(6), fn.ReLU()),
        *(fn.MaxPool2d(2), fn.Flatten(), fn.Linear(24, 16)),
    ),
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
fused_or_not = pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])


@every_net
@fused_or_not
@pytest.mark.parametrize("size", [4, 11, 32])
def test_recorded_pieces_equal_eager_ones(net, fuse, size, twins):
    """33 samples: pieces that fit, and a last one that is smaller, or joins the one before it."""
    pair = twins(net, optimizer=fn.Adam, fuse=fuse, micro_batch=size)
    pair.run(4)
    assert not pair.planned.last_plan.makes_update
    pair.step(*batch(9, rows=5))
    pair.run(2)


def test_pieces_are_recorded_once_for_each_size(twins):
    """Neither the state that the optimizer makes in the first update, nor its learning rate matters."""
    pair = twins(optimizer=fn.Adam, micro_batch=8)
    pair.step()
    recorded = dict(pair.planned._plans._recorded)
    assert sorted(len(each.inputs[0]) for each in recorded.values()) == [1, 8]
    pair.do(lambda trainer: setattr(trainer.optimizer, "lr", 0.1))
    pair.run(3)
    assert pair.planned._plans._recorded == recorded


@pytest.mark.parametrize("option", [{"clip_norm": 0.1}, {"clip_value": 0.01}, {"ema": 0.9}], ids=str)
@pytest.mark.parametrize("optimizer", [fn.SGD, fn.AdamW, fn.RMSprop])
def test_options_and_optimizers(optimizer, option, twins):
    pair = twins(optimizer=lambda: optimizer(0.01), micro_batch=8, **option)
    pair.run(4)
    pair.do(lambda trainer: setattr(trainer.optimizer, "lr", 0.1))
    pair.run()


@pytest.mark.parametrize("on_nonfinite", ["ignore", "stop"])
def test_nan_is_ignored_or_stops(on_nonfinite, twins):
    pair = twins(on_nonfinite=on_nonfinite, optimizer=fn.Adam, micro_batch=8)
    pair.run(2)
    x, y = batch(5)
    x[-1, 0] = np.nan
    before = pair.planned.model[0].weight.value
    pair.step(x, y)
    after = pair.planned.model[0].weight.value
    assert np.isnan(after).any() if on_nonfinite == "ignore" else np.array_equal(before, after)


@pytest.mark.parametrize("layer", MIDDLE)
def test_python_layers(layer, twins):
    pair = twins(lambda: small_net(MIDDLE[layer]()), optimizer=fn.Adam, micro_batch=8)
    pair.run(4)
    assert pair.replays


class Late(Scale):
    """It computes the gradient of its parameter from the second update on."""

    calls = 0

    def forward(self, x, *, train=False):
        y, back = super().forward(x, train=train)

        def backward(dy, *, need_dx=True):
            self.calls += 1
            dx = back(dy, need_dx=need_dx)
            if self.calls <= 5:
                self.a.grad = None
            return dx

        return y, backward


def test_a_gradient_that_python_code_computes_later(twins):
    pair = twins(lambda: small_net(Late()), micro_batch=8)
    pair.run(4)
    param = pair.planned.model[1].a
    assert param.grad is not None
    assert not np.array_equal(param.value, np.linspace(0.5, 1.5, 16, dtype=np.float32))


def test_python_loss_and_first_layer(twins):
    pair = twins(lambda: fn.Sequential(Scale(FEATURES), small_net()), loss=Absolute, micro_batch=8)
    for seed in range(4):
        x, y = batch(seed)
        pair.step(x, rows(x, y))


@fused_or_not
def test_whole_updates_and_updates_in_pieces_alternate(fuse, twins):
    """The plans of both share the parameters; p.grad is that of the last update."""
    pair = twins(small_net, fuse=fuse, keep_gradients=True, micro_batch=8)
    for count in (33, 8, 5, 33, 33, 8, 8, 5, 16, 33):
        x, y = batch(count, rows=count)
        pair.step(x, y)
        planned, eager = (trainer.model.parameters() for trainer in pair.both)
        for one, other in zip(planned, eager, strict=True):
            np.testing.assert_array_equal(one.grad, other.grad)


def test_fused_updates_between_pieces_leave_no_old_gradient(twins):
    pair = twins(small_net, micro_batch=8)
    for count in (8, 33, 8, 8):
        pair.step(*batch(count, rows=count))
        assert (pair.planned.model.parameters()[0].grad is None) == (count == 8)


def test_what_changes_between_the_updates(twins):
    pair = twins(small_net, optimizer=fn.Adam, micro_batch=8)
    pair.run(2)
    for change in (
        lambda trainer: setattr(trainer.model[0].weight, "trainable", False),
        lambda trainer: setattr(trainer.model[0].weight, "trainable", True),
        lambda trainer: setattr(trainer.model[2].bias, "value", np.ones(CLASSES)),
        lambda trainer: setattr(trainer.model[2].weight, "lr_scale", 0.5),
        lambda trainer: setattr(trainer, "micro_batch", 5),
        lambda trainer: setattr(trainer, "loss", fn.CrossEntropy(reduction="sum")),
        lambda trainer: trainer.model.to(np.float64),
    ):
        pair.do(change)
        pair.run(2)
        assert pair.replays


def test_copies_go_on_with_the_same_bits(twins, snapshot):
    pair = twins(NETS["dropout"], optimizer=fn.Adam, micro_batch=8)
    pair.run(2)
    copies = [copy.deepcopy(trainer) for trainer in pair.both]
    pair.run(2)
    for seed in (2, 3):
        for trainer in copies:
            trainer.step(*batch(seed))
    found = {str(snapshot(trainer.model, trainer.optimizer)) for trainer in (*copies, *pair.both)}
    assert len(found) == 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads, snapshot):
    x = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    found = []
    for count in (1, threads):
        fn.set_num_threads(count)
        model, optimizer = fn.nets.mlp([200, 300, 10]), fn.SGD(0.1)
        fn.manual_seed(0)
        for seed, param in enumerate(model.parameters()):
            param.value = np.random.default_rng(seed).normal(size=param.shape) / 20
        options = {"batch_size": 300, "epochs": 3, "seed": 0, "micro_batch": 128}
        history = fn.fit(model, (x, np.arange(300) % 10), optimizer=optimizer, **options)
        found.append((history.updates["loss"], snapshot(model, optimizer)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "options", [{}, {"plan": False}, {"augment": fn.augment.Rotate(10)}], ids=["plan", "eager", "augmented"]
)
def test_fit_and_single_steps_have_the_same_bits(options, snapshot):
    """`fit` gathers the pieces by index, `step` gets whole batches."""
    x = np.random.default_rng(0).integers(0, 256, (50, 2, 3, 1), dtype=np.uint8)
    y = np.arange(50) % CLASSES
    models = [fn.Sequential(fn.Flatten(), NETS["dropout"]()) for _ in range(2)]
    optimizers = [fn.Adam(), fn.Adam()]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        other.value = one.value
    common = {"micro_batch": 7, "seed": 4, **options}
    history = fn.fit(
        models[0], (x, y), optimizer=optimizers[0], batch_size=20, epochs=3, order="fixed", watch=False,
        **common,
    )  # fmt: skip
    trainer = fn.Trainer(models[1], optimizer=optimizers[1], **common)
    losses = [trainer.step(x[i : i + 20], y[i : i + 20]) for _ in range(3) for i in (0, 20, 40)]
    assert losses == history.updates["loss"]
    assert snapshot(models[0], optimizers[0]) == snapshot(models[1], optimizers[1])


def test_labels_that_change_behind_the_back_are_found():
    """The pieces before the wrong label change nothing."""
    x, y = batch(0, rows=48)
    model = small_net(fn.BatchNorm1d(16))

    class Spoil(fn.Callback):
        def on_update(self, training, loss):
            self.before = [param.value for param in training.model.buffers()]
            y[40] = CLASSES

    spoil = Spoil()
    with pytest.raises(ValueError, match="labels"):
        fn.fit(model, (x, y), batch_size=48, epochs=3, order="fixed", callbacks=spoil, micro_batch=16)
    for buffer, value in zip(model.buffers(), spoil.before, strict=True):
        np.testing.assert_array_equal(buffer.value, value)


def test_one_piece_at_a_time_is_in_memory():
    def arena(micro_batch):
        trainer = fn.Trainer(fn.nets.mlp([50, 200, 200, 3]), optimizer=fn.SGD(0.1), micro_batch=micro_batch)
        x = np.zeros((8000, 50), np.float32)
        trainer.step(x, np.zeros(8000, int))
        trainer.step(x, np.zeros(8000, int))
        return sum(map(len, trainer._plans._arena._chunks))

    assert 5 * arena(512) < arena(None)
