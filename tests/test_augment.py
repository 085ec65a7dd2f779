"""Augmentation: composition, calls on images, and use in `fit` and `Trainer`, with and without a plan."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.augment import Crop, Elastic, Flip, Rotate, Scale, Shear, Shift, Together

ALL = Rotate(15) | Shift(2) | Scale(0.1) | Shear(10) | Flip() | Crop(1) | Elastic(8, 2)


def digits(dtype=np.uint8, count=96, side=10, channels=0):
    rng = np.random.default_rng(0)
    shape = (count, side, side, channels) if channels else (count, side, side)
    x = rng.integers(0, 256, shape)
    return (x / 255 if dtype != np.uint8 else x).astype(dtype), rng.integers(0, 3, count)


def net(side=10, channels=1, seed=0):
    fn.manual_seed(seed)
    return fn.Sequential(
        fn.Conv2d(channels, 4, 3),
        fn.BatchNorm2d(4),
        fn.ReLU(),
        fn.Flatten(),
        fn.Dropout(0.2),
        fn.Linear(4 * (side - 2) ** 2, 3),
    )


def state_of(model):
    return [p.value for p in model.parameters()] + [b.value for b in model.buffers()]


def same(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_composition_has_repr_and_parts():
    assert repr(Rotate(15) | Shift(2)) == "Rotate(degrees=15) | Shift(pixels=2)"
    assert (Rotate(15) | (Shift(2) | Flip())).parts == (Rotate(15), Shift(2), Flip())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 12, 9), (5, 12, 9, 3)], ids=str)
def test_call_returns_augmented_copies(shape, dtype):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    before = x.copy()
    one, again, other = ALL(x, seed=1), ALL(x, seed=1), ALL(x, seed=2)
    assert one.shape == shape
    assert one.dtype == dtype
    assert one.tobytes() == again.tobytes() != other.tobytes()
    assert x.tobytes() == before.tobytes()
    assert Rotate(0)(x, seed=0).tobytes() == x.tobytes()


def test_pairs_may_be_lists():
    for one, other in (
        (Scale([0.8, 1.2]), Scale((0.8, 1.2))),
        (Shift([1, 2]), Shift((1, 2))),
        (Crop(2), Crop([2, 2])),
    ):
        assert one.settings() == other.settings()


def test_each_image_is_augmented_differently():
    x = np.repeat(digits(count=1)[0], 20, axis=0)
    assert len({image.tobytes() for image in Rotate(30)(x, seed=0)}) == 20


def test_crops_and_flips_do_not_interpolate_pixels():
    x = np.random.default_rng(0).integers(1, 256, (200, 6, 6, 3)).astype(np.uint8)
    flipped = Flip(0.5, 0.5)(x, seed=0)
    kinds = x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]
    counts = [sum(map(np.array_equal, flipped, kind)) for kind in kinds]
    assert sum(counts) == 200
    assert min(counts) > 30
    padded = np.pad(x, ((0, 0), (2, 2), (0, 0), (0, 0)))
    for image, room in zip(Crop((2, 0))(x, seed=0), padded, strict=True):
        assert any(np.array_equal(image, room[top : top + 6]) for top in range(5))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("augment", [Rotate(20), ALL], ids=["rotate", "all"])
def test_plan_equals_eager_for_any_number_of_threads(augment, dtype):
    def trained(threads, **options):
        fn.set_num_threads(threads)
        model = net()
        history = fn.fit(
            model, digits(dtype), augment=augment, batch_size=20, epochs=3, seed=5, progress=False, **options
        )
        return [*state_of(model), np.array(history.updates["loss"])]

    before = fn.get_num_threads()
    try:
        wanted = trained(1)
        assert same(wanted, trained(1, plan=False))
        assert same(wanted, trained(2))
        assert same(wanted, trained(3, fuse=False))
    finally:
        fn.set_num_threads(before)


@pytest.mark.parametrize("backend", ["jit", "ref"])
def test_all_backends_train_with_the_same_augmented_images(backend):
    losses = []
    for name in ("aot", backend):
        with fn.backend(name):
            model = net()
            history = fn.fit(model, digits(), augment=ALL, batch_size=32, epochs=2, seed=5, progress=False)
            losses.append(history.updates["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_uint8_images_are_scaled_by_1_over_255():
    """The model has no batch norm, which would hide a wrong scale."""
    losses = []
    for dtype in (np.uint8, np.float32):
        fn.manual_seed(0)
        model = fn.Sequential(fn.Flatten(), fn.Linear(100, 3))
        history = fn.fit(model, digits(dtype), augment=ALL, batch_size=32, seed=5, progress=False)
        losses.append(history.updates["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_validation_is_not_augmented():
    x, y = digits()
    model = net()
    history = fn.fit(
        model, (x, y), validation=(x, y), augment=Shift(5), optimizer=fn.SGD(1e-9), seed=0, progress=False
    )
    assert history["val_loss"][-1] == fn.evaluate(model, (x, y))["loss"]


def test_each_epoch_draws_new_augmentations():
    """With a learning rate of 0, only the images change from epoch to epoch."""
    x, y = digits()
    model = fn.Sequential(fn.Flatten(), fn.Linear(100, 3))
    options = {"optimizer": fn.SGD(0.0), "batch_size": 96, "epochs": 3, "seed": 0, "progress": False}
    plain = fn.fit(model, (x, y), shuffle=False, **options)
    changed = fn.fit(model, (x, y), shuffle=False, augment=Rotate(40), **options)
    assert len(set(plain["loss"])) == 1
    assert len(set(changed["loss"])) == 3


def test_step_augments_its_batch():
    x, y = digits()
    losses = {}
    for augment in (None, Rotate(30)):
        for plan in (True, False):
            trainer = fn.Trainer(net(), seed=1, augment=augment, plan=plan)
            losses[augment, plan] = [trainer.step(x, y) for _ in range(4)]
    assert losses[None, True] == losses[None, False]
    assert losses[Rotate(30), True] == losses[Rotate(30), False] != losses[None, True]


def test_changed_augmentation_records_a_new_plan():
    x, y = digits()
    for plan in (True, False):
        trainer = fn.Trainer(fn.Sequential(fn.Flatten(), fn.Linear(100, 3)), optimizer=fn.SGD(0.0), plan=plan)
        plain = trainer.step(x, y)
        trainer.augment = Shift(4)
        moved = trainer.step(x, y)
        assert moved != plain
        trainer.augment = None
        assert trainer.step(x, y) == plain
        assert repr(trainer.augment) == "None"


@pytest.mark.parametrize("plan", [True, False])
def test_failed_step_does_not_advance_the_random_state(plan):
    x, y = digits(np.float32)
    trainer = fn.Trainer(net(), optimizer=fn.SGD(0.1), augment=Rotate(10), plan=plan, seed=0)
    trainer.step(x, y)
    before = trainer.augment_state.copy()
    bias = trainer.model[5].bias
    kept = bias.value.copy()
    bias.value = np.full_like(kept, np.inf)
    with pytest.raises(fn.NonFiniteError):
        trainer.step(x, y)
    assert np.array_equal(trainer.augment_state, before)
    bias.value = kept
    trainer.step(x, y)
    assert trainer.augment_state[1] == before[1] + 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotate(-1), "degrees"),
        (lambda: Rotate(np.nan), "degrees"),
        (lambda: Shear(90), "below 90"),
        (lambda: Scale(1.5), "0 < low"),
        (lambda: Scale((2.0, 1.0)), "0 < low"),
        (lambda: Shift((1, -1)), "pixels"),
        (lambda: Crop(1.5), "whole numbers"),
        (lambda: Flip(1.2), "horizontal"),
        (lambda: Elastic(1, 0), "sigma"),
        (lambda: Rotate(5) | Shift(1) | Rotate(9), "Rotate occurs twice"),
        (lambda: Shift((1, 2, 3)), "pixels must be a number or a pair"),
        (lambda: Crop((1,)), "padding must be a number or a pair"),
        (lambda: Scale(("a", "b")), "change must be a number or a pair"),
    ],
)
def test_invalid_arguments_are_rejected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_non_augmentations_are_rejected():
    with pytest.raises(TypeError, match="parentheses"):
        Together(Rotate)
    with pytest.raises(TypeError, match="Rotate"):
        fn.Trainer(net(), augment="rotate")
    with pytest.raises(TypeError):
        Rotate(5) | 3


def test_non_images_are_rejected():
    x, y = np.zeros((8, 100), np.float32), np.zeros(8, int)
    model = fn.Sequential(fn.Linear(100, 3))
    with pytest.raises(ValueError, match=r"not samples of shape \(100,\)"):
        fn.fit(model, (x, y), augment=Rotate(5), progress=False)
    with pytest.raises(ValueError, match="Flatten"):
        fn.Trainer(model, augment=Rotate(5)).step(x, y)
    with pytest.raises(TypeError, match="int64"):
        Rotate(5)(np.zeros((2, 3, 3), int))
    with pytest.raises(ValueError, match="images"):
        Rotate(5)(np.zeros((2, 3)))
