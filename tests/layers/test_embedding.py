"""The embedding: values, gradients, padding, and indices of every kind through every entry point."""

import numpy as np
import pytest

import fastnn as fn

DTYPES = (np.uint8, np.int8, np.int64, np.float32, np.float64)


def classifier(dtype=np.float32):
    """A text classifier: 50 tokens, texts of any length, two classes."""
    return fn.Sequential(
        fn.Embedding(50, 8, padding_idx=0, dtype=dtype),
        fn.Conv1d(8, 6, 3, padding="same", dtype=dtype),
        fn.ReLU(),
        fn.GlobalAvgPool1d(),
        fn.Linear(6, 2, dtype=dtype),
    )


def texts(count=120, length=12):
    """Tokens, int64 (N, L), and whether token 7 is among them."""
    rng = np.random.default_rng(0)
    x = rng.integers(8, 50, (count, length))
    y = np.arange(count) % 2
    x[y == 1, rng.integers(0, length, count)[y == 1]] = 7
    return x, y


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_values_and_gradients_equal_pytorch(dtype, padding, normal):
    torch = pytest.importorskip("torch")
    ours = fn.Embedding(9, 5, padding, dtype=dtype)
    theirs = torch.nn.Embedding(9, 5, padding_idx=padding, dtype=getattr(torch, np.dtype(dtype).name))
    theirs.weight.data = torch.from_numpy(ours.weight.value.copy())
    x = np.random.default_rng(0).integers(0, 9, (4, 6))
    y, backward = ours.forward(x.astype(dtype))
    ty = theirs(torch.from_numpy(x))
    np.testing.assert_array_equal(y, ty.detach().numpy())
    dy = normal(*y.shape).astype(dtype)
    ty.backward(torch.from_numpy(dy))
    assert backward(dy, need_dx=False) is None
    np.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), 1e-5, 1e-6)


def test_gradient_equals_finite_differences(normal, finite_differences):
    layer = fn.Embedding(5, 3, padding_idx=1, dtype=np.float64)
    x = np.array([[0.0, 1, 4], [4, 4, 1]])
    direction = normal(2, 3, 3)
    layer.forward(x)[1](direction, need_dx=False)
    found, value = layer.weight.grad, layer.weight.value.copy()

    def projection():
        layer.weight = value
        return float((layer.forward(x)[0] * direction).sum())

    expected = finite_differences(projection, value)
    expected[1] = 0  # the padding is not trained
    np.testing.assert_allclose(found, expected, 1e-6, 1e-8)


def test_gradient_of_whole_numbers_is_exact_for_repeated_indices():
    rng = np.random.default_rng(0)
    layer = fn.Embedding(7, 19)
    x = rng.integers(0, 7, (40, 25))
    dy = rng.integers(-99, 100, (40, 25, 19))
    layer.forward(x.astype(np.float32))[1](dy.astype(np.float32), need_dx=False)
    expected = np.zeros((7, 19))
    np.add.at(expected, x, dy)
    np.testing.assert_array_equal(layer.weight.grad, expected)


def test_padding_vector_starts_at_zero_and_stays():
    x, y = texts()
    x[:, -3:] = 0
    model = classifier()
    assert not model[0].weight.value[0].any()
    fn.fit(model, (x, y), optimizer=fn.Adam(lr=0.01), epochs=2, batch_size=16, seed=0)
    assert not model[0].weight.value[0].any()
    assert model[0].weight.value[8].any()


@pytest.mark.parametrize("plan", [True, False], ids=["planned", "eager"])
def test_indices_mean_the_same_in_every_dtype(plan):
    """`fit`, `Trainer.step`, `evaluate`, `predict` and `gradients` never scale them, not even uint8."""
    x, y = texts()
    outcomes = []
    for dtype in DTYPES:
        indices = x.astype(dtype)
        fn.manual_seed(0)
        model = classifier()
        history = fn.fit(
            model, (indices, y), validation=(indices, y), batch_size=16, epochs=2, seed=0, plan=plan
        )
        trainer = fn.Trainer(model, optimizer=fn.SGD(lr=0.1), plan=plan)
        losses = [trainer.step(indices[:8], y[:8]) for _ in range(3)]
        predictions = [model.predict(indices[:9]).tobytes() for _ in range(4)]  # the later ones by a plan
        assert len(set(predictions)) == 1
        evaluated = fn.evaluate(model, (indices, y))
        loss = fn.gradients(model, (indices, y))
        outcomes.append((history["loss"], history["val_loss"], losses, predictions, evaluated, loss))
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_dtype_may_change_after_the_training_without_a_warning():
    x, y = texts()
    model = classifier()
    fn.fit(model, (x.clip(0, 9), y), epochs=1, seed=0)
    expected = model.predict(x)
    for dtype in DTYPES:
        np.testing.assert_array_equal(model.predict(x.astype(dtype)), expected)


def test_classifier_of_texts_learns():
    x, y = texts(400)
    fn.manual_seed(0)
    model = classifier()
    fn.fit(model, (x, y), optimizer=fn.Adam(lr=0.01), epochs=20, batch_size=32, seed=0)
    assert fn.evaluate(model, (x, y))["accuracy"] > 0.98


def test_memory_mapped_indices_train_to_the_same_bits(tmp_path):
    x, y = texts()
    np.save(tmp_path / "x.npy", x.astype(np.int32))
    outcomes = []
    for indices in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        fn.manual_seed(0)
        model = classifier()
        history = fn.fit(model, (indices, y), epochs=2, batch_size=16, seed=0)
        outcomes.append((history["loss"], model.predict(indices).tobytes()))
    assert outcomes[0] == outcomes[1]


INVALID = {
    "too large": 50,
    "negative": -1,
    "fraction": 3.5,
    "nan": np.nan,
    "infinite": np.inf,
    "huge": 2.0**40,
}


