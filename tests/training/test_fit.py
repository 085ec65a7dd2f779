"""Training: one update, an epoch, a whole fit; gradients, evaluation, prediction."""

import numpy as np
import pytest

import fastnn as fn

BACKENDS = ["aot", "jit", "ref"]


class Spy(fn.Layer):
    """An identity layer that records the first feature of every training sample."""

    def __init__(self):
        self.batches = []

    def forward(self, x, *, train=False):
        if train:
            self.batches.append(x[:, 0].astype(int).tolist())
        return x, lambda dy, *, need_dx=True: dy if need_dx else None


@pytest.fixture
def spied():
    """A model that records its batches, and ten numbered samples."""
    x = np.stack([np.arange(10.0), np.ones(10)], axis=1)
    return fn.Sequential(Spy(), fn.Linear(2, 2)), (x, np.arange(10) % 2)


@pytest.fixture
def images():
    """40 images of 4x4 bytes with labels, and the same images as float32 divided by 255."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (40, 4, 4), dtype=np.uint8)
    return x, x.astype(np.float32) / np.float32(255), generator.integers(0, 3, 40)


@pytest.fixture
def image_model():
    """A function that makes the same classifier for `images` at each call."""

    def make():
        fn.manual_seed(0)
        return fn.Sequential(fn.Flatten(), fn.Linear(16, 8), fn.ReLU(), fn.Linear(8, 3))

    return make


@pytest.mark.parametrize("backend", BACKENDS)
def test_overfits_random_labels(backend):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(64, 10)), generator.integers(0, 4, 64)
    model = fn.Sequential(fn.Linear(10, 64), fn.ReLU(), fn.Linear(64, 4))
    with fn.backend(backend):
        history = fn.fit(model, (x, y), optimizer=fn.Adam(lr=0.01), batch_size=16, epochs=150, seed=0)
    assert history["loss"][0] > 1
    assert history["loss"][-1] < 0.02
    assert history["accuracy"][-1] == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", [lambda: fn.SGD(lr=0.1, momentum=0.9), lambda: fn.Adam(lr=0.01)])
def test_every_backend_reaches_the_loss_of_the_reference(make_model, blobs, backend, optimizer):
    losses = []
    for name in (backend, "ref"):
        with fn.backend(name):
            model = make_model(rate=0.2, dtype=np.float64)
            history = fn.fit(model, blobs, optimizer=optimizer(), batch_size=10, epochs=5, seed=0)
        losses.append(history.updates["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-8)
    assert losses[0][-1] < 0.5 * losses[0][0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_seed_gives_the_same_bits_and_another_seed_different_ones(make_model, blobs, snapshot, backend):
    def train(seed):
        model, optimizer = make_model(rate=0.2), fn.Adam()
        history = fn.fit(model, blobs, optimizer=optimizer, epochs=3, batch_size=10, seed=seed)
        return history.updates["loss"], snapshot(model, optimizer)

    with fn.backend(backend):
        assert train(1) == train(1)
        assert train(1)[0] != train(2)[0]


def test_manual_seed_decides_without_a_seed(make_model, blobs):
    def train(seed):
        model = make_model(rate=0.2)
        fn.manual_seed(seed)
        return fn.fit(model, blobs, epochs=2).updates["loss"]

    assert train(1) == train(1)
    assert train(1) != train(2)


def test_every_epoch_uses_every_sample_once_in_a_new_order(spied):
    model, data = spied
    fn.fit(model, data, batch_size=4, epochs=3, seed=0)
    batches = model[0].batches
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    epochs = [[*batches[i], *batches[i + 1], *batches[i + 2]] for i in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert list(range(10)) not in epochs
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_shuffle_false_keeps_the_order_of_the_data(spied):
    model, data = spied
    fn.fit(model, data, batch_size=4, epochs=2, shuffle=False)
    assert model[0].batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2


def test_batch_larger_than_the_data(spied):
    model, data = spied
    fn.fit(model, data, batch_size=1000, shuffle=False)
    assert model[0].batches == [list(range(10))]


def test_fit_is_a_series_of_steps(make_model, blobs, snapshot):
    x, y = blobs
    fitted, stepped = make_model(rate=0.2), make_model(rate=0.2)
    optimizers = fn.Adam(), fn.Adam()
    history = fn.fit(fitted, blobs, optimizer=optimizers[0], batch_size=24, shuffle=False, seed=3)
    trainer = fn.Trainer(stepped, optimizer=optimizers[1], seed=3)
    losses = [trainer.step(x[part], y[part]) for part in np.split(np.arange(64), [24, 48])]
    assert history.updates["loss"] == losses
    assert snapshot(fitted, optimizers[0]) == snapshot(stepped, optimizers[1])


def test_step_returns_the_loss_before_the_update(make_model, blobs):
    model = make_model()
    before = fn.evaluate(model, blobs)["loss"]
    assert fn.Trainer(model).step(*blobs) == pytest.approx(before, rel=1e-6)
    assert fn.evaluate(model, blobs)["loss"] < before


def test_history_contents(make_model, blobs):
    history = fn.fit(make_model(), blobs, validation=blobs, batch_size=24, epochs=3, seed=0)
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert {len(curve) for curve in history.values()} == {history.epochs} == {3}
    assert len(history.updates["loss"]) == 9
    weighted = np.reshape(history.updates["loss"], (3, 3)) @ [24, 24, 16] / 64
    np.testing.assert_allclose(history["loss"], weighted, rtol=1e-12)
    assert history.stopped is None
    moments = {"epochs": [1, 2, 3], "updates": [3, 6, 9]}
    assert history.as_dict() == {
        "epochs": dict(history),
        "updates": history.updates,
        "stopped": None,
        "recorded": dict.fromkeys(history, moments),
    }


def test_fit_continues_a_history(make_model, blobs):
    model, options = make_model(), {"shuffle": False, "batch_size": 32, "optimizer": "sgd"}
    history = fn.fit(model, blobs, epochs=2, **options)
    assert fn.fit(model, blobs, epochs=3, history=history, **options) is history
    whole = fn.fit(make_model(), blobs, epochs=5, **options)
    assert history.as_dict() == whole.as_dict()


def test_history_holds_the_updates_before_an_interruption(spied):
    class Interrupt(Spy):
        def forward(self, x, *, train=False):
            if train and len(self.batches) == 4:
                raise KeyboardInterrupt
            return super().forward(x, train=train)

    _, data = spied
    history = fn.History()
    with pytest.raises(KeyboardInterrupt):
        fn.fit(fn.Sequential(Interrupt(), fn.Linear(2, 2)), data, batch_size=4, epochs=3, history=history)
    assert (history.epochs, len(history.updates["loss"])) == (1, 4)


def test_regression_has_no_accuracy():
    x = np.random.default_rng(0).normal(size=(20, 2))
    model = fn.Linear(2, 1)
    assert list(fn.fit(model, (x, x[:, :1]), loss="squared_error", validation=(x, x[:, :1]))) == [
        "loss",
        "val_loss",
    ]


def test_validation_curves_are_those_of_evaluate(make_model, blobs):
    x, y = blobs
    model, held_out = make_model(), (x[40:], y[40:])
    history = fn.fit(model, (x[:40], y[:40]), validation=held_out, epochs=2, seed=0)
    final = fn.evaluate(model, held_out)
    assert {name: history[f"val_{name}"][-1] for name in final} == final
    assert history["val_loss"][0] != history["val_loss"][1]


def test_validation_does_not_change_the_training(make_model, blobs):
    curves = [
        fn.fit(make_model(rate=0.5), blobs, validation=held_out, epochs=3, seed=0)["loss"]
        for held_out in (None, blobs)
    ]
    assert curves[0] == curves[1]


def test_float64_model_trains_in_float64(make_model, blobs):
    double, single = make_model(dtype=np.float64), make_model()
    histories = [fn.fit(model, blobs, epochs=2, seed=0)["loss"] for model in (double, single)]
    np.testing.assert_allclose(*histories, rtol=1e-5)
    assert histories[0] != histories[1]
    assert {param.dtype for param in double.parameters()} == {np.dtype(np.float64)}
    assert double.predict(blobs[0]).dtype == np.float64


def test_sum_reduction_equals_mean_with_a_larger_learning_rate(make_model, blobs):
    models = make_model(dtype=np.float64), make_model(dtype=np.float64)
    mean = fn.fit(models[0], blobs, optimizer=fn.SGD(lr=0.32), batch_size=32, epochs=2, seed=0)
    summed = fn.fit(
        models[1], blobs, loss=fn.CrossEntropy(reduction="sum"), optimizer=fn.SGD(lr=0.01), epochs=2, seed=0
    )
    np.testing.assert_allclose(summed.updates["loss"], np.multiply(mean.updates["loss"], 32), rtol=1e-12)
    np.testing.assert_allclose(*(model.predict(blobs[0]) for model in models), rtol=1e-12)
    assert fn.evaluate(models[1], blobs, loss=fn.CrossEntropy(reduction="sum"))["loss"] == pytest.approx(
        64 * fn.evaluate(models[0], blobs)["loss"], rel=1e-12
    )


def test_progress_bar_goes_to_the_error_stream(make_model, blobs, capsys):
    fn.fit(make_model(), blobs, epochs=2, progress=True)
    shown = capsys.readouterr()
    assert "epoch 1/2" in shown.err
    assert "epoch 2/2" in shown.err
    for quiet in (False, None):  # None: only on a terminal
        fn.fit(make_model(), blobs, epochs=2, progress=quiet)
        assert capsys.readouterr() == ("", "")
    assert shown.out == ""


def test_gradients_change_nothing_but_the_gradients(make_model, blobs, unchanged):
    model = make_model(rate=0.5)
    with unchanged(model):
        first = fn.gradients(model, blobs)
    assert all(param.grad is not None for param in model.parameters())
    assert fn.gradients(model, blobs) == first


def test_gradients_are_those_of_the_next_step(make_model, blobs):
    model = make_model(rate=0.5)
    trainer = fn.Trainer(model, optimizer=fn.SGD(lr=0.25), seed=0)
    loss = fn.gradients(model, blobs)
    start = [(param.value, param.grad) for param in model.parameters()]
    assert trainer.step(*blobs) == loss
    for param, (value, grad) in zip(model.parameters(), start, strict=True):
        np.testing.assert_allclose(param.value, value - 0.25 * grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"weight": [1, 5, 0.5]}, {"reduction": "sum"}], ids=str)
def test_evaluate_equals_a_hand_computation(make_model, options):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(1500, 6)), generator.integers(0, 3, 1500)  # more than one batch of 1024
    model = make_model(dtype=np.float64)
    first, last = model[0], model[3]
    hidden = np.tanh(x @ first.weight.value + first.bias.value)
    logits = hidden @ last.weight.value + last.bias.value
    each = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(1500), y]
    weight = np.asarray(options.get("weight", [1, 1, 1]), float)[y]
    expected = (weight * each).sum() / (1 if options.get("reduction") == "sum" else weight.sum())
    found = fn.evaluate(model, (x, y), loss=fn.CrossEntropy(**options))
    assert found["loss"] == pytest.approx(expected, rel=1e-12)
    assert found["accuracy"] == np.mean(logits.argmax(axis=1) == y)


def test_mean_over_labels_without_weight_is_nan_as_in_pytorch(make_model):
    x, y = np.ones((4, 6)), np.zeros(4, int)
    assert np.isnan(fn.evaluate(make_model(), (x, y), loss=fn.CrossEntropy(weight=[0, 1, 1]))["loss"])


def test_evaluate_and_predict_change_nothing(make_model, blobs, unchanged):
    model = make_model(rate=0.5)
    with unchanged(model):
        fn.evaluate(model, blobs)
        np.testing.assert_array_equal(model.predict(blobs[0]), model.predict(blobs[0]))


def test_accuracy_of_one_hot_targets(make_model, blobs):
    x, y = blobs
    model = make_model()
    labels, rows = (fn.evaluate(model, (x, target)) for target in (y, np.eye(3)[y]))
    assert rows["accuracy"] == labels["accuracy"]
    assert rows["loss"] == pytest.approx(labels["loss"], rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_predict_in_batches_of_any_size(make_model, blobs, batch_size):
    model = make_model(dtype=np.float64)
    found = model.predict(blobs[0], batch_size=batch_size)
    expected = model.forward(blobs[0].astype(np.float64))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("backend", ["aot", "jit"])
def test_single_row_has_the_same_bits_as_in_a_batch(backend, dtype):
    x = np.random.default_rng(0).normal(size=(67, 300))
    model = fn.Sequential(fn.Linear(300, 130), fn.Tanh(), fn.Linear(130, 11), fn.Softmax()).to(dtype)
    with fn.backend(backend):
        whole = model.predict(x)
        for count in (1, 2, 5, 16, 33):
            np.testing.assert_array_equal(model.predict(x, batch_size=count), whole)


@pytest.fixture
def uses(image_model):
    """A function (x, y, **options) -> the bytes of every result computed from the data, by function."""

    def use(x, y, **options):
        model = image_model()
        return {
            "predict": model.predict(x, **options).tobytes(),
            "evaluate": fn.evaluate(model, (x, y), **options),
            "gradients": fn.gradients(model, (x, y), **options),
            "step": fn.Trainer(model, seed=0, **options).step(x, y),
            "fit": fn.fit(model, (x, y), validation=(x, y), seed=0, **options).as_dict(),
            "weights": [param.value.tobytes() for param in model.parameters()],
        }

    return use


def test_bytes_equal_float32_over_255_bit_for_bit(images, uses):
    x, floats, y = images
    assert uses(x, y) == uses(floats, y)


def test_scale_overrides_for_bytes_and_floats(images, uses):
    x, floats, y = images
    whole = x.astype(np.float32)
    assert uses(x, y, scale=0.0625) == uses(whole * np.float32(0.0625), y)
    assert uses(whole, y, scale=1 / 255) == uses(floats, y)


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


FORMS = {
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "fortran": np.asfortranarray,
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": np.ndarray.tolist,
    "subclass": lambda a: a.view(np.recarray),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.bool])
def test_features_of_any_layout_and_dtype_give_the_bits_of_their_float_copy(images, uses, dtype, form):
    _, floats, y = images
    x = FORMS[form]((3 * floats).astype(dtype))
    before = np.array(x)
    assert uses(x, y) == uses(np.ascontiguousarray(x, np.float32), y)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.uint64])
def test_labels_of_any_layout_and_dtype(images, uses, dtype, form):
    _, floats, y = images
    labels = FORMS[form](y.astype(dtype))
    assert uses(floats, labels) == uses(floats, y)
    np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("form", sorted({*FORMS} - {"list"}))
def test_bytes_of_any_layout(images, uses, form):
    x, floats, y = images
    formed = FORMS[form](x)
    assert uses(formed, y) == uses(floats, y)
    np.testing.assert_array_equal(formed, x)


@pytest.mark.parametrize("form", FORMS)
def test_soft_targets_of_any_layout(images, uses, form):
    _, floats, y = images
    rows = np.eye(3, dtype=np.float32)[y]
    formed = FORMS[form](rows)
    assert uses(floats, formed) == uses(floats, rows)
    np.testing.assert_array_equal(formed, rows)
