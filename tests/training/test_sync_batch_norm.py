"""`sync_batch_norm=True`: batch norm over the samples of all processes, with the result of one process."""

from functools import partial

import numpy as np
import pytest

import fastnn as fn

from .team import together

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((53, 6)), RNG.integers(0, 3, 53)
IMAGES = RNG.integers(0, 256, (20, 4, 4, 2), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _one_thread():
    fn.set_num_threads(1)


def dense():
    """A net whose batch norms come first, in the middle, and at the end."""
    middle = fn.BatchNorm1d(8), fn.ReLU(), fn.Linear(8, 5), fn.BatchNorm1d(5, affine=False, momentum=0.4)
    return fn.Sequential(fn.BatchNorm1d(6), fn.Linear(6, 8), *middle, fn.Linear(5, 3), fn.BatchNorm1d(3))


def convolutional():
    first = fn.Conv2d(2, 4, 3, padding=1), fn.BatchNorm2d(4), fn.ReLU(), fn.MaxPool2d(2)
    return fn.Sequential(*first, fn.Flatten(), fn.Linear(16, 3, bias=False), fn.BatchNorm1d(3))


def build(net=dense, dtype=np.float64):
    fn.manual_seed(0)
    return net().to(dtype)


def held(model):
    return [each.value for each in (*model.parameters(), *model.buffers())]


def train(communicator=None, *, model=None, data=(X, LABELS), optimizer=fn.SGD, **options):
    """The history of a training, and the values that the model holds."""
    model = model or build()
    common = {"batch_size": 16, "epochs": 3, "seed": 3, "sync_batch_norm": True, "validation": data}
    options = {**common, **options, "optimizer": optimizer(0.1)}
    history = fn.fit(model, data, communicator=communicator, **options)
    return history.as_dict(), held(model)


def same_bits(*results):
    """All processes have the same history and the same values, to the last bit."""
    return len({repr((history, [value.tobytes() for value in values])) for history, values in results}) == 1


NETS = {
    "dense": {},
    "convolutional": {"net": convolutional, "data": (IMAGES, LABELS[:20]), "batch_size": 7},
}
OPTIONS = {
    "defaults": {},
    "eager": {"plan": False},
    "not fused": {"fuse": False},
    "momentum": {"optimizer": partial(fn.SGD, momentum=0.9)},
    "clipped average": {"clip_norm": 0.05, "ema": 0.5},
}


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_the_result_is_that_of_one_process(net, options, count):
    """Batches of 16 and a last one of 5 make uneven shares, some of them of a single sample."""

    def run(communicator=None):
        arguments = {**net, **options}
        return train(communicator, model=build(arguments.pop("net", dense)), **arguments)

    expected, wanted = run()
    results = together(count, run)
    assert same_bits(*results)
    found, values = results[0]
    for kind in ("epochs", "updates"):
        for name, curve in expected[kind].items():
            np.testing.assert_allclose(found[kind][name], curve, rtol=1e-9)
    for value, one in zip(values, wanted, strict=True):
        np.testing.assert_allclose(value, one, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_the_same_bits_each_time_with_plans_and_without(net):
    def run(communicator, plan):
        arguments = dict(net)
        model = build(arguments.pop("net", dense), np.float32)
        return train(communicator, model=model, plan=plan, **arguments)

    results = [together(3, partial(run, plan=plan)) for plan in (True, True, False)]
    assert same_bits(*results[0], *results[1], *results[2])


FUSED = {"norm_relu_pool_forward", "norm_relu_pool_sums", "norm_relu_pool_dx"}
SEPARATE = {"batch_norm_forward", "batch_norm_sums", "batch_norm_dx", "relu_dx", "max_pool_dx"}


def two_blocks():
    first = fn.Conv2d(2, 18, 3, padding=1), fn.BatchNorm2d(18), fn.ReLU(), fn.MaxPool2d(2)
    second = fn.Conv2d(18, 5, 2), fn.BatchNorm2d(5), fn.ReLU()
    return fn.Sequential(*first, *second, fn.Flatten(), fn.Linear(5, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_relu_and_pool_are_fused_around_the_sums_with_the_same_bits(dtype):
    def run(communicator, fuse):
        model = build(two_blocks, dtype)
        options = {"optimizer": fn.SGD(0.1), "sync_batch_norm": True, "seed": 0, "fuse": fuse}
        trainer = fn.Trainer(model, communicator=communicator, **options)
        losses = [trainer.step(IMAGES[:rows], LABELS[:rows]) for rows in (20, 20, 7, 7)]
        kernels = {name for name, *_ in trainer._plans.last.plan.calls()}
        return losses, [value.tobytes() for value in held(model)], kernels

    (*fused, kernels), _ = together(2, partial(run, fuse=True))
    (*plain, separate), _ = together(2, partial(run, fuse=False))
    assert fused == plain
    assert kernels >= FUSED
    assert not kernels & SEPARATE
    assert separate >= SEPARATE


@pytest.mark.parametrize("count", [2, 4])
def test_whole_numbers_are_exact(count):
    """Columns with mean 0 and variance 4 are divided by 2: no sum rounds, so the bits are those of one."""
    signs = np.where(np.random.default_rng(0).permuted(np.arange(32 * 6).reshape(32, 6) % 2, axis=0), 2, -2)
    x = np.concatenate([signs, -signs]).astype(np.float32)
    y = np.random.default_rng(1).integers(-3, 4, (64, 3)).astype(np.float32)

    def step(communicator):
        norm = fn.BatchNorm1d(6, epsilon=0, momentum=0.5)
        model = build(lambda: fn.Sequential(fn.Linear(6, 6), norm, fn.Linear(6, 3, bias=False)), np.float32)
        model[0].weight, model[0].bias = np.eye(6), np.zeros(6)
        model[2].weight = np.random.default_rng(2).integers(-3, 4, (6, 3))
        options = {"loss": fn.SquaredError("sum"), "optimizer": fn.SGD(1.0), "sync_batch_norm": True}
        loss = fn.Trainer(model, communicator=communicator, **options).step(x, y)
        return loss, [value.tobytes() for value in held(model)]

    assert together(count, step) == [step(None)] * count


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inputs_far_from_0_keep_their_variance(dtype):
    """It is 1, and the mean 1,000 (float32) or 1,000,000: squares around the running mean hardly cancel."""
    x = (X + {np.float32: 1e3, np.float64: 1e6}[dtype]).astype(dtype)

    def variance(communicator=None):
        model = build(lambda: fn.Sequential(fn.BatchNorm1d(6, momentum=1.0), fn.Linear(6, 3)), dtype)
        trainer = fn.Trainer(model, optimizer=fn.SGD(0.0), communicator=communicator, sync_batch_norm=True)
        trainer.step(x, LABELS)  # the running mean is then that of the batch
        trainer.step(x, LABELS)
        return model.buffers()[1].value

    for found in together(2, variance):
        np.testing.assert_allclose(found, variance(), rtol={np.float32: 1e-5, np.float64: 1e-9}[dtype])


def test_calls_of_an_update():
    """Two sums per batch norm, but one for the first, whose input needs no gradient; counts; gradients."""

    def run(communicator):
        trainer = fn.Trainer(build(), communicator=communicator, sync_batch_norm=True)
        trainer.step(X, LABELS)
        communicator.calls.clear()
        trainer.step(X, LABELS)
        return communicator.calls

    assert together(2, run) == [["Allreduce"] * (4 + 3 + 2)] * 2


def test_in_one_process_it_changes_nothing():
    plain = train(sync_batch_norm=False)
    assert same_bits(plain, train(), *together(1, train))
    assert not same_bits(plain, *together(2, partial(train, sync_batch_norm=False)))


def test_it_may_change_between_steps():
    def run(communicator, *choices):
        trainer = fn.Trainer(build(), communicator=communicator, seed=0, optimizer=fn.SGD(0.1))
        trainer.begin_sums()  # for a step without it
        for choice in choices:
            trainer.sync_batch_norm = choice
            trainer.step(X[:16], LABELS[:16])
        return held(trainer.model)

    alone = run(None, True, True)
    for values in together(2, lambda communicator: run(communicator, True, True)):
        for value, wanted in zip(values, alone, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-12)
    one, other = together(2, lambda communicator: run(communicator, True, False))
    assert all(map(np.array_equal, one, other))
    assert not np.allclose(one[2], alone[2], rtol=1e-6)


def around_norm(skip=lambda: False):
    """A layer in Python around a batch norm; `skip()` tells whether a forward pass leaves it out."""

    class Around(fn.Layer):
        def __init__(self):
            self.norm = fn.BatchNorm1d(6)

        def forward(self, x, *, train=False):
            return (x, lambda dy, *, need_dx=True: dy) if skip() else self.norm.forward(x, train=train)

    return fn.Sequential(Around(), fn.Linear(6, 3))


@pytest.mark.parametrize("plan", [True, False])
def test_batch_norm_inside_a_layer_in_python(plan):
    def run(communicator=None):
        return train(communicator, model=build(around_norm), plan=plan)

    _, wanted = run()
    for _, values in together(2, run):
        for value, one in zip(values, wanted, strict=True):
            np.testing.assert_allclose(value, one, rtol=1e-9, atol=1e-12)


def test_a_batch_norm_that_only_some_processes_run():
    def run(communicator):
        skip = iter([False, communicator.rank == 1]).__next__
        model = build(lambda: around_norm(skip))
        trainer = fn.Trainer(model, communicator=communicator, seed=0, sync_batch_norm=True)
        trainer.step(X, LABELS)
        before = held(model)
        with pytest.raises(fn.ProcessError, match="some processes ran more of them than others"):
            trainer.step(X, LABELS)
        return all(map(np.array_equal, before, held(trainer.model)))

    assert together(2, run) == [True, True]


def test_a_batch_norm_that_the_model_does_not_know():
    class Hidden(fn.Layer):
        norms = {"here": fn.BatchNorm1d(6)}  # noqa: RUF012 (a mistake on purpose)

        def forward(self, x, *, train=False):
            return self.norms["here"].forward(x, train=train)

    model = partial(fn.Sequential, Hidden(), fn.Linear(6, 3))
    for error in together(2, lambda communicator: train(communicator, model=build(model), epochs=1)):
        assert "a batch norm layer with 6 channels is not among the layers that the model knows" in str(error)


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("stage", ["forward", "backward"])
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_between_two_batch_norms(rank, stage, plan):
    """The others wait in the middle of an update; nothing changes in any process, and all can go on."""

    def run(communicator):
        failing = []

        class Fail(fn.Layer):
            def forward(self, x, *, train=False):
                self.fail("forward")
                return x, self.backward

            def backward(self, dy, *, need_dx=True):
                self.fail("backward")
                return dy

            def fail(self, where):
                if where in failing:
                    raise ZeroDivisionError("boom")

        first, last = fn.BatchNorm1d(6), fn.BatchNorm1d(6)
        model = build(lambda: fn.Sequential(fn.Linear(6, 6), first, Fail(), last, fn.Linear(6, 3)))
        trainer = fn.Trainer(model, communicator=communicator, seed=0, plan=plan, sync_batch_norm=True)
        trainer.step(X, LABELS)
        trainer.step(X, LABELS)
        before = held(model)
        failing += [stage] if communicator.rank == rank else []
        with pytest.raises((ZeroDivisionError, fn.ProcessError)) as caught:
            trainer.step(X, LABELS)
        assert all(map(np.array_equal, before, held(model)))
        failing.clear()
        return str(caught.value), trainer.step(X, LABELS)

    results = together(2, run)
    texts, losses = zip(*results, strict=True)
    assert texts[rank] == "boom"
    assert texts[1 - rank] == f"process {rank} of 2 failed: ZeroDivisionError: boom"
    assert losses[0] == losses[1]


def test_what_stops_one_process_stops_all():
    class Stop(fn.Callback):
        def on_update(self, training, loss):
            if training.trainer.processes.rank == 1 and training.updates == 5:
                training.stop("enough")

    results = together(2, lambda communicator: train(communicator, callbacks=Stop(), validate_every=2))
    assert same_bits(*results)
    assert results[0][0]["stopped"] == "enough"
    assert len(results[0][0]["updates"]["loss"]) == 5


@pytest.mark.parametrize("on_nonfinite", ["stop", "ignore"])
def test_nan_in_one_process_reaches_the_moments_of_all(on_nonfinite):
    def run(communicator):
        factors = iter([1, 1, np.nan if communicator.rank == 1 else 1])

        class Spoil(fn.Layer):
            def forward(self, x, *, train=False):
                return x * (next(factors, 1) if train else 1), lambda dy, *, need_dx=True: dy

        model = build(lambda: fn.Sequential(Spoil(), dense()))
        return train(communicator, model=model, on_nonfinite=on_nonfinite, epochs=1)

    results = together(2, run)
    assert same_bits(*results)
    history, values = results[0]
    is_stopped = on_nonfinite == "stop"
    assert len(history["updates"]["loss"]) == (2 if is_stopped else 4)
    assert all(np.isfinite(value).all() == is_stopped for value in values)


def test_each_process_needs_a_sample():
    for error in together(4, partial(train, batch_size=3)):
        assert "at least 4 samples in a mini-batch that 4 processes share" in str(error)
    # 12 batches of 4 and a last one of 5.
    for history, _ in together(4, partial(train, batch_size=4, epochs=1)):
        assert len(history["updates"]["loss"]) == 13

    def step(communicator):
        model = build(lambda: fn.Sequential(fn.Flatten(), fn.Linear(32, 3)))
        trainer = fn.Trainer(model, communicator=communicator, sync_batch_norm=True)
        return trainer.step(IMAGES[:3], LABELS[:3])

    for error in together(4, step):
        assert "share a mini-batch of 3 samples, but sync_batch_norm=True needs at least one" in str(error)


def test_a_checkpoint_resumes_with_the_same_bits(tmp_path):
    def run(communicator, path, epochs):
        return train(communicator, checkpoint=tmp_path / path, epochs=epochs)

    whole = together(2, partial(run, path="whole", epochs=3))
    together(2, partial(run, path="parts", epochs=1))
    assert same_bits(*whole, *together(2, partial(run, path="parts", epochs=3)))
    for error in together(2, lambda c: train(c, checkpoint=tmp_path / "parts", sync_batch_norm=False)):
        assert "sync_batch_norm" in str(error)
