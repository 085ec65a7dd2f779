"""The recorded steps that a trainer keeps, and the kernel calls that fusion leaves in them."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.training.plans import Plans

from .twins import CLASSES, FEATURES, batch, small_net


def recorded(model=None, rows=33, **options):
    """The recorded step of a trainer after two steps."""
    trainer = fn.Trainer(small_net(fn.ReLU()) if model is None else model, **options)
    for seed in range(2):
        trainer.step(*batch(seed, rows=rows))
    return trainer._plans.last


def kernels_of(step):
    return [name for name, _, _ in step.plan.calls()]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("activation", [fn.ReLU, fn.Sigmoid, fn.Tanh])
def test_fusing_makes_fewer_calls(activation, optimizer):
    lengths = [
        len(recorded(small_net(activation()), optimizer=optimizer, **options).plan)
        for options in ({}, {"keep_gradients": True}, {"fuse": False})
    ]
    # Two activations with their gradients, four updates.
    assert np.diff(lengths).tolist() == [4, 2]


def test_large_batches_are_not_fused_with_their_updates():
    small, large = (kernels_of(recorded(rows=rows, optimizer="sgd")) for rows in (256, 257))
    assert "dense_dw_sgd" in small
    assert "dense_dw_sgd" not in large
    assert {"dense_dw", "dense_db", "sgd"} <= set(large)


def test_no_gradient_of_the_input_nor_of_frozen_weights_is_computed():
    names = kernels_of(recorded(fuse=False))
    assert (names.count("dense_dx"), names.count("dense_dw")) == (1, 2)
    model = small_net(fn.ReLU(), fn.Linear(16, 16))
    model[0].set_lr_scale(0)
    names = kernels_of(recorded(model, fuse=False))
    assert (names.count("dense_dx"), names.count("dense_dw")) == (1, 2)


def test_one_recording_serves_all_steps_on_a_batch_shape(kernel_calls):
    trainer = fn.Trainer(small_net())
    trainer.step(*batch())
    after_recording = len(kernel_calls)
    for seed in range(5):
        trainer.step(*batch(seed))
    assert len(kernel_calls) == after_recording


def test_rates_weights_and_moments_need_no_new_recording(kernel_calls):
    model, optimizer = small_net(), fn.Adam()
    trainer = fn.Trainer(model, optimizer=optimizer)
    trainer.step(*batch())
    after_recording = len(kernel_calls)
    for seed in range(5):
        optimizer.lr = 0.1 / (seed + 1)
        model[0].weight.value = 0.9 * model[0].weight.value
        optimizer.state(model[0].weight)["m"][...] = 0
        trainer.step(*batch(seed))
    assert len(kernel_calls) == after_recording


def test_a_change_makes_a_new_recording_and_then_no_more(kernel_calls):
    model = small_net(fn.Dropout(0.2))
    trainer = fn.Trainer(model)
    trainer.step(*batch())
    once = len(kernel_calls)
    model[1].rate = 0.3
    for seed in range(4):
        trainer.step(*batch(seed))
    assert len(kernel_calls) == 2 * once


def test_changes_of_another_model_need_no_new_recording(kernel_calls):
    trainer, other = fn.Trainer(small_net()), small_net(fn.Dropout(0.2))
    trainer.step(*batch())
    after_recording = len(kernel_calls)
    for seed in range(4):
        other[1].rate = 0.1 * seed
        other[0].weight.trainable = seed % 2 == 0
        trainer.step(*batch(seed))
    assert len(kernel_calls) == after_recording


def test_a_shorter_batch_in_between_needs_no_new_recording(kernel_calls):
    trainer = fn.Trainer(small_net())
    for rows in (33, 5, 33, 5, 5, 33):
        trainer.step(*batch(rows=rows))
    assert kernel_calls.count("dense_forward") == 4


def test_an_epoch_is_recorded_once_per_batch_size(kernel_calls):
    x, y = batch(rows=100)
    counts = []
    for epochs in (1, 5):
        kernel_calls.clear()
        fn.fit(small_net(), (x, y), batch_size=16, epochs=epochs)
        counts.append(len(kernel_calls))
    assert counts[0] == counts[1]


def test_plans_of_eight_kinds_are_kept(twins):
    pair = twins()
    for rows in range(1, 21):
        pair.step(*batch(rows, rows=rows))
        assert len(pair.planned._plans._recorded) == min(rows, Plans.MOST)
    assert Plans.MOST == 8
    for rows in (20, 13, 1, 12, 20, 1):
        pair.step(*batch(rows, rows=rows))
        assert len(pair.planned._plans._recorded) == 8


@pytest.mark.parametrize("options", [{"plan": False}, {"backend": "ref"}, {"backend": "jit"}], ids=str)
def test_nothing_is_recorded_layer_by_layer(options, kernel_calls):
    with fn.backend(options.pop("backend", "aot")):
        trainer = fn.Trainer(small_net(), **options)
        trainer.step(*batch())
        once = len(kernel_calls)
        trainer.step(*batch())
    assert len(kernel_calls) == 2 * once
    assert trainer._plans.last is None


def test_a_failed_first_step_leaves_no_plan():
    trainer = fn.Trainer(fn.Linear(FEATURES, CLASSES))
    trainer.model.weight.value = np.ones((FEATURES, CLASSES))
    x, y = np.ones((9, FEATURES), np.float32), np.zeros(9, int)
    with pytest.raises(fn.NonFiniteError):
        trainer.step(x * np.float32(np.inf), y)
    with pytest.raises(fn.NonFiniteError):
        trainer.step(x * np.float32(1e38), y)
    assert len(trainer._plans._recorded) == 0
    assert trainer.step(x, y) > 0
    assert len(trainer._plans._recorded) == 1


def test_a_python_layer_is_a_call_back_on_each_way():
    class Passing(fn.Layer):
        def forward(self, x, *, train=False):
            return x, lambda dy, *, need_dx=True: dy

    step = recorded(small_net(Passing()))
    assert step.has_callbacks
    assert kernels_of(step).count("callback") == 2
