"""A model remembers how it was fed: the same values mean the same to it whatever their dtype."""

import copy
import pickle
import warnings
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastnn as fn
from fastnn.feeding import feeding_of
from fastnn.naive import central_differences
from fastnn.weights import RECORD

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 6), dtype=np.uint8)
BYTES[0, 1:3] = 0, 255
Y = (BYTES[:, 0] > 127).astype(np.int64)
RAW_WARNING = "ignore:the features reach 255"
FROM_BYTES = "uint8 features from 0 to 255, times 0.003922"


def new_model(dtype=np.float32):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 5, dtype=dtype), fn.ReLU(), fn.Linear(5, 2, dtype=dtype))


def trained_on(x, **options):
    model = new_model()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the features reach 255")
        fn.fit(model, (x, Y), epochs=2, batch_size=8, seed=0, optimizer=fn.SGD(lr=1e-3), **options)
    return model


USES = {
    "predict": lambda model, x: model.predict(x).tolist(),
    "evaluate": lambda model, x: fn.evaluate(model, (x, Y)),
    "metric": lambda model, x: fn.evaluate(model, (x, Y), metrics=[fn.metrics.f1])["f1"],
    "gradients": lambda model, x: fn.gradients(model, (x, Y)),
    "numerical gradients": lambda model, x: central_differences(model, (x[:3], Y[:3]), step=5e-3)[
        "0.weight"
    ].tolist(),
    "step": lambda model, x: [fn.Trainer(model, seed=0).step(x, Y) for _ in range(3)],
    "eager step": lambda model, x: [fn.Trainer(model, plan=False, seed=0).step(x, Y) for _ in range(3)],
    "fit": lambda model, x: fn.fit(model, (x, Y), seed=0, watch=False).updates["loss"],
    "validation": lambda model, x: fn.fit(model, (x, Y), validation=(x, Y), seed=0, watch=False)["val_loss"],
    "features": lambda model, x: fn.features(model, x, upto=1).tolist(),
}


@pytest.mark.filterwarnings(RAW_WARNING)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("first", [np.uint8, np.int64, np.int32, np.uint16, np.float64, np.float32])
def test_same_values_have_the_same_results_in_every_integer_dtype(first, use):
    model = trained_on(BYTES.astype(first))
    expected = USES[use](copy.deepcopy(model), BYTES.astype(first))
    for dtype in (np.uint8, np.int16, np.int64, np.uint32):
        assert USES[use](copy.deepcopy(model), BYTES.astype(dtype)) == expected


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("first", "then"), [(BYTES, BYTES / 255), (BYTES / 255, BYTES)])
def test_bytes_and_floats_from_0_to_1_are_the_same_images(first, then, use):
    model = trained_on(first)
    np.testing.assert_allclose(
        USES[use](copy.deepcopy(model), first)
        if use != "evaluate"
        else list(USES[use](model, first).values()),
        USES[use](copy.deepcopy(model), then) if use != "evaluate" else list(USES[use](model, then).values()),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (
            BYTES,
            BYTES.astype(float),
            f"trained on {FROM_BYTES}, but these are float64 features from 0 to 255",
        ),
        (
            BYTES / 255,
            BYTES.astype(float),
            "float64 features from 0 to 1, but .* float64 features from 0 to 255",
        ),
        (BYTES / 255, BYTES.astype(int), "float64 features from 0 to 1, but .* int64 features from 0 to 255"),
        (BYTES.astype(int), BYTES / 255, "int64 features from 0 to 255, but .* float64 features from 0 to 1"),
        (BYTES / 64.0 - 2, BYTES, "float64 features from -2 to 1.984, but .* uint8 features from 0 to 255"),
        (BYTES, BYTES * np.uint16(257), f"{FROM_BYTES}, but these are uint16 features from 0 to 6.554e"),
    ],
)
def test_features_in_another_range_warn_and_name_both(first, then, message, use):
    with pytest.warns(UserWarning, match=message):
        USES[use](trained_on(first), then)


