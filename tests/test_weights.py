"""Weight files: round trip, damage, atomic writing."""

import json
import os
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastnn as fn
from fastnn.weights import RECORD
from tests.json_mutations import json_mutations
from tests.mutations import mutations

FUZZ = int(os.environ.get("FASTNN_FUZZ", "300"))


@pytest.fixture
def model(make_model):
    return make_model(rate=0.5)


@pytest.fixture
def other(make_model):
    """A model with the same shapes and other weights."""
    return make_model(rate=0.5, seed=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def weights(model):
    return {name: param.value for name, param in model.named_parameters()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_round_trip_is_exact(model, other, path, dtype, kind):
    model.to(dtype)
    model[0].bias.value = [0.0, -0.0, np.nan, np.inf, 1e-40, *range(11)]
    assert fn.save(model, kind(path)) == path
    fn.load(other.to(dtype), kind(path))
    for name, value in weights(other).items():
        assert value.tobytes() == weights(model)[name].tobytes()
        assert value.dtype == dtype


def test_file_holds_plain_arrays_by_name(model, path):
    fn.save(model, path)
    arrays = load_file(path)
    assert sorted(arrays) == ["0.bias", "0.weight", "3.bias", "3.weight"]
    for name, value in weights(model).items():
        np.testing.assert_array_equal(arrays[name], value)


def test_saving_and_loading_change_only_the_weights(model, other, path, unchanged):
    with unchanged(model):
        fn.save(model, path)
    counters = [state.tobytes() for state in other.random_states()]
    fn.load(other, path)
    assert [state.tobytes() for state in other.random_states()] == counters


def test_training_continues_from_a_file(model, other, path, blobs):
    fn.save(model, path)
    fn.load(other, path)
    histories = [fn.fit(net, blobs, epochs=2, seed=0) for net in (model, other)]
    assert histories[0].as_dict() == histories[1].as_dict()


def test_truncated_file_raises_at_any_length(model, other, path, unchanged):
    fn.save(model, path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    lengths = {*range(16), *range(header - 4, header + 5), *range(0, len(content), 37), len(content) - 1}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        with unchanged(other), pytest.raises(fn.CheckpointError, match="not a readable safetensors file"):
            fn.load(other, path)


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        bytes(1000),
        b"\xff" * 1000,
        np.random.default_rng(0).bytes(1000),
        b"\x02" + bytes(7) + b"[]",
        b"\x02" + bytes(7) + b"{}" + b"more",
        b'\x40\0\0\0\0\0\0\0{"0.weight":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}    ' + bytes(4),
    ],
    ids=["text", "zeros", "ones", "random", "list", "appended", "type"],
)
def test_garbage_raises(model, path, content, unchanged):
    path.write_bytes(content)
    with (
        unchanged(model),
        pytest.raises(fn.CheckpointError, match=f"{path.name} is not a readable safetensors"),
    ):
        fn.load(model, path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F16", "I64", "BOOL"])
def test_unsupported_dtype_raises(model, path, dtype, unchanged):
    width = {"BF16": 2, "F8_E4M3": 1, "F16": 2, "I64": 8, "BOOL": 1}[dtype]
    header = f'{{"0.weight":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{2 * width}]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2 * width))
    with unchanged(model), pytest.raises(fn.CheckpointError, match=path.name):
        fn.load(model, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("3.bias"), "'3.bias' is missing"),
        (lambda a: a.update(more=a["3.bias"]), "'more' is not in the model"),
        (
            lambda a: a.update({"3.bias": a["3.bias"][:2]}),
            r"'3.bias' is float32 \(2,\), but float32 \(3,\) in the model",
        ),
        (lambda a: a.update({"3.weight": a["3.weight"].T.copy()}), r"'3.weight' is float32 \(3, 16\)"),
        (
            lambda a: a.update({"3.bias": a["3.bias"].astype("f8")}),
            r"'3.bias' is float64 \(3,\), but float32",
        ),
        (lambda a: a.update({"3.bias": a["3.bias"].astype("i4")}), "'3.bias' is int32"),
        (
            lambda a: a.clear(),
            "'0.bias' is missing; '0.weight' is missing; '3.bias' is missing; '3.weight' is missing",
        ),
    ],
    ids=["lacks", "extra", "shape", "transposed", "float64", "int32", "empty"],
)
def test_file_of_another_model_raises(model, other, path, change, message, unchanged):
    arrays = weights(model)
    change(arrays)
    save_file(arrays, path)
    with unchanged(other), pytest.raises(fn.CheckpointError, match=f"does not fit the model: .*{message}"):
        fn.load(other, path)


def test_missing_file(model, path, unchanged):
    with unchanged(model), pytest.raises(FileNotFoundError):
        fn.load(model, path)


