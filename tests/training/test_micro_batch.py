"""`micro_batch`: an update computed in pieces is that of the whole mini-batch, up to rounding."""

import signal

import numpy as np
import pytest
import scipy.sparse as sp

import fastnn as fn
from fastnn.kernels import BACKENDS
from fastnn.losses import LOSSES
from fastnn.training.samples import check_data

RNG = np.random.default_rng(0)
N = 40
X = RNG.standard_normal((N, 6))
LABELS = RNG.integers(0, 3, N)
SOME_LABELS = np.where(RNG.random(N) < 0.3, -1, LABELS)
WEIGHT = RNG.integers(0, 4, N).astype(float)
MASK = np.where(RNG.random((N, 3)) < 0.3, 255, RNG.integers(0, 2, (N, 3)))

plan_or_not = pytest.mark.parametrize("plan", [True, False], ids=["plan", "eager"])


def net(*middle, dtype=np.float64):
    fn.manual_seed(0)
    layers = middle or (fn.Tanh(),)
    return fn.Sequential(fn.Flatten(), fn.Linear(6, 8), *layers, fn.Linear(8, 3)).to(dtype)


def targets(loss):
    """Targets for outputs (40, 3) that fit the loss."""
    if loss.binary:
        return RNG.integers(0, 2, (N, 3)).astype(float)
    return LABELS if isinstance(loss, (fn.CrossEntropy, fn.Focal, fn.Hinge)) else RNG.random((N, 3))


def values(model):
    return [param.value for param in model.parameters()]


def one_update(micro_batch, y, loss, weight=None, **options):
    """The loss and the gradients of an update from X, y and the weight."""
    model = net(**options)
    trainer = fn.Trainer(
        model, loss=loss, optimizer=fn.SGD(0.1), keep_gradients=True, micro_batch=micro_batch
    )
    loss = trainer.step(X, y, weight)
    assert trainer.updates == 1
    return loss, [param.grad for param in model.parameters()]


def check_same(loss, y, weight=None):
    whole, gradients = one_update(None, y, loss, weight)
    for micro_batch in (1, 7, 20, N - 1):
        pieces, sums = one_update(micro_batch, y, loss, weight)
        assert pieces == pytest.approx(whole, rel=1e-12, abs=1e-15)
        for one, other in zip(sums, gradients, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12 * np.abs(other).max())


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "batch_mean"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_pieces_add_up_to_that_of_the_batch(name, reduction, weight):
    loss = LOSSES[name](reduction=reduction)
    check_same(loss, targets(loss), weight)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("loss", "y"),
    {
        "class weights": (fn.CrossEntropy(weight=[1, 5, 0.2]), LABELS),
        "class weights, batch_mean": (fn.CrossEntropy(weight=[1, 5, 0], reduction="batch_mean"), LABELS),
        "ignore_index": (fn.CrossEntropy(ignore_index=-1), SOME_LABELS),
        "ignore_index, class weights": (fn.Focal(ignore_index=-1, weight=[1, 5, 0.2]), SOME_LABELS),
        "ignored pixels": (fn.BinaryCrossEntropy(ignore_index=255, pos_weight=3), MASK),
        "soft targets": (fn.CrossEntropy(weight=[1, 5, 0.2], label_smoothing=0.1), np.eye(3)[LABELS]),
    }.values(),
    ids=str,
)
def test_pieces_are_divided_by_the_divisor_of_the_batch(loss, y, weight):
    check_same(loss, y, weight)


def test_the_divisor_is_summed_in_blocks(monkeypatch):
    monkeypatch.setattr("fastnn.training.pieces.BLOCK", 16)
    check_same(fn.CrossEntropy(weight=[1, 5, 0.2]), LABELS, WEIGHT)
    check_same(fn.BinaryCrossEntropy(ignore_index=255), MASK, WEIGHT)
    check_same(fn.SquaredError("batch_mean"), RNG.random((N, 3)))
    check_same(Absolute(), RNG.random((N, 3)))


