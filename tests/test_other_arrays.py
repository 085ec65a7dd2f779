"""Arrays of other libraries, through `__array__` or DLPack."""

import numpy as np
import pytest

import fastnn as fn

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3


def new_model():
    fn.manual_seed(0)
    return fn.Linear(4, 3)


class OnlyDLPack:
    """An array whose library knows DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def everything(x, y):
    model = new_model()
    history = fn.fit(model, (x, y), validation=(x, y), batch_size=4, epochs=2, seed=0, watch=False)
    trainer = fn.Trainer(model, seed=0)
    steps = [trainer.step(x, y) for _ in range(3)]
    outputs = model.predict(x).tobytes()
    return history.updates["loss"], history["val_loss"], steps, fn.gradients(model, (x, y)), outputs


def test_arrays_that_know_dlpack_alone():
    assert everything(OnlyDLPack(X), OnlyDLPack(Y)) == everything(X, Y)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_torch_tensors(requires_grad):
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=requires_grad)
    assert everything(x, torch.tensor(Y)) == everything(X, Y)
    assert x.requires_grad == requires_grad
    assert x.grad is None


def test_jax_arrays():
    jax = pytest.importorskip("jax")
    assert everything(jax.numpy.asarray(X), jax.numpy.asarray(Y)) == everything(X, Y)


@pytest.mark.parametrize("kind", ["bfloat16", "sparse", "meta"])
def test_tensors_that_numpy_cannot_hold_are_refused(kind):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X)
    x = {"bfloat16": tensor.bfloat16, "sparse": tensor.to_sparse, "meta": lambda: tensor.to("meta")}[kind]()
    for use in (
        lambda: fn.fit(new_model(), (x, Y)),
        lambda: fn.Trainer(new_model()).step(x, Y),
        lambda: new_model().predict(x),
        lambda: fn.squared_error(X, x),
    ):
        with pytest.raises(
            TypeError, match=r"a Tensor, cannot be converted to a NumPy array: .* dense float32"
        ):
            use()


def test_types_that_packages_add_to_numpy_are_refused_with_advice():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(TypeError, match=r"dtype is bfloat16: use x.astype\(np.float32\)"):
        fn.fit(new_model(), (X.astype(ml_dtypes.bfloat16), Y))
