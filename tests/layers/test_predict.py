"""Predictions: logits, probabilities and classes, for a batch; a single sample is asked to become one."""

import numpy as np
import pytest

import fastnn as fn


@pytest.fixture
def logits(normal):
    """Logits (5, 3), and a model that returns its input."""
    return normal(5, 3).astype(np.float32)


def returns(*last):
    return fn.Sequential(fn.Identity(), *last)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_calling_a_model_predicts(make_model, blobs):
    model, x = make_model(rate=0.5), blobs[0]
    np.testing.assert_array_equal(model(x), model.predict(x))
    np.testing.assert_array_equal(fn.Linear.__call__(model[0], x), model[0].predict(x))
    pixels = np.full((2, x.shape[1]), 255, np.uint8)
    np.testing.assert_array_equal(model(pixels), model.predict(pixels))


def test_probabilities_are_the_softmax_of_several_logits(logits):
    result = returns().predict_proba(logits)
    np.testing.assert_allclose(result, softmax(logits), rtol=1e-5)
    assert result.dtype == np.float32
    huge = returns().predict_proba(np.float32([[1000, 0, -1000]]))
    np.testing.assert_array_equal(huge, [[1, 0, 0]])


@pytest.mark.parametrize("backend", ["aot", "ref"])
def test_probabilities_of_one_logit_and_of_many_labels_are_sigmoids(logits, backend):
    with fn.backend(backend):
        one, many = logits[:, :1], logits
        np.testing.assert_allclose(returns().predict_proba(one), sigmoid(one), rtol=1e-5)
        np.testing.assert_allclose(returns().predict_proba(many, multi_label=True), sigmoid(many), rtol=1e-5)


def test_classes_are_the_largest_or_the_positive_logits(logits):
    np.testing.assert_array_equal(returns().predict_classes(logits), logits.argmax(axis=1))
    np.testing.assert_array_equal(returns().predict_classes(logits[:, :1]), logits[:, 0] > 0)
    np.testing.assert_array_equal(returns().predict_classes(logits, multi_label=True), logits > 0)
    for one in (logits, logits[:, :1]):
        assert returns().predict_classes(one).shape == (5,)
        assert returns().predict_classes(one).dtype == np.int64


def test_images_have_their_classes_in_the_last_axis(normal):
    maps = normal(2, 4, 5, 3).astype(np.float32)
    np.testing.assert_allclose(returns().predict_proba(maps), softmax(maps), rtol=1e-5)
    np.testing.assert_array_equal(returns().predict_classes(maps), maps.argmax(axis=-1))
    assert returns().predict_classes(maps[..., :1]).shape == (2, 4, 5)


@pytest.mark.parametrize("nested", [False, True])
def test_outputs_that_are_probabilities_stay(logits, nested):
    def ending_with(layer):
        return returns(fn.Sequential(fn.Identity(), layer) if nested else layer)

    model = ending_with(fn.Softmax())
    np.testing.assert_array_equal(model.predict_proba(logits), model.predict(logits))
    np.testing.assert_array_equal(model.predict_classes(logits), logits.argmax(axis=1))
    model = ending_with(fn.Sigmoid())
    np.testing.assert_array_equal(model.predict_proba(logits[:, :1]), model.predict(logits[:, :1]))
    np.testing.assert_array_equal(model.predict_classes(logits[:, :1]), logits[:, 0] > 0)
    np.testing.assert_array_equal(model.predict_classes(logits, multi_label=True), logits > 0)


def test_probabilities_take_the_arguments_of_predict(make_model, blobs):
    model, x = make_model(), blobs[0]
    np.testing.assert_array_equal(
        model.predict_proba(x, scale=0.5, batch_size=3), model.predict_proba(x * 0.5)
    )
    np.testing.assert_array_equal(
        model.predict_classes(x, scale=0.5, batch_size=3), model.predict_classes(x * 0.5)
    )


SINGLE = {
    "row": (lambda: fn.Sequential(fn.Linear(6, 2)), (6,)),
    "digit": (lambda: fn.Sequential(fn.Flatten(), fn.Linear(64, 2)), (8, 8)),
    "image": (lambda: fn.Sequential(fn.Conv2d(3, 4, 3), fn.GlobalAvgPool2d(), fn.Linear(4, 2)), (8, 8, 3)),
}


@pytest.mark.parametrize("name", ["predict", "__call__", "predict_proba", "predict_classes"])
@pytest.mark.parametrize("case", SINGLE.values(), ids=SINGLE)
def test_single_sample_is_asked_for_its_batch_axis(case, name):
    make, shape = case
    sample = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=r"pass x\[None\]"):
        getattr(make(), name)(sample)
    assert len(getattr(make(), name)(sample[None])) == 1


def test_wrong_shape_that_is_no_single_sample_has_no_such_hint():
    with pytest.raises(ValueError, match=r"expects samples of shape \(6,\), got \(5,\)$"):
        fn.Sequential(fn.Linear(6, 2)).predict(np.zeros((3, 5)))


class Plain(fn.Layer):
    """Returns the output alone, as a PyTorch module does."""

    def forward(self, x, *, train=False):
        return 2 * x


@pytest.mark.parametrize(
    "use",
    [
        lambda x: Plain().predict(x),
        lambda x: fn.Sequential(fn.Linear(3, 3), Plain()).predict(x),
        lambda x: fn.fit(Plain(), (x, x), loss="squared_error"),
        lambda x: fn.fit(Plain(), (x, x), loss="squared_error", plan=False),
        lambda x: fn.fit(fn.Residual(Plain()), (x, x), loss="squared_error"),
    ],
    ids=["predict", "predict inside", "fit", "fit eagerly", "fit inside"],
)
def test_forward_without_its_backward_function_is_named(use):
    with pytest.raises(TypeError, match=r"Plain\.forward must return a pair \(y, backward\), not ndarray"):
        use(np.ones((2, 3), np.float32))


def test_summary_shows_as_a_table_in_an_interpreter():
    summary = fn.Sequential(fn.Linear(3, 2)).summary()
    assert repr(summary) == str(summary) == f"{summary}"
    assert "\n" in repr(summary)