@plan_or_not
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_whole_numbers_are_exact(plan, reduction):
    """Sums of integers and divisions by powers of 2 do not round: the same bits in pieces."""
    x, y = (RNG.integers(-3, 4, (32, count)).astype(np.float32) for count in (6, 4))
    results = []
    for micro_batch in (None, 8, 5):
        model = fn.Sequential(fn.Linear(6, 8), fn.ReLU(), fn.Linear(8, 4))
        for seed, param in enumerate(model.parameters()):
            param.value = np.random.default_rng(seed).integers(-3, 4, param.shape)
        options = {"loss": fn.SquaredError(reduction), "optimizer": fn.SGD(1.0), "plan": plan}
        trainer = fn.Trainer(model, micro_batch=micro_batch, **options)
        results.append((trainer.step(x, y), [value.tobytes() for value in values(model)]))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("optimizer", "options"),
    {
        "weight decay": (lambda: fn.SGD(0.1, momentum=0.9, weight_decay=0.1), {}),
        "clipped norm": (lambda: fn.SGD(0.1), {"clip_norm": 0.05}),
        "clipped values": (lambda: fn.RMSprop(0.01), {"clip_value": 0.01}),
        "schedule and averages": (lambda: fn.AdamW(0.1), {"schedule": fn.schedules.Cosine(), "ema": 0.5}),
    }.values(),
    ids=["weight decay", "clipped norm", "clipped values", "schedule and averages"],
)
@plan_or_not
def test_one_update_for_each_batch(optimizer, options, plan):
    """Decay, clipping, schedule and averages come once; loss and accuracy are those of the whole batch."""
    results = []
    for micro_batch in (None, 7):
        model = net()
        history = fn.fit(
            model, (X, LABELS), optimizer=optimizer(), validation=(X, LABELS), batch_size=16, epochs=3,
            seed=0, plan=plan, watch=False, micro_batch=micro_batch, **options,
        )  # fmt: skip
        results.append((history, values(model)))
    (whole, expected), (pieces, found) = results
    assert whole.updates.keys() == pieces.updates.keys()
    assert len(pieces.updates["loss"]) == 9
    np.testing.assert_allclose(pieces.updates["loss"], whole.updates["loss"], rtol=1e-10)
    for name in whole:
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-10)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree(backend):
    _, expected = one_update(7, LABELS, "cross_entropy", dtype=np.float32)
    with fn.backend(backend):
        _, found = one_update(7, LABELS, "cross_entropy", dtype=np.float32)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@plan_or_not
def test_batch_norm_takes_the_statistics_of_each_piece(plan):
    """As in PyTorch's accumulated gradients. A last piece of one sample joins the one before it."""
    found, expected = net(fn.BatchNorm1d(8)), net(fn.BatchNorm1d(8))
    trainer = fn.Trainer(found, optimizer=fn.SGD(0.0), keep_gradients=True, plan=plan, micro_batch=13)
    trainer.step(X, LABELS)
    sums = [np.zeros(param.shape) for param in expected.parameters()]
    for start, stop in ((0, 13), (13, 26), (26, 40)):
        fn.gradients(expected, (X[start:stop], LABELS[start:stop]))
        expected.forward(X[start:stop], train=True)  # updates the running statistics
        for total, param in zip(sums, expected.parameters(), strict=True):
            total += param.grad * ((stop - start) / N)
    for one, other in zip(found.buffers(), expected.buffers(), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-12)
    for param, total in zip(found.parameters(), sums, strict=True):
        np.testing.assert_allclose(param.grad, total, rtol=1e-10, atol=1e-13)


@plan_or_not
def test_dropout_and_augmentation_draw_for_each_piece(plan):
    model = net(fn.Dropout(0.5))
    rotate = fn.augment.Rotate(30)
    trainer = fn.Trainer(model, augment=rotate, plan=plan, micro_batch=13)
    trainer.step(RNG.random((N, 2, 3, 1)), LABELS)
    assert [int(state[1]) for state in model.random_states()] == [4]
    assert trainer.augment_state[1] == 4


@plan_or_not
@pytest.mark.parametrize("micro_batch", [16, 17, 1000])
def test_pieces_as_large_as_the_batch_change_no_bit(micro_batch, plan):
    results = []
    for size in (None, micro_batch):
        model = net(fn.Dropout(0.5))
        options = {"batch_size": 16, "epochs": 2, "seed": 0, "plan": plan, "micro_batch": size}
        history = fn.fit(model, (X, LABELS), **options)
        results.append((history.updates["loss"], [value.tobytes() for value in values(model)]))
    assert results[0] == results[1]


