"""Batches one after the other: resuming, bad input and options that do not apply."""

import itertools
import os
import signal
import threading

import numpy as np
import pytest

import fastnn as fn

from .streaming import (
    WEIGHT,
    X,
    Y,
    batches,
    small_net,
    trained,
    weights_of,
    with_odd,
)

# --- checkpoints ---


@pytest.mark.parametrize("steps", [None, 3])
def test_a_training_resumes_with_the_same_bits(tmp_path, steps):
    """Also in the middle of an epoch: the batches that were used are read again and dropped."""
    path = fn.Checkpoint(tmp_path / "run", seconds=0)
    weights = batches(X, Y, WEIGHT)
    options = {"steps_per_epoch": steps, "validation": batches(), "seed": 0, "watch": False}
    whole_model, model = small_net(), small_net()
    whole = fn.fit(whole_model, weights, epochs=4, **options)

    class Ends(fn.Callback):
        def on_update(self, training, loss):
            if training.updates in (2, 8):
                raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fn.fit(small_net(), weights, epochs=4, checkpoint=path, callbacks=Ends(), **options)
    history = fn.fit(model, weights, epochs=4, checkpoint=path, **options)
    assert (dict(history), history.updates) == (dict(whole), whole.updates)
    for one, other in zip(weights_of(model), weights_of(whole_model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_other_batches_is_refused(tmp_path):
    trained(batches(), checkpoint=tmp_path / "run")
    with pytest.raises(
        fn.CheckpointError, match=r"data.batches.x was 'shape \(N, 6\) and dtype float32', is"
    ):
        trained(batches(X.astype(float), Y), checkpoint=tmp_path / "run", epochs=2)
    with pytest.raises(fn.CheckpointError, match=r"data\.steps_per_epoch was None, is 2"):
        trained(batches(), checkpoint=tmp_path / "run", epochs=2, steps_per_epoch=2)


# --- bad input ---


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (None, TypeError, r"a batch must be \(x, y\), .* not NoneType"),
        (X[:8], TypeError, r"a batch must be \(x, y\), .* not ndarray"),
        ((X[:8],), TypeError, "not tuple of 1"),
        ({"image": X[:8]}, TypeError, r"must have one of the keys y, label, .* but has the keys \['image'\]"),
        (
            (X[:8, :5], Y[:8]),
            ValueError,
            r"x has shape \(N, 5\) and dtype float32, but at first shape \(N, 6\)",
        ),
        ((X[:8].astype(float), Y[:8]), ValueError, "x has .* dtype float64, but at first .* dtype float32"),
        ((X[:8], X[:8]), ValueError, r"y has shape \(N, 6\), but at first shape \(N,\)"),
        ((X[:8], Y[:8], WEIGHT[:8]), ValueError, r"weight has shape \(N,\), but at first no values"),
        ((X[:8], Y[:7]), ValueError, "x has 8 samples, but y has 7 targets"),
        ((X[:0], Y[:0]), ValueError, "x is an empty batch"),
        ((X[:8], Y[:8] + 1), ValueError, "there is a label 3"),
        ((X[:8].astype(str), Y[:8]), TypeError, "x must hold real numbers"),
        ((X[:8] * np.nan, Y[:8]), fn.NonFiniteError, "48 values of x are NaN or inf"),
        (([[1.0, 2.0], [3.0]], [0, 1]), ValueError, "are its rows equally long"),
    ],
    ids=str,
)
def test_batches_that_do_not_fit_are_named(item, error, message):
    """The updates before it are kept, in the model and in the history."""
    for at in (0, 3):
        model, history = small_net(), fn.History()
        expected = small_net()
        if at:
            fn.fit(expected, (X[:24], Y[:24]), batch_size=8, order="fixed", seed=0, watch=False)
        elif error is ValueError and "but at first" in message:
            continue
        where = rf"batch {at + 1} of epoch 1(, from the function 'odd')?: .*{message}"
        with pytest.raises(error, match=where):
            fn.fit(model, with_odd(item, at), history=history, seed=0, watch=False)
        assert len(history.updates["loss"] if history.updates else []) == at
        for one, other in zip(weights_of(model), weights_of(expected), strict=True):
            np.testing.assert_array_equal(one, other)
        assert not any(thread.name == "fastnn-read" for thread in threading.enumerate())


@pytest.mark.parametrize("at", [0, 3])
def test_what_a_source_raises_passes_through_with_the_number_of_the_batch(at):
    with pytest.raises(KeyError, match="no such picture") as caught:
        trained(with_odd(KeyError("no such picture"), at))
    assert caught.value.__notes__ == [f"raised by the function 'odd' for batch {at + 1} of epoch 1"]
    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        trained(with_odd(StopIteration(), at))


def test_what_an_array_of_the_user_raises_ends_the_training():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise MemoryError("too large")

    with pytest.raises(MemoryError, match="too large") as caught:
        trained(with_odd((Broken(), Y[:8])))
    assert caught.value.__notes__ == ["raised by the function 'odd' for batch 4 of epoch 1"]