def test_floats_that_are_no_pixels_may_be_large():
    trained_on(BYTES / 255).predict(np.full((3, 6), 1e30))
    trained_on(BYTES / 255).predict(BYTES / 255 * 300 - 150)


@pytest.mark.parametrize(
    "use", [fn.evaluate, fn.gradients, fn.fit, lambda m, d, scale: m.predict(d[0], scale=scale)]
)
def test_contradicting_scale_warns_and_names_both(use):
    with pytest.warns(
        UserWarning, match=f"scale=0.0625 contradicts the training of this model, on {FROM_BYTES}"
    ):
        use(trained_on(BYTES), (BYTES, Y), scale=1 / 16)


def test_scale_of_the_training_is_followed_and_may_be_repeated():
    for x in (BYTES, BYTES.astype(int), BYTES / 255):
        model = trained_on(x, scale=0.01)
        expected = fn.evaluate(model, (x, Y), scale=0.01)
        if x.dtype == np.uint8 or x.dtype == np.int64:
            assert fn.evaluate(model, (BYTES, Y)) == expected
        if x.dtype != np.uint8:
            assert fn.evaluate(model, (x, Y)) == expected


def test_trainer_takes_floats_after_integers_of_the_same_values():
    """Both arrive in the step as float32; a recorded step must not mistake one for the other."""
    results = []
    for plan in (True, False):
        model = trained_on(BYTES)
        trainer = fn.Trainer(model, plan=plan, seed=0)
        integers, floats = BYTES.astype(np.int64), (BYTES / 255).astype(np.float32)
        results.append([trainer.step(x, Y) for x in (integers, integers, floats, floats, integers, floats)])
    assert results[0] == results[1]
    assert max(results[0]) < 1  # times 1/255 twice, or never, would differ


def test_replayed_predictions_follow_the_factor():
    model = trained_on(BYTES)
    integers, floats = BYTES.astype(np.int64), (BYTES / 255).astype(np.float32)
    expected = [model.predict(integers), model.predict(floats)]
    for _ in range(3):
        for x, outputs in zip((integers, floats), expected, strict=True):
            assert np.array_equal(model.predict(x), outputs)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "file", "nested", "part", "checkpoint"])
def test_memory_moves_with_the_model(how, tmp_path):
    model = trained_on(BYTES.astype(np.int64))
    other = new_model()
    if how == "deepcopy":
        other = copy.deepcopy(model)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(model))
    elif how == "file":
        fn.save(model, tmp_path / "net.safetensors")
        fn.load(other, tmp_path / "net.safetensors")
    elif how == "nested":
        other = fn.Sequential(model, fn.Linear(2, 2))
    elif how == "part":
        other = fn.Sequential(*model.layers[:1])
    else:
        model = new_model()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for net in (model, other):
                fn.fit(net, (BYTES.astype(int), Y), seed=0, checkpoint=tmp_path / "run", progress=False)
    assert feeding_of(other) == feeding_of(model)
    assert asdict(feeding_of(other)) == {
        "dtype": "int64",
        "scale": 1,
        "low": 0,
        "high": 255,
        "whole": True,
        "shape": (6,),
    }
    assert np.array_equal(other.predict(BYTES), other.predict(BYTES.astype(np.int64)))


def test_file_without_the_memory_is_loaded_as_untrained(tmp_path):
    model, path = trained_on(BYTES.astype(np.int64)), tmp_path / "old.safetensors"
    fn.save(model, path)
    save_file(load_file(path), path)  # drops the metadata
    fn.load(model, path)
    assert feeding_of(model) is None


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"dtype": "uint8"}', '{"dtype": "x", "scale": 1, "low": 0, "high": 1, "whole": true}'],
)
def test_damaged_memory_in_a_file_is_rejected(text, tmp_path, unchanged):
    model, path = trained_on(BYTES), tmp_path / "net.safetensors"
    fn.save(model, path)
    save_file(load_file(path), path, {RECORD: f'{{"feeding": {text}}}'})
    with unchanged(model), pytest.raises(fn.CheckpointError):
        fn.load(model, path)
    assert feeding_of(model).dtype == "uint8"