SOURCES = {
    "sparse": lambda folder: sp.csr_array(X),
    "memory map": lambda folder: np.load(folder / "x.npy", mmap_mode="r"),
    "stream": lambda folder: None,
}


@plan_or_not
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_cut_alike(source, plan, tmp_path):
    np.save(tmp_path / "x.npy", X)
    data, sizes = (SOURCES[source](tmp_path), LABELS, WEIGHT), {"batch_size": 16}
    if source == "stream":
        sizes = {}

        def data():
            for start in range(0, N, 16):
                stop = start + 16
                yield X[start:stop], LABELS[start:stop], WEIGHT[start:stop]

    results = []
    for given, own in (((X, LABELS, WEIGHT), {"batch_size": 16}), (data, sizes)):
        model = net(fn.Dropout(0.5))
        options = {"epochs": 2, "seed": 0, "shuffle": False, "plan": plan, "watch": False}
        history = fn.fit(model, given, micro_batch=7, **options, **own)
        results.append((history.updates["loss"], dict(history), [value.tobytes() for value in values(model)]))
    assert results[0] == results[1]


def test_a_checkpoint_resumes_with_the_same_bits_and_knows_micro_batch(tmp_path):
    def train(path, epochs, micro_batch=7):
        model = net(fn.BatchNorm1d(8), fn.Dropout(0.5))
        options = {"batch_size": 20, "seed": 0, "micro_batch": micro_batch, "checkpoint": path}
        history = fn.fit(model, (X, LABELS), epochs=epochs, **options)
        return history.updates["loss"], [value.tobytes() for value in values(model)]

    train(tmp_path / "run", 1)
    with pytest.raises(fn.CheckpointError, match="micro_batch was 7, is 8"):
        train(tmp_path / "run", 3, 8)
    with pytest.raises(fn.CheckpointError, match="micro_batch was 7, is None"):
        train(tmp_path / "run", 3, None)
    assert train(tmp_path / "run", 3) == train(tmp_path / "whole", 3)


@plan_or_not
@pytest.mark.parametrize("what", ["loss", "norm of the gradients"])
def test_a_step_that_is_not_finite_changes_nothing(what, plan, unchanged):
    """Neither the weights, nor what the pieces before the failure have changed."""
    model, optimizer, y = net(fn.BatchNorm1d(8), fn.Dropout(0.5), fn.ReLU()), fn.Adam(), np.eye(3)[LABELS]
    options = {"optimizer": optimizer, "plan": plan, "micro_batch": 7, "clip_norm": 1.0}
    trainer = fn.Trainer(model, loss="absolute_error" if what != "loss" else "squared_error", **options)
    trainer.step(X, y)
    if what == "loss":
        y[-1] = 1e200  # in the last piece
    else:
        model[-1].weight.value = 1e160 * model[-1].weight.value
    states = {name: state.copy() for name, state in trainer.states().items()}
    for _ in range(2):
        with unchanged(model, optimizer), pytest.raises(fn.NonFiniteError, match=f"the {what} is inf"):
            trainer.step(X, y)
    assert {name: state.tolist() for name, state in trainer.states().items()} == {
        name: state.tolist() for name, state in states.items()
    }


@plan_or_not
def test_correct_outputs_of_a_failed_step_are_not_counted(plan):
    x = X.copy()
    model = net(fn.ReLU())
    trainer = fn.Trainer(model, plan=plan, micro_batch=7)
    samples = check_data(model, trainer.loss, (x, LABELS), None)
    losses = np.empty(1)
    trainer.updates_from(samples, np.arange(N), losses, N, True)
    before = trainer.correct
    assert 0 < before <= N
    x[-1] = np.inf  # behind the back of the trainer
    with pytest.raises(fn.NonFiniteError):
        trainer.updates_from(samples, np.arange(N), losses, N, True)
    assert trainer.correct == before
    assert all(param.grad is None for param in model.parameters())


