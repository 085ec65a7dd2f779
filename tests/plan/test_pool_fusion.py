"""Convolution, activation and max pooling fused into one kernel call of a plan: the same bits as unfused."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, empty, ops
from fastnn.measure.profile import flop_of

from ..kernels.columns import both_types, every_isa
from .twins import Twins

FORWARD, BACKWARD = "conv_pool_forward", "conv_pool_dw"
SHAPE = (20, 18, 2)


def images(seed=0, rows=19, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, *SHAPE)).astype(dtype), rng.integers(0, 3, rows)


def net(*front):
    """These layers, then a classifier; of images."""
    layers = fn.Sequential(*front)
    features = int(np.prod(layers.output_shape(SHAPE)))
    return fn.Sequential(layers, fn.Flatten(), fn.Linear(features, 3))


def frozen(name):
    conv = fn.Conv2d(2, 6, (5, 3))
    getattr(conv, name).trainable = False
    return conv


def conv(outputs=6, size=(5, 3), **options):
    """A convolution of the images; by default its outputs are 16 x 16 pixels."""
    return fn.Conv2d(2, outputs, size, **options)


FUSIBLE = {
    "few outputs": lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(2)),
    "outputs whose zeros are skipped": lambda: net(conv(17), fn.ReLU(), fn.MaxPool2d(2)),
    "a gradient for each second pixel": lambda: net(conv(17), fn.MaxPool2d((1, 2))),
    "many outputs": lambda: net(conv(66), fn.ReLU(), fn.MaxPool2d(2)),
    "two convolutions": lambda: net(
        *(conv(), fn.ReLU(), fn.MaxPool2d(2)),
        *(fn.Conv2d(6, 12, 3, padding=1), fn.ReLU(), fn.MaxPool2d(2)),
    ),
    "planes of two outputs, pooled": lambda: net(conv(2), fn.ReLU(), fn.MaxPool2d((3, 2))),
    "windows in the middle of a vector": lambda: net(conv(5), fn.ReLU(), fn.MaxPool2d((3, 5))),
    "a window for the whole image": lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(16)),
    "windows of single pixels": lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(1)),
    "no activation": lambda: net(conv(), fn.MaxPool2d(2)),
    "ReLU after the pool": lambda: net(conv(), fn.MaxPool2d(2), fn.ReLU()),
    "odd sizes": lambda: net(conv(7, 4, bias=False), fn.ReLU(), fn.MaxPool2d(2)),
    "padding": lambda: net(conv(9, 3, padding=1, bias=False), fn.ReLU(), fn.MaxPool2d(4)),
    "strides": lambda: net(conv(9, 3, stride=(2, 1), bias=False), fn.ReLU(), fn.MaxPool2d((2, 3))),
    "dilation": lambda: net(conv(3, 2, dilation=(4, 2)), fn.ReLU(), fn.MaxPool2d(2)),
    "groups": lambda: net(conv(8, groups=2), fn.ReLU(), fn.MaxPool2d(2)),
    "sums of the biases that begin in an image": lambda: net(conv(6, 3), fn.ReLU(), fn.MaxPool2d(2)),
    "frozen bias": lambda: net(frozen("bias"), fn.ReLU(), fn.MaxPool2d(2)),
    "a trainable layer below": lambda: net(
        fn.BatchNorm2d(2), conv(), fn.ReLU(), fn.MaxPool2d(2), fn.BatchNorm2d(6)
    ),
}

# No gradient of the filters, or one that is not summed by images.
FORWARD_ONLY = {
    "frozen filters": lambda: net(frozen("weight"), fn.ReLU(), fn.MaxPool2d(2)),
    "depthwise": lambda: net(conv(2, groups=2), fn.ReLU(), fn.MaxPool2d(2)),
    "large filters": lambda: net(conv(140), fn.ReLU(), fn.MaxPool2d(2)),
}

NOT_FUSIBLE = {
    "overlapping windows": lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(3, stride=2)),
    "gaps between windows": lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(2, stride=3)),
    "gaps, but as many windows as without": lambda: net(
        conv(6, (16, 14)), fn.ReLU(), fn.MaxPool2d(2, stride=3)
    ),
    "padded windows": lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(2, padding=1)),
    "an activation with another gradient": lambda: net(conv(), fn.Tanh(), fn.MaxPool2d(2)),
    "another reader of the outputs": lambda: net(
        conv(), fn.Residual(fn.Sequential(fn.MaxPool2d(1), fn.ReLU())), fn.ReLU()
    ),
    "Winograd's algorithm": lambda: net(
        conv(16, 1), fn.Conv2d(16, 16, 3, padding=1), fn.ReLU(), fn.MaxPool2d(2)
    ),
}


@every_isa
@both_types
@pytest.mark.parametrize("name", FUSIBLE)
def test_fused_steps_have_the_same_bits(name, dtype, isa, snapshot):
    core.select_isa(isa)
    core.set_num_threads(2)
    twins = Twins(snapshot, model=lambda: FUSIBLE[name]().to(dtype))
    for seed in range(3):
        twins.step(*images(seed, dtype=dtype))
    assert {FORWARD, BACKWARD} <= set(twins.calls)
    assert not {"max_pool_forward", "max_pool_dx", "conv_dw"} & set(twins.calls)


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_forward_alone_has_the_same_bits(name, snapshot):
    twins = Twins(snapshot, model=FORWARD_ONLY[name])
    for seed in range(3):
        twins.step(*images(seed))
    assert FORWARD in twins.calls
    assert BACKWARD not in twins.calls


@pytest.mark.parametrize("name", NOT_FUSIBLE)
def test_other_sequences_are_not_fused(name, snapshot):
    twins = Twins(snapshot, model=NOT_FUSIBLE[name])
    for seed in range(3):
        twins.step(*images(seed))
    assert not {FORWARD, BACKWARD} & set(twins.calls)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 100])
def test_batches_of_any_size_on_any_number_of_threads(rows, threads, snapshot):
    core.set_num_threads(threads)
    twins = Twins(snapshot, model=FUSIBLE["two convolutions"])
    for seed in range(2):
        twins.step(*images(seed, rows=rows))
    assert twins.calls.count(FORWARD) == 2
    assert twins.calls.count(BACKWARD) == (2 if rows >= 16 else 0)


def test_images_of_several_blocks(snapshot):
    """Outputs of one image that do not fit into the scratch memory at once: 124 x 125 pixels."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 126, 126, 1)).astype(np.float32), np.arange(3)
    twins = Twins(snapshot, model=one_block)
    for _ in range(2):
        twins.step(x, y)
    assert FORWARD in twins.calls