def test_only_a_training_is_remembered():
    model = new_model()
    fn.evaluate(model, (BYTES, Y))
    model.predict(BYTES.astype(int))
    fn.gradients(model, (BYTES, Y))
    with pytest.raises(fn.NonFiniteError):
        fn.Trainer(model).step(np.full((2, 6), np.nan), [0, 1])
    assert feeding_of(model) is None
    fn.Trainer(model).step(BYTES, Y)
    assert feeding_of(model).dtype == "uint8"


def test_first_step_that_fails_is_not_remembered():
    model = new_model()
    model[2].bias.value = [np.nan, 0]
    with pytest.raises(fn.NonFiniteError, match="the loss is nan"):
        fn.Trainer(model).step(BYTES, Y)
    assert feeding_of(model) is None


@pytest.mark.parametrize("use", USES)
def test_bytes_that_never_exceed_1_warn(use):
    """As pandas' get_dummies made them: times 1/255 they would hardly be seen."""
    with pytest.warns(
        UserWarning, match=r"x is uint8, but never exceeds 1: .* x.astype\(np.float32\) or scale=1"
    ):
        USES[use](new_model(), BYTES % 2)


def test_bytes_that_never_exceed_1_are_fine_with_a_scale_or_dark_images():
    x = BYTES % 2
    model = trained_on(x, scale=1)
    assert fn.evaluate(model, (x, Y)) == fn.evaluate(model, (x.astype(float), Y))
    trained_on(BYTES * 0)
    trained_on(BYTES).predict(x)


def test_validation_data_are_scaled_like_the_training_data():
    model = new_model()
    history = fn.fit(model, (BYTES, Y), validation=(BYTES.astype(np.int64), Y), seed=0, watch=False)
    assert history["val_loss"][-1] == fn.evaluate(model, (BYTES, Y))["loss"]


def test_evaluate_and_gradients_take_the_loss_of_the_training(tmp_path):
    x, y = BYTES / 255, BYTES[:, :1] / 255
    model = fn.Sequential(fn.Linear(6, 4), fn.Tanh(), fn.Linear(4, 1))
    fn.fit(model, (x, y), loss="squared_error", watch=False)
    expected = fn.evaluate(model, (x, y), loss="squared_error")
    for same in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert fn.evaluate(same, (x, y)) == expected
        assert fn.gradients(same, (x, y)) == fn.gradients(same, (x, y), loss="squared_error")
    fn.Trainer(model, loss=fn.BinaryCrossEntropy()).step(x, y)
    assert fn.evaluate(model, (x, y)) == fn.evaluate(model, (x, y), loss="binary_cross_entropy")
    assert fn.evaluate(new_model(), (x, Y)) == fn.evaluate(new_model(), (x, Y), loss="cross_entropy")


def test_model_trained_with_a_loss_of_the_users_own_can_be_pickled():
    class Own(fn.SquaredError):
        pass

    x, y = BYTES / 255, BYTES[:, :2] / 255
    model = new_model()
    fn.Trainer(model, loss=Own()).step(x, y)
    assert fn.evaluate(model, (x, y)) == fn.evaluate(model, (x, y), loss="squared_error")
    pickle.loads(pickle.dumps(model)).predict(x)


@pytest.mark.parametrize("use", ["predict", "evaluate", "step"])
def test_floats_far_below_the_integers_of_the_training_warn(use):
    """Grey values from 0 to 16, as in the digits of scikit-learn, then the same divided by 16 or 255."""
    grey = BYTES // 16
    model = trained_on(grey.astype(np.int64))
    for divisor in (16, 255):
        with pytest.warns(match=r"trained on int64 features from 0 to 15, but these are float64 features"):
            USES[use](model, grey / divisor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        USES[use](model, grey.astype(np.float64))
        USES[use](model, grey / 4)