@plan_or_not
def test_ctrl_c_during_a_step_takes_effect_after_it(plan):
    class Press(fn.Tanh):
        pressed = False

        def forward(self, x, *, train=False):
            if not self.pressed:  # a second Ctrl-C would take effect at once
                self.pressed = True
                signal.raise_signal(signal.SIGINT)
            return super().forward(x, train=train)

    whole, pressed = (
        fn.Trainer(net(layer), optimizer=fn.Adam(), plan=plan, micro_batch=30)
        for layer in (fn.Tanh(), Press())
    )
    whole.step(X, LABELS)
    with pytest.raises(KeyboardInterrupt):
        pressed.step(X, LABELS)
    assert pressed.updates == 1
    assert all(map(np.array_equal, values(whole.model), values(pressed.model)))


@plan_or_not
def test_class_weights_of_0_are_named(plan):
    loss = fn.CrossEntropy(weight=[0, 1, 1])
    trainer = fn.Trainer(net(), loss=loss, plan=plan, micro_batch=7)
    with pytest.raises(fn.NonFiniteError, match=r"the weights of all classes in the batch \(0\) are 0"):
        trainer.step(X, np.zeros(N, int))
    assert trainer.updates == 0


def test_samples_of_weight_0_have_no_loss():
    def batches():
        yield X, LABELS, WEIGHT
        yield X, LABELS, 0 * WEIGHT

    history = fn.fit(net(), batches, micro_batch=7, optimizer=fn.SGD(0.1), watch=False)
    assert history.updates["loss"][1] == 0


@plan_or_not
def test_the_option_may_change_between_steps(plan):
    trainers = [fn.Trainer(net(), plan=plan, seed=0, micro_batch=size) for size in (None, 8)]
    for trainer in trainers:
        for micro_batch in (None, None, 8, 8, None, 5, 5, None, None):
            trainer.micro_batch = micro_batch
            trainer.step(X, LABELS)
    assert all(map(np.array_equal, *(values(trainer.model) for trainer in trainers)))


class Halved(fn.CrossEntropy):
    def value_and_gradient(self, y, target):
        loss, dy = super().value_and_gradient(y, target)
        return loss / 2, dy / 2


class Absolute(fn.Loss):
    """The mean of |y - t| over the samples, written in Python."""

    def targets(self, target, outputs, dtype):
        return np.ascontiguousarray(target, dtype)

    def evaluate(self, y, target, reduction, losses, loss, dy):
        divisor = 1 if reduction == "sum" else len(y)
        losses[...] = np.abs(y - target).sum(axis=1)
        loss[0] = losses.sum() / divisor
        if dy is not None:
            dy[...] = np.sign(y - target) / divisor


def test_a_loss_in_python_is_cut_too():
    check_same(Absolute(), RNG.random((N, 3)))
    check_same(Absolute("sum"), RNG.random((N, 3)))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (net(), {"micro_batch": 0}, "micro_batch must be an integer of at least 1, not 0"),
        (net(), {"micro_batch": 2.5}, "micro_batch must be an integer of at least 1, not 2.5"),
        (net(), {"micro_batch": True}, "micro_batch must be an integer of at least 1, not True"),
        (net(fn.BatchNorm1d(8)), {"micro_batch": 1}, "trained with micro_batch=1: its layers, such as batch"),
        (net(), {"micro_batch": 8, "loss": Halved()}, "but Halved overrides value_and_gradient: override"),
    ],
)
def test_what_cannot_be_cut_is_refused_before_anything_changes(model, options, message, unchanged):
    with unchanged(model):
        with pytest.raises(ValueError, match=message):
            fn.fit(model, (X, LABELS), **options)
        with pytest.raises(ValueError, match=message):
            fn.Trainer(model, **options).step(X, LABELS)
        with pytest.raises(ValueError, match=message):
            fn.fit(model, lambda: iter([(X, LABELS)]), **options)


def test_what_needs_no_cut_is_not_refused():
    fn.fit(net(), (X, LABELS), loss=Halved(), batch_size=8, micro_batch=8, watch=False)


def test_names_of_other_libraries_are_answered():
    with pytest.raises(TypeError, match="pass micro_batch, the samples to compute at once"):
        fn.fit(net(), (X, LABELS), accumulate_grad_batches=4)


def test_a_step_in_pieces_cannot_be_profiled():
    trainer = fn.Trainer(net(), micro_batch=8)
    with pytest.raises(RuntimeError, match="micro_batch=8 cuts this batch of 40: pass at most 8 samples"):
        trainer.profile(X, LABELS)
    trainer.profile(X[:8], LABELS[:8], steps=1)
