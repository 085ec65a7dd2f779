"""`Trainer.profile`: its rows, shapes and FLOP counts, and that it leaves the model unchanged."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.measure.profile import Profile, Row


def trainer():
    fn.manual_seed(0)
    return fn.Trainer(fn.Sequential(fn.Linear(6, 16), fn.ReLU(), fn.Dropout(0.2), fn.Linear(16, 3)))


X, Y = np.random.default_rng(0).normal(size=(33, 6)), np.arange(33) % 3
BATCHES = {
    "as the kernels take it": (X.astype(np.float32), Y),
    "float64": (X, Y),
    "int32 labels": (X.astype(np.float32), Y.astype(np.int32)),
    "lists": (X.tolist(), Y.tolist()),
    "strided": (np.repeat(X.astype(np.float32), 2, axis=1)[:, ::2], Y),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_profile_accepts_every_batch_that_step_accepts(batch):
    profile = trainer().profile(*batch, steps=50)
    assert "dense_forward" in [row.kernel for row in profile.rows]
    assert profile.kernel_seconds > 0
    assert profile.step_seconds > 0


def test_profile_keeps_large_converted_batches_alive():
    """The memory of a large array returns to the system as soon as nothing refers to the array."""
    model = fn.Sequential(fn.Linear(20000, 4))
    fn.Trainer(model).profile(np.ones((100, 20000)), np.zeros(100, np.int32), steps=3)


def test_profile_leaves_the_model_unchanged(snapshot):
    subject = trainer()
    subject.step(*BATCHES["float64"])
    before = snapshot(subject.model, subject.optimizer)
    subject.profile(*BATCHES["float64"], steps=3)
    assert snapshot(subject.model, subject.optimizer) == before
    assert subject.updates == 1


def test_convolutions_have_the_right_flop_count():
    model = fn.Sequential(fn.Conv2d(1, 4, 3), fn.Flatten(), fn.Linear(4 * 16, 3))
    profile = fn.Trainer(model).profile(np.ones((5, 6, 6), np.float32), Y[:5], steps=3)
    rows = {row.kernel: row for row in profile.rows}
    assert rows["conv_forward"].shape == (5, 6, 6, 1, 3, 3, 4)
    assert rows["conv_forward"].flop == rows["conv_dw"].flop == 2 * 5 * 16 * 9 * 4


def test_pools_and_norms_show_their_shapes():
    model = fn.Sequential(
        *(fn.Conv2d(1, 4, 3), fn.BatchNorm2d(4), fn.MaxPool2d((2, 1)), fn.Flatten(), fn.Linear(32, 3))
    )
    profile = fn.Trainer(model).profile(np.ones((5, 6, 6), np.float32), Y[:5], steps=3)
    rows = {row.kernel: row for row in profile.rows}
    assert rows["max_pool_dx"].shape == (5, 4, 4, 4, 2, 1)
    assert rows["batch_norm_sums"].shape == (5 * 16, 4)
    assert rows["running_moments"].flop == 0


def test_invalid_labels_are_rejected():
    with pytest.raises(ValueError, match="labels must lie in"):
        trainer().profile(X, np.full(33, 3))


@pytest.mark.parametrize("reason", ["plan", "backend"])
def test_profile_needs_a_plan(reason):
    subject = trainer()
    subject.plan = reason != "plan"
    with (
        pytest.raises(RuntimeError, match="only planned steps"),
        fn.backend("ref" if reason == "backend" else "aot"),
    ):
        subject.profile(X, Y)


def test_a_product_faster_than_the_clock_has_no_rate():
    row = Row("dense_forward", (2, 3, 4), 0.0, 48.0)
    line = next(line for line in Profile([row], 1e-6, 1, 100.0).table().splitlines() if "dense" in line)
    assert line.split() == ["dense_forward", "2x3x4", "0.00", "0.0%"]