def test_missing_folder_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such folder: '.*/missing'$"):
        fn.save(model, tmp_path / "missing" / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_error_is_a_value_error():
    assert issubclass(fn.CheckpointError, ValueError)


def test_saving_replaces_an_older_file(model, other, path):
    fn.save(model, path)
    fn.save(other, path)
    np.testing.assert_array_equal(load_file(path)["0.weight"], weights(other)["0.weight"])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["OSError", "Ctrl-C"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_keeps_only_the_old_file(model, other, path, monkeypatch, call, error):
    def fail(*arguments):
        raise error

    fn.save(model, path)
    before = path.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        fn.save(other, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_content_is_flushed_before_the_file_is_renamed(model, path, monkeypatch):
    events = []
    for call in ("fsync", "replace"):
        original = getattr(os, call)
        monkeypatch.setattr(
            os, call, lambda *args, f=original, c=call: (events.append((c, path.exists())), f(*args))[1]
        )
    fn.save(model, path)
    assert events == [("fsync", False), ("replace", False), ("fsync", True)]  # at last that of the folder


def test_file_has_the_usual_permissions(model, path):
    plain = path.with_name("plain")
    plain.touch()
    fn.save(model, path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


# --- buffers ---


def normed(seed=0):
    fn.manual_seed(seed)
    model = fn.Sequential(
        fn.Linear(6, 4), fn.BatchNorm1d(4), fn.Linear(4, 3), fn.BatchNorm1d(3, affine=False)
    )
    for buffer in model.buffers():
        buffer.value = np.random.default_rng(seed).random(buffer.shape)
    return model


def buffers(model):
    return {name: buffer.value.tobytes() for name, buffer in model.named_buffers()}


def test_buffers_are_saved_and_loaded_with_the_weights(path):
    model, other = normed(), normed(seed=1)
    fn.save(model, path)
    assert {name for name in load_file(path) if "running" in name} == set(buffers(model))
    assert "1.running_mean" in load_file(path)
    arrays = [buffer.master for buffer in other.buffers()]
    fn.load(other, path)
    assert buffers(other) == buffers(model)
    assert all(a is buffer.master for a, buffer in zip(arrays, other.buffers(), strict=True))
    x = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    assert other.predict(x).tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda arrays: arrays.pop("3.running_var"), "'3.running_var' is missing"),
        (
            lambda arrays: arrays.update({"0.running_mean": np.zeros(4, "f")}),
            "'0.running_mean' is not in the model",
        ),
        (
            lambda arrays: arrays.update({"1.running_mean": np.zeros(5, "f")}),
            r"'1.running_mean' is .* \(5,\)",
        ),
        (lambda arrays: arrays.update({"1.running_var": np.zeros(4)}), "'1.running_var' is float64"),
    ],
)
def test_unsuitable_buffers_raise_before_anything_changes(spoil, words, path, unchanged):
    model, other = normed(), normed(seed=1)
    fn.save(model, path)
    arrays = load_file(path)
    spoil(arrays)
    save_file(arrays, path)
    with unchanged(other), pytest.raises(fn.CheckpointError, match=words):
        fn.load(other, path)


# --- fuzz ---


def content_of(model):
    return {name: value.tobytes() for name, value in weights(model).items()} | buffers(model)


def test_damaged_files_end_in_a_checkpoint_error_and_change_nothing(path):
    """300 mutations; `FASTNN_FUZZ=10000 pytest tests/test_weights.py -k damaged` tries more."""
    model = normed()
    fn.save(model, path)
    content, rejected = path.read_bytes(), 0
    for damaged in mutations(content, FUZZ, seed=0):
        path.write_bytes(damaged)
        for load in (fn.load, fn.load_torch):
            other = normed(seed=1)
            try:
                load(other, path)
            except fn.CheckpointError:
                rejected += 1
                assert content_of(other) == content_of(normed(seed=1))
    assert rejected > 300


STRANGE_DTYPES = ("),,", "(2,)f4", "f4,f4", "O", "V8", "U3", "M8[s]", "c8", "float16,", "\x00", "f" * 10_000)


def test_changed_records_of_how_the_model_was_fed_end_in_a_checkpoint_error(path, blobs):
    """The record is JSON in the metadata of the file. For some strange dtypes NumPy raises SyntaxError."""
    model = fn.Sequential(fn.Linear(6, 3))
    fn.fit(model, blobs, progress=False)
    fn.save(model, path)
    with safe_open(path, "np") as file:
        record = json.loads(file.metadata()[RECORD])
    strange = [{"feeding": {**record["feeding"], "dtype": name}} for name in STRANGE_DTYPES]
    records = [*json_mutations(record, FUZZ, seed=0), *strange]
    rejected = 0
    for changed in records:
        save_file(weights(model), path, {RECORD: json.dumps(changed)})
        other = fn.Sequential(fn.Linear(6, 3))
        before = content_of(other)
        try:
            fn.load(other, path)
        except fn.CheckpointError:
            rejected += 1
            assert content_of(other) == before
        else:
            other.predict(blobs[0])
    assert rejected > len(records) / 2