def test_nan_may_end_a_training_or_be_ignored():
    data = with_odd((X[:8] * np.nan, Y[:8]))
    history = fn.fit(small_net(), data, on_nonfinite="stop", seed=0)
    assert "batch 4 of epoch 1: 48 values of x are NaN" in history.stopped
    assert len(history.updates["loss"]) == 3
    assert len(fn.fit(small_net(), data, on_nonfinite="ignore", seed=0, watch=False).updates["loss"]) == 7


def test_streams_without_batches_are_refused():
    for data in (iter([]), lambda: [], []):
        with pytest.raises((ValueError, TypeError), match=r"gives no batches|not list of 0"):
            trained(data)
    with pytest.raises(
        TypeError, match="the function '<lambda>' must return an iterator of batches, not the N"
    ):
        trained(lambda: None)
    with pytest.raises(ValueError, match=r"validation data: .* gives no batches"):
        trained(batches(), validation=iter([]))
    with pytest.raises(ValueError, match="the data: the list_iterator gives no batches"):
        fn.evaluate(small_net(), iter([]))


def test_an_iterator_is_not_used_twice():
    message = "the generator 'pairs' can be read only once, but there are 2 epochs: pass a function"
    generator = batches()()
    with pytest.raises(ValueError, match=f"training data: {message}.*or steps_per_epoch"):
        trained(generator, epochs=2)
    np.testing.assert_array_equal(next(generator)[0], X[:8])  # nothing is lost
    with pytest.raises(ValueError, match=f"validation data: {message}"):
        trained(batches(), validation=batches()(), epochs=2)
    same = batches()()
    with pytest.raises(
        ValueError, match="gives no batches in epoch 2: it must return a new iterator for each"
    ):
        trained(lambda: same, epochs=2)


def test_a_generator_that_ends_early_is_named():
    with pytest.raises(ValueError, match="the generator 'pairs' ended after 3 of the 4 batches of epoch 2"):
        trained(batches()(), epochs=2, steps_per_epoch=4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"order": "balanced"},
            ValueError,
            "order='balanced' needs arrays: the function 'pairs' has an order",
        ),
        ({"batch_size": 8}, ValueError, "batch_size and drop_last do not apply: .* batches of its own size"),
        ({"drop_last": True}, ValueError, "batch_size and drop_last do not apply"),
        ({"validation": 0.1}, ValueError, "validation=0.1 needs arrays to choose from"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch must be an integer of at least 1, not 0"),
        ({"epochs": 0}, ValueError, "epochs must be an integer"),
        (
            {"callbacks": fn.EarlyStopping()},
            ValueError,
            "monitors 'val_loss', but an epoch has only loss, acc",
        ),
    ],
)
def test_options_that_streams_do_not_have_are_refused(options, error, message):
    model = small_net()
    with pytest.raises(error, match=message):
        fn.fit(model, batches(), **options)
    assert weights_of(model)[0].tobytes() == weights_of(small_net())[0].tobytes()


@pytest.mark.parametrize(
    "options",
    [
        *({"optimizer": "adamm"}, {"loss": "mse!"}, {"metrics": "f2"}, {"callbacks": 3}, {"history": []}),
        *({"progress": "no"}, {"resume": 3}, {"epochs": 2.5}, {"scale": -1}, {"seed": "a"}),
    ],
    ids=str,
)
def test_invalid_options_cost_an_iterator_nothing(options):
    generator = batches()()
    with pytest.raises((ValueError, TypeError)):
        fn.fit(small_net(), generator, **options)
    assert len(list(generator)) == 7


def test_a_batch_that_is_too_small_for_the_model_is_named():
    model = fn.Sequential(fn.Linear(6, 3), fn.BatchNorm1d(3))
    with pytest.raises(
        ValueError, match=r"the size of batch 8 of epoch 1 is 1, but .* such as batch norm, need at least 2"
    ):
        fn.fit(model, batches(size=7), seed=0)


def test_an_iterator_has_no_checkpoint(tmp_path):
    generator = batches()()
    with pytest.raises(ValueError, match="a training on the generator 'pairs' could not be resumed"):
        trained(generator, checkpoint=tmp_path / "run")
    assert len(list(generator)) == 7
    assert not (tmp_path / "run").exists()


def test_steps_per_epoch_is_refused_for_arrays():
    with pytest.raises(ValueError, match="steps_per_epoch is for batches from an iterator"):
        fn.fit(small_net(), (X, Y), steps_per_epoch=3)


def test_other_functions_name_those_that_take_batches():
    with pytest.raises(TypeError, match="not generator: only fit, evaluate and predict take batches"):
        fn.gradients(small_net(), batches()())


def test_ctrl_c_ends_a_training_that_waits_for_a_batch():
    """Not only after the batch has come, which may be never."""
    never, came = threading.Event(), []

    def blocked():
        yield from itertools.islice(batches()(), 3)
        came.append(never.wait(20))

    class Interrupts(fn.Callback):
        def on_update(self, training, loss):
            if training.updates == 3:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    history = fn.History()
    with pytest.raises(KeyboardInterrupt):
        fn.fit(small_net(), blocked, callbacks=Interrupts(), history=history)
    assert len(history.updates["loss"]) == 3
    assert not came
    never.set()