@pytest.mark.parametrize("wrong", INVALID.values(), ids=INVALID)
def test_invalid_index_is_rejected_by_every_entry_point(wrong, snapshot):
    x, y = texts()
    model = classifier()
    before = snapshot(model)
    x = x.astype(np.float64)
    x[5, 3] = wrong
    for use in (
        lambda: fn.fit(model, (x, y)),
        lambda: fn.Trainer(model).step(x, y),
        lambda: model.predict(x),
        lambda: fn.evaluate(model, (x, y)),
        lambda: fn.gradients(model, (x, y)),
    ):
        with pytest.raises(ValueError, match=r"whole numbers in 0..49, but x\[5, 3\] is|finite|NaN"):
            use()
    assert snapshot(model) == before


@pytest.mark.parametrize("plan", [True, False], ids=["planned", "eager"])
def test_step_with_an_invalid_index_changes_nothing(plan, snapshot):
    x, y = (array[:16] for array in texts())
    model, optimizer = classifier(), fn.Adam(lr=0.01)
    trainer = fn.Trainer(model, optimizer=optimizer, plan=plan)
    x = x.astype(np.float32)
    for _ in range(3):
        trainer.step(x, y)
    before = snapshot(model, optimizer)
    for wrong in (50, -1, 3.5):
        bad = x.copy()
        bad[5, 3] = wrong
        with pytest.raises(ValueError, match=r"x\[5, 3\] is"):
            trainer.step(bad, y)
    assert snapshot(model, optimizer) == before


def test_repeated_prediction_of_an_invalid_index_is_rejected():
    model, x = classifier(), texts()[0][:5].astype(np.float32)
    for _ in range(4):
        model.predict(x)
    x[2, 1] = 50
    with pytest.raises(ValueError, match=r"x\[2, 1\] is 50"):
        model.predict(x)


def test_invalid_index_in_a_file_is_rejected_when_it_is_read(tmp_path, snapshot):
    x, y = texts()
    x[5, 3] = 50
    np.save(tmp_path / "x.npy", x)
    model = classifier()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"whole numbers in 0\.\.49"):
        fn.fit(model, (np.load(tmp_path / "x.npy", mmap_mode="r"), y), batch_size=120, epochs=1)
    assert snapshot(model) == before


def test_indices_are_not_scaled():
    x, y = texts()
    for use in (lambda: fn.fit(classifier(), (x, y), scale=0.5), lambda: classifier().predict(x, scale=0.5)):
        with pytest.raises(ValueError, match=r"indices, which are not scaled: leave out scale=0\.5"):
            use()
    classifier().predict(x, scale=1)


def test_layers_that_change_the_shape_may_come_first():
    model = fn.Sequential(fn.Reshape(3, 4), fn.Sequential(fn.Flatten(), fn.Embedding(50, 2)), fn.Flatten())
    assert model.index_limit == 50
    assert model.predict(texts()[0].astype(np.uint8)).shape == (120, 24)
    assert fn.Sequential(fn.Linear(3, 2), fn.Embedding(5, 2)).index_limit is None


def test_embedding_behind_trainable_layers_is_rejected():
    model = fn.Sequential(
        fn.Linear(3, 3, weight_init="zeros", bias_init="zeros"), fn.Embedding(5, 2), fn.Flatten()
    )
    with pytest.raises(ValueError, match="indices, which have no gradient: put it first"):
        fn.fit(model, (np.ones((4, 3), np.float32), np.zeros(4, int)), epochs=1)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fn.Embedding(0, 3), ValueError, "num_embeddings must be"),
        (lambda: fn.Embedding(3, 0), ValueError, "embedding_dim must be"),
        (lambda: fn.Embedding(2**24 + 1, 1), ValueError, "at most 16777216 in float32"),
        (lambda: fn.Embedding(5, 3, 5), ValueError, "padding_idx must be less than 5, got 5"),
        (lambda: fn.Embedding(5, 3, -6), ValueError, "padding_idx must be at least -5"),
        (lambda: fn.Embedding(5, 3, 1.5), TypeError, "padding_idx must be an integer"),
        (lambda: fn.Embedding(5, 3, dtype=np.float16), ValueError, "float32 or float64"),
    ],
)
def test_invalid_arguments_are_rejected(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_conversion_to_a_dtype_without_all_indices_is_rejected():
    embedding = fn.Embedding(5, 3, dtype="float64")
    vars(embedding)["num_embeddings"] = 2**24 + 1  # a table of this size would take 400 MB
    for model in (embedding, fn.Sequential(embedding, fn.Flatten(), fn.Linear(6, 2, dtype="float64"))):
        with pytest.raises(ValueError, match="at most 16777216 in float32, got 16777217"):
            model.to("float32")
        assert model.dtype == np.float64
        model.to("float64")


def test_initial_weights_are_standard_normal():
    values = fn.Embedding(200, 100).weight.value
    assert abs(float(values.mean())) < 0.03
    assert abs(float(values.std()) - 1) < 0.03


def test_repr_and_state():
    layer = fn.Embedding(5, 3, padding_idx=-1)
    assert repr(layer) == "Embedding(5, 3, padding_idx=4)"
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert repr(fn.Embedding(5, 3)) == "Embedding(5, 3)"


def test_indices_are_not_scaled_behind_a_residual():
    fn.manual_seed(0)
    both = fn.Residual(fn.Embedding(300, 4), fn.Embedding(300, 4))
    model = fn.Sequential(both, fn.GlobalAvgPool1d(), fn.Linear(4, 2))
    x = np.array([[0, 255], [255, 0]])
    assert model.index_limit == 300
    np.testing.assert_array_equal(model.predict(x.astype(np.uint8)), model.predict(x))
