"""Data sets that give one sample at a time, such as those of PyTorch, and iterators of batches."""

import numpy as np
import pytest

import fastnn as fn

X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
Y = np.arange(50) % 3


class Pairs:
    """A map-style data set."""

    def __init__(self, x=X, y=Y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def small_net(outputs=3):
    fn.manual_seed(0)
    return fn.Sequential(fn.Flatten(), fn.Linear(6, outputs))


def everything(data, **options):
    model = small_net()
    history = fn.fit(model, data, validation=data, epochs=2, batch_size=8, seed=0, watch=False, **options)
    split = fn.fit(model, data, validation=0.2, drop_last=True, batch_size=8, seed=0, watch=False, **options)
    return history.updates, history, split, fn.evaluate(model, data), fn.gradients(model, data)


@pytest.mark.parametrize("order", ["random", "balanced", "blocks"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_items_give_the_same_bits_as_arrays(dtype, order):
    x = (X * 9).astype(dtype)
    assert everything(Pairs(x), order=order) == everything((x, Y), order=order)


def test_bytes_are_scaled_like_those_of_arrays():
    x = (np.abs(X) * 60).astype(np.uint8).reshape(50, 2, 3)
    assert everything(Pairs(x)) == everything((x, Y))


def test_labels_may_be_text():
    names = np.array(["a", "bcd", "ef"])[Y]
    assert everything(Pairs(X, names.tolist())) == everything((X, names))


def test_rows_of_targets():
    results = []
    for data in (Pairs(X, X), (X, X)):
        model = small_net(6)
        results.append(fn.fit(model, data, loss="squared_error", seed=0).updates["loss"])
    assert results[0] == results[1]


def test_pytorch_data_sets():
    torch = pytest.importorskip("torch")
    from torch.utils.data import Dataset, Subset, TensorDataset

    class Own(Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, index):
            return torch.from_numpy(X[index]), int(Y[index])

    tensors = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    expected = everything((X, Y))
    assert everything(Own()) == everything(tensors) == expected
    assert everything(Subset(tensors, range(20))) == everything((X[:20], Y[:20]))


def test_a_training_on_items_resumes(tmp_path):
    path = tmp_path / "run"
    whole = fn.fit(small_net(), Pairs(), epochs=4, seed=0)
    fn.fit(small_net(), Pairs(), epochs=2, seed=0, checkpoint=path)
    assert fn.fit(small_net(), Pairs(), epochs=4, seed=0, checkpoint=path).updates == whole.updates


class Odd(Pairs):
    """Item 7 is another one."""

    def __init__(self, item):
        super().__init__()
        self.item = item

    def __getitem__(self, index):
        return self.item if index == 7 else super().__getitem__(index)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Pairs(X[:0]), ValueError, "Pairs is empty"),
        (Odd((X[7],)), TypeError, r"item 7 of Odd must be \(x, y\), .*, not tuple of 1"),
        (
            Odd({"picture": 1, "label": 2}),
            TypeError,
            r"item 7 of Odd must have one of the keys x, image, .* for x, but has the keys \['picture', 'l",
        ),
        (Odd({"x": 1, "image": 2, "y": 3}), TypeError, r"item 7 .* for x, but has the keys \['x', 'image'"),
        (Odd((X[7], Y[7], 2.0)), ValueError, "either all items or none must have a weight: item 7"),
        (Odd((X[7, :5], Y[7])), ValueError, r"x of item 7 has shape \(5,\) .* item 0 has \(6,\) and float32"),
        (Odd((X[7], Y[7:9])), ValueError, r"y of item 7 has shape \(2,\)"),
        (Odd((X[7].astype(float), Y[7])), ValueError, "x of item 7 has shape .* dtype float64"),
        (Odd((X[7].astype(str), Y[7])), TypeError, "x of item 7 must hold real numbers"),
        (Pairs(X, np.arange(50) % 5), ValueError, "3"),
    ],
)
def test_unsuitable_items_are_refused(data, error, message):
    model = small_net()
    with pytest.raises(error, match=message):
        fn.fit(model, data)
    np.testing.assert_array_equal(model[1].weight.value, small_net()[1].weight.value)


def test_what_an_item_raises_passes_through_with_its_number():
    class Broken(Pairs):
        def __getitem__(self, index):
            if index == 9:
                raise KeyError("no such picture")
            return super().__getitem__(index)

    with pytest.raises(KeyError, match="no such picture") as caught:
        fn.fit(small_net(), Broken())
    assert caught.value.__notes__ == ["raised by item 9 of the data, Broken"]


def test_nan_in_an_item_is_named():
    x = X.copy()
    x[30, 2] = np.nan
    with pytest.raises(fn.NonFiniteError, match="1 value of x is NaN or inf, nan in row 30, column 2"):
        fn.fit(small_net(), Pairs(x))


def test_items_may_be_dicts_and_have_weights():
    weight = np.arange(1.0, 51)
    rows = list(zip(X, Y.tolist(), weight, strict=True))
    dicts = [{"image": x, "label": y, "sample_weight": w, "id": 3} for x, y, w in rows]
    assert everything(dicts) == everything(rows) == everything((X, Y, weight))
    assert everything([{"x": x, "y": y} for x, y, _ in rows[:2] * 10]) == everything(
        (np.tile(X[:2], (10, 1)), np.tile(Y[:2], 10))
    )


def test_lists_of_two_or_three_pairs_are_pairs_of_arrays():
    pair = [(1.0, 2.0), (3.0, 4.0)], [0, 1]
    model = fn.Sequential(fn.Linear(2, 2))
    assert fn.evaluate(model, list(pair)) == fn.evaluate(model, pair)
    assert fn.evaluate(model, [[[1.0, 2.0], [3.0, 4.0]], [0, 1], [1.0, 2.0]]) == fn.evaluate(
        model, (*pair, [1.0, 2.0])
    )


@pytest.mark.filterwarnings("ignore:Cannot (locate|pickle)")  # while `datasets` pickles with dill
def test_data_of_hugging_face():
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"features": X, "label": Y})
    for form in ("numpy", "torch"):
        rows = data.with_format(form)
        assert everything(rows) == everything((X, Y))
        batches = fn.fit(small_net(), rows.to_iterable_dataset(), batch_size=8, seed=0, watch=False)
        assert batches == fn.fit(small_net(), (X, Y), batch_size=8, order="fixed", seed=0, watch=False)


def test_a_trainer_takes_the_batches_of_a_data_loader():
    torch_data = pytest.importorskip("torch.utils.data")
    trainer = fn.Trainer(small_net(), seed=0)
    losses = [trainer.step(x, y) for x, y in torch_data.DataLoader(Pairs(), batch_size=8)]
    expected = fn.fit(small_net(), (X, Y), batch_size=8, order="fixed", seed=0, watch=False)
    assert losses == expected.updates["loss"]
