"""`predict` by a recorded forward pass gives the bits and the errors of the eager forward pass."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, cpu

from ..kernels.columns import both_types, every_isa
from .test_batch_forms import FORMS
from .test_same_as_eager import NETS
from .twins import CLASSES, FEATURES, batch, small_net


def eager(model, x):
    return np.array(model.forward(np.ascontiguousarray(x, model.dtype))[0])


def assert_predicts(model, x, times=4):
    """Layer by layer, while it is recorded, and by the recording."""
    expected = eager(model, x)
    for _ in range(times):
        found = model.predict(x)
        assert found.tobytes() == expected.tobytes()
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


@every_isa
@both_types
@pytest.mark.parametrize("net", NETS)
def test_recorded_predictions_have_the_bits_of_eager_ones(net, dtype, isa):
    core.select_isa(isa)
    model = NETS[net]().to(dtype)
    for rows in (1, 2, 33):
        assert_predicts(model, batch(rows=rows, dtype=dtype)[0])


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 1500])
def test_predictions_in_batches(rows):
    fn.set_num_threads(3)
    model = fn.Sequential(fn.Linear(FEATURES, 130), fn.Tanh(), fn.Linear(130, CLASSES), fn.Softmax())
    assert_predicts(model, batch(rows=rows)[0])


@pytest.mark.parametrize("form", FORMS)
def test_inputs_of_any_form(form):
    model, (x, _) = small_net(), batch()
    assert_predicts(model, x)
    for _ in range(3):
        assert model.predict(FORMS[form](x)).tobytes() == eager(model, x).tobytes()
        assert model.predict(x).tobytes() == eager(model, x).tobytes()


@pytest.mark.parametrize("source", [np.uint8, np.float64, np.int32])
def test_types_and_scales_take_turns(source):
    model, (x, _) = small_net(), batch()
    whole = (50 * x + 128).clip(0, 255).astype(source)
    scaled = whole.astype(np.float32)
    for _ in range(3):
        for _ in range(3):
            assert_predicts(model, x, times=1)
        for _ in range(3):
            divisor = np.float32(255 if source == np.uint8 else 1)
            np.testing.assert_array_equal(model.predict(whole), eager(model, scaled / divisor))
        for _ in range(3):
            found = model.predict(whole, scale=0.25)
            np.testing.assert_array_equal(found, eager(model, scaled * np.float32(0.25)))


def test_layers_that_return_views_return_copies():
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    for model in (fn.Flatten(), fn.Identity(), fn.Sequential(), fn.Dropout(0.5), fn.Sequential(fn.Flatten())):
        assert_predicts(model, x)
        assert not np.shares_memory(model.predict(x), x)


CHANGES = {
    "value": lambda model: setattr(model[0].weight, "value", np.full((FEATURES, 16), 0.1)),
    "type": lambda model: model.to(np.float64),
    "layers": lambda model: setattr(model, "layers", model.layers[:-1]),
    "bias": lambda model: setattr(model[0], "bias", None),
    "fit": lambda model: fn.fit(model, batch(), epochs=2),
    "eager fit": lambda model: fn.fit(model, batch(), epochs=2, plan=False),
    "step": lambda model: fn.Trainer(model).step(*batch()),
    "frozen": lambda model: model.set_lr_scale(0),
    "gradients": lambda model: fn.gradients(model, batch()),
    "another shape": lambda model: model.predict(batch(rows=7)[0]),
    "threads": lambda model: fn.set_num_threads(3),
    "instruction set": lambda model: core.select_isa(cpu.supported()[-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_take_effect_in_the_next_prediction(change):
    model, (x, _) = small_net(), batch()
    assert_predicts(model, x)
    CHANGES[change](model)
    assert_predicts(model, x)


def test_steps_of_a_trainer_in_between():
    model, (x, y) = small_net(fn.Dropout(0.2)), batch()
    trainer = fn.Trainer(model)
    for _ in range(6):
        trainer.step(x, y)
        assert_predicts(model, x[:4], times=1)


@pytest.mark.parametrize("backend", ["ref", "jit"])
def test_another_backend_in_between(backend):
    model, (x, _) = small_net(), batch()
    for _ in range(3):
        assert_predicts(model, x)
        with fn.backend(backend):
            assert_predicts(model, x)


def test_outputs_belong_to_the_caller():
    model, (x, _) = small_net(), batch()
    expected = eager(model, x)
    for _ in range(4):
        found = model.predict(x)
        np.testing.assert_array_equal(found, expected)
        found[...] = np.nan


def test_outputs_stay_as_they_are_in_later_predictions():
    model = small_net()
    inputs = [batch(seed)[0] for seed in range(6)]
    found = [model.predict(x) for x in inputs]
    for outputs, x in zip(found, inputs, strict=True):
        np.testing.assert_array_equal(outputs, eager(model, x))


MISTAKES = {
    "few features": (lambda x: np.ascontiguousarray(x[:, 1:]), {}),
    "flat": (lambda x: x.ravel(), {}),
    "empty": (lambda x: x[:0], {}),
    "text": (lambda x: x.astype(str), {}),
    "complex": (lambda x: x + 0j, {}),
    "nothing": (lambda x: None, {}),
    "no batches": (lambda x: x, {"batch_size": 0}),
    "half a batch": (lambda x: x, {"batch_size": 0.5}),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_inputs_raise_the_same_error_after_the_recording(mistake):
    model, (x, _) = small_net(), batch()
    change, options = MISTAKES[mistake]
    errors = []
    for _ in range(2):
        with pytest.raises((TypeError, ValueError)) as error:
            model.predict(change(x), **options)
        errors.append((error.type, str(error.value)))
        assert_predicts(model, x)
    assert errors[0] == errors[1]


def test_a_python_layer_is_called_once_in_every_prediction():
    class Counting(fn.Layer):
        calls = 0

        def forward(self, x, *, train=False):
            self.__dict__["calls"] = self.calls + 1
            return x * np.float32(self.calls), lambda dy, *, need_dx=True: dy

    model, (x, _) = fn.Sequential(Counting()), batch()
    for calls in range(1, 6):
        np.testing.assert_array_equal(model.predict(x), x * np.float32(calls))


def test_several_threads_ask_one_model():
    model = fn.Sequential(fn.Linear(FEATURES, 64), fn.ReLU(), fn.Linear(64, CLASSES))
    inputs = [batch(seed, rows=5)[0] for seed in range(8)]
    expected = [eager(model, x).tobytes() for x in inputs]

    def ask(index):
        return {model.predict(inputs[index]).tobytes() for _ in range(300)}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [{output} for output in expected]


def test_copies_of_a_model_that_has_recorded():
    model, (x, _) = small_net(), batch()
    assert_predicts(model, x)
    copied = pickle.loads(pickle.dumps(model))
    copied[0].weight.value = np.zeros((FEATURES, 16))
    for _ in range(3):
        assert_predicts(model, x, times=1)
        assert_predicts(copied, x, times=1)
