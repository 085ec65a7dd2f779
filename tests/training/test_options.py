"""The options that `fit` and `Trainer` share: one definition, one check for arguments and assignments."""

import inspect
from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pytest

import fastnn as fn
from fastnn.training.options import (
    OPTION_NAMES,
    TrainingKeywords,
    TrainingOptions,
    described_values,
    recorded_values,
)

X, Y = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2

INVALID = {
    "scale": (-1.0, "scale must be a finite number"),
    "on_nonfinite": ("explode", "unknown on_nonfinite 'explode': choose"),
    "augment": (3, "augment takes augmentations"),
    "schedule": (fn.schedules.Cosine, r"schedule must be a schedule .* \(add parentheses"),
    "clip_norm": (0, "clip_norm must be above 0"),
    "clip_value": (-1, "clip_value must be a finite number"),
    "ema": (1.0, "decay must be below 1"),
    "micro_batch": (0, "micro_batch must be an integer of at least 1, not 0"),
    "precision": ("float16", "precision must be \"bf16\", or left out for that of the model, not 'float16'"),
    "sync_batch_norm": ("yes", "sync_batch_norm must be True or False"),
}

invalid = pytest.mark.parametrize(("name", "value", "message"), [(n, *rest) for n, rest in INVALID.items()])


def trainer(**options):
    fn.manual_seed(0)
    return fn.Trainer(fn.Linear(3, 2), optimizer=fn.SGD(0.1), **options)


def test_keywords_are_the_fields():
    """Type checkers read the keywords, the program reads the fields."""
    hints = get_type_hints(TrainingOptions)
    assert get_type_hints(TrainingKeywords) == {name: hints[name] for name in OPTION_NAMES}
    assert tuple(get_type_hints(TrainingKeywords)) == OPTION_NAMES


@pytest.mark.parametrize("function", [fn.fit, fn.Trainer])
def test_signature_lists_every_option(function):
    parameters = inspect.signature(function).parameters
    for field in fields(TrainingOptions):
        assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[field.name].default == field.default
    assert all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters.values())


@pytest.mark.parametrize("call", [trainer, lambda **options: fn.fit(fn.Linear(3, 2), (X, Y), **options)])
def test_unknown_keyword_names_the_nearest(call):
    with pytest.raises(
        TypeError, match=r"\(\) got an unexpected keyword argument 'clip_nrom': did you mean 'clip_norm'"
    ):
        call(clip_nrom=1.0)
    with pytest.raises(TypeError, match="'optimiser': did you mean 'optimizer'"):
        call(optimiser="sgd")
    with pytest.raises(TypeError, match=r"'qqq': it takes model, .*loss, .*ema"):
        call(qqq=1)


@invalid
def test_fit_rejects_invalid_options_before_anything_changes(name, value, message, unchanged):
    model, optimizer, history = fn.Linear(3, 2), fn.SGD(0.1), fn.History()
    with unchanged(model, optimizer), pytest.raises((TypeError, ValueError), match=message):
        fn.fit(model, (X, Y), optimizer=optimizer, history=history, **{name: value})
    assert history.as_dict() == fn.History().as_dict()


@invalid
def test_assignment_is_checked_like_the_argument(name, value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trainer(**{name: value})
    one = trainer()
    before, key = getattr(one, name), one.plan_key
    with pytest.raises((TypeError, ValueError), match=message):
        setattr(one, name, value)
    assert getattr(one, name) is before
    assert one.plan_key is key


def test_batch_norm_over_all_processes_excludes_pieces():
    pattern = "sync_batch_norm=True normalises .* whole mini-batch, but micro_batch=4 by those of each piece"
    with pytest.raises(ValueError, match=pattern):
        trainer(sync_batch_norm=True, micro_batch=4)
    one = trainer(micro_batch=4)
    with pytest.raises(ValueError, match=pattern):
        one.sync_batch_norm = True
    one.micro_batch, one.sync_batch_norm = None, True
    with pytest.raises(ValueError, match=pattern):
        one.micro_batch = 4
    assert (one.micro_batch, one.sync_batch_norm) == (None, True)


def test_schedule_that_does_not_fit_the_trainer_changes_nothing():
    one = trainer(schedule=fn.schedules.Warmup(3), ema=0.9)
    before, rates, key = one.schedule, one.rates, one.plan_key
    with pytest.raises(ValueError, match="total_updates"):
        one.schedule = fn.schedules.Cosine()
    assert (one.schedule, one.rates, one.plan_key) == (before, rates, key)


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("name", ["schedule", "ema", "clip_value"])
def test_option_set_between_steps_acts_like_the_argument(name, plan):
    """From the first step after the assignment."""
    value = {"schedule": fn.schedules.Step(every=2), "ema": 0.9, "clip_value": 1e-3}[name]
    given = trainer(plan=plan, updates_per_epoch=1, **{name: value})
    later = trainer(plan=plan, updates_per_epoch=1)
    later.step(X, Y)
    later.step(X, Y)
    later.model.weight.value, later.model.bias.value = given.model.weight.value, given.model.bias.value
    later._updates[0] = 0
    setattr(later, name, value)
    for _ in range(4):
        assert given.step(X, Y) == later.step(X, Y)
    np.testing.assert_array_equal(given.model.weight.value, later.model.weight.value)
    assert given.optimizer.lr == later.optimizer.lr
    if name == "ema":
        assert given.ema.state_dict()["weight"].tobytes() == later.ema.state_dict()["weight"].tobytes()


def test_plan_key_changes_with_what_is_recorded_and_only_then():
    one = trainer(clip_norm=1.0)
    one.step(X, Y)
    key = one.plan_key
    one.clip_norm, one.plan, one.schedule = 2.0, True, None
    assert one.plan_key is key
    for name, value in {
        "clip_norm": None,
        "scale": 2.0,
        "fuse": False,
        "ema": 0.5,
        "clip_value": 1.0,
    }.items():
        setattr(one, name, value)
        assert one.plan_key is not key
        key = one.plan_key


def test_recorded_and_described_options():
    """A new option is recorded and described unless it declares otherwise."""
    with fn.backend("ref"):  # which has bf16 on every machine
        options = TrainingOptions(ema=0.5, micro_batch=2, precision="bf16")
    others = {"plan", "fuse", "keep_gradients", "sync_batch_norm"}
    assert set(OPTION_NAMES) - set(described_values(options)) == others
    assert described_values(TrainingOptions(sync_batch_norm=True))["sync_batch_norm"] is True
    assert len(recorded_values(options)) == len(OPTION_NAMES) - 2  # without plan and schedule