@every_isa
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_planes_of_several_chunks(isa, threads, snapshot):
    """Windows of 4 rows tile 88 rows, in chunks of 20; threads begin in the middle of an image."""
    core.select_isa(isa)
    core.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(17, 90, 101, 1)).astype(np.float32), np.arange(17) % 3
    twins = Twins(snapshot, model=chunks_of_planes)
    for _ in range(2):
        twins.step(x, y)
    assert FORWARD in twins.calls


def chunks_of_planes():
    front = fn.Conv2d(1, 2, (3, 2)), fn.ReLU(), fn.MaxPool2d((4, 2)), fn.Flatten()
    return fn.Sequential(*front, fn.Linear(22 * 50 * 2, 3))


def one_block():
    front = fn.Conv2d(1, 20, (3, 2)), fn.ReLU(), fn.MaxPool2d((2, 5)), fn.Flatten()
    return fn.Sequential(*front, fn.Linear(62 * 25 * 20, 3))


class MinusOneInPlace(fn.Layer):
    """Overwrites its input, so that the output of the layer below is gone."""

    recordable = True

    def output_shape(self, shape):
        return shape

    def forward(self, x, *, train=False):
        minus_ones = empty(x.shape, x.dtype)
        minus_ones[...] = -1
        ops.add(x, minus_ones, x)
        return x, lambda dy, *, need_dx=True: dy


def test_outputs_of_the_pool_that_a_layer_overwrites(snapshot):
    twins = Twins(snapshot, model=lambda: net(conv(), fn.ReLU(), fn.MaxPool2d(2), MinusOneInPlace()))
    for seed in range(3):
        twins.step(*images(seed))
    assert "relu_dx" in twins.calls


@pytest.mark.parametrize("name", ["few outputs", "many outputs", "no activation"])
def test_nan_and_ties_are_treated_alike(name, snapshot):
    x, y = images()
    x[0, 2, 3] = np.nan
    x[1] = 0  # all pixels are equal
    x[2, 5, 5] = np.inf
    twins = Twins(snapshot, model=FUSIBLE[name], on_nonfinite="ignore")
    for _ in range(2):
        twins.do(lambda trainer: trainer.step(x, y))
        twins.check()
    assert {FORWARD, BACKWARD} <= set(twins.calls)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "build", [*FUSIBLE.values(), *FORWARD_ONLY.values(), *NOT_FUSIBLE.values()], ids=lambda build: ""
)
def test_predictions_have_the_same_bits(build, rows):
    fn.manual_seed(0)
    model, (x, _) = build(), images(rows=rows)
    first = model.predict(x)
    assert all(model.predict(x).tobytes() == first.tobytes() for _ in range(3))
    assert model.forward(x)[0].tobytes() == first.tobytes()


def test_kept_gradients(snapshot):
    twins = Twins(snapshot, model=FUSIBLE["two convolutions"], keep_gradients=True)
    for seed in range(3):
        twins.step(*images(seed))
        planned, eager = (trainer.model.parameters() for trainer in twins.both)
        assert [p.grad.tobytes() for p in planned] == [p.grad.tobytes() for p in eager]
    assert twins.calls.count(BACKWARD) == 2


def test_pieces_of_a_mini_batch(snapshot):
    """Pieces of 20 images, and a last one of 7, whose filters are not summed by images."""
    twins = Twins(snapshot, model=FUSIBLE["two convolutions"], micro_batch=20)
    for seed in range(3):
        twins.step(*images(seed, rows=47))
    plans = twins.planned._plans._recorded.values()
    names = [[name for name, *_ in recorded.plan.calls()] for recorded in plans]
    assert sorted(each.count(BACKWARD) for each in names) == [0, 2]


def test_the_outputs_of_each_layer_can_be_read():
    model, (x, y) = FUSIBLE["two convolutions"](), images()
    trainer, z = fn.Trainer(model), x
    for _ in range(3):
        trainer.step(x, y)
        model.predict(x)
    for number, layer in enumerate(model[0]):
        z = layer.forward(z)[0]
        for _ in range(3):
            assert fn.features(model[0], x, upto=number).tobytes() == z.tobytes()
        assert fn.inspect(model, x, y)[f"0.{number}"].output.tobytes() == z.tobytes()


def test_the_profile_counts_the_same_work(snapshot):
    fused, plain = (
        Twins(snapshot, model=FUSIBLE["two convolutions"], fuse=fuse, keep_gradients=True)
        for fuse in (True, False)
    )
    for twins in (fused, plain):
        twins.step(*images())
    plans = [twins.planned._plans.last.plan for twins in (fused, plain)]
    assert flop_of(plans[0]) == flop_of(plans[1]) > 0
    # Forward, 3 calls become 1; backward, 4 calls become 1. Twice.
    assert len(plans[1]) - len(plans[0]) == 2 * (2 + 3)
