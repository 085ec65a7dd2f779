"""Files of torch.save: read without running code, or refused."""

from contextlib import suppress

import numpy as np
import pytest

import fastnn as fn

torch = pytest.importorskip("torch")
nn = torch.nn

from .test_load_torch import Net, outputs, trained, twin  # noqa: E402


def stored(content, path, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_files_of_torch_save_are_read(tmp_path, zipped, wrap):
    x = np.random.default_rng(0).standard_normal((7, 8, 8, 4)).astype(np.float32)
    module, model = trained(Net(1, True), x), twin()
    path = stored(wrap(module.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    fn.load_torch(model, path)
    np.testing.assert_allclose(model.predict(x), outputs(module, x), 1e-4, 1e-5)


def test_order_of_a_state_dict_is_that_of_the_model(tmp_path):
    """By name, `a` would come first, and both orders fit."""
    module = nn.ModuleDict({"b": nn.Linear(4, 4), "a": nn.Linear(4, 4)})
    model = fn.Sequential(fn.Linear(4, 4), fn.Linear(4, 4))
    fn.load_torch(model, stored(module.state_dict(), tmp_path / "a.pt"))
    np.testing.assert_array_equal(model[0].weight.value, module["b"].weight.detach().numpy().T)


class Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: nn.Linear(4, 3), r"weights_only=True.*torch\.save\(model\.state_dict\(\), path\)"),
        (lambda: {"weight": Evil()}, "weights_only=True"),
        (lambda: torch.zeros(3), "holds a Tensor"),
        (lambda: {}, "holds nothing"),
        (lambda: {"a": {"x": torch.zeros(1)}, "b": {"x": torch.zeros(1)}}, "holds 'a', 'b'"),
        (lambda: {"weight": torch.ones(3, 4).to_sparse(), "bias": torch.zeros(3)}, "is no dense array"),
        (lambda: {"weight": torch.ones(3, 4, dtype=torch.int32), "bias": torch.zeros(3)}, "int32"),
        (lambda: {"weight": torch.ones(3, 5), "bias": torch.zeros(3)}, "does not fit the weight"),
    ],
)
def test_files_of_torch_save_that_do_not_fit_are_refused(tmp_path, unchanged, capsys, content, message):
    model = fn.Sequential(fn.Linear(4, 3))
    path = stored(content(), tmp_path / "a.pth")
    with unchanged(model), pytest.raises(fn.CheckpointError, match=message) as error:
        fn.load_torch(model, path)
    assert len(str(error.value)) < 1000
    assert "this must not run" not in capsys.readouterr().out


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_of_torch_save_are_refused_or_read(tmp_path, zipped):
    """Cut files raise; a changed byte may be one of a weight."""
    model, path = fn.Sequential(fn.Linear(4, 3)), tmp_path / "a.pth"
    torch.save(nn.Linear(4, 3).state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for cut in range(150, len(content), len(content) // 20):
        path.write_bytes(content[:cut])
        with pytest.raises(fn.CheckpointError):
            fn.load_torch(model, path)
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(content), 60):
        path.write_bytes(content[:place] + bytes([generator.integers(256)]) + content[place + 1 :])
        with suppress(fn.CheckpointError):
            fn.load_torch(model, path)
