"""One-file models: `fn.load(path)` rebuilds what `fn.save` wrote, and rejects everything else."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastnn as fn
from fastnn import rng
from fastnn.architecture import describe
from fastnn.feeding import feeding_of
from fastnn.param import limited
from fastnn.weights import RECORD
from tests.golden.make import images
from tests.model_fuzz import GOLDEN, content, fuzz, read_record, write_record
from tests.test_architecture import EXAMPLES, NETS, Forgetful, Scale

FUZZ = int(os.environ.get("FASTNN_FUZZ", "300"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def randomized(model):
    """The model with random weights and positive running statistics."""
    generator = np.random.default_rng(0)
    for held in (*model.parameters(), *model.buffers()):
        held.value = generator.random(held.shape) + 0.1
    return model


@pytest.mark.parametrize("model", EXAMPLES + NETS, ids=lambda model: repr(model)[:40])
def test_every_layer_is_rebuilt_with_its_weights(model, path):
    randomized(model)
    fn.save(model, str(path))
    loaded = fn.load(str(path))
    assert content(loaded) == content(model)
    assert [p.name for p in loaded.parameters()] == [name for name, _ in loaded.named_parameters()]


def test_a_trained_model_predicts_the_same(path):
    """Classes, the scale of the features, frozen parameters and their scales come with it."""
    x, y = images(12), np.array(["no", "yes"])[np.arange(12) % 2]
    model = fn.Sequential(fn.Conv2d(2, 3, 3), fn.BatchNorm2d(3), fn.Flatten(), fn.Linear(108, 2))
    model[0].weight.trainable, model[3].bias.decay_scale = False, 0.0
    model[3].weight.lr_scale = 0.25
    fn.fit(model, (x, y), epochs=1, seed=0, progress=False)
    fn.save(model, path)
    loaded = fn.load(path)
    assert loaded.predict(x).tobytes() == model.predict(x).tobytes()
    assert loaded.predict_classes(x).tolist() == model.predict_classes(x).tolist()
    assert feeding_of(loaded) == feeding_of(model)
    assert feeding_of(loaded).shape == (8, 8, 2)
    for param, own in zip(loaded.parameters(), model.parameters(), strict=True):
        settings = [(p.name, p.trainable, p.lr_scale, p.decay_scale) for p in (param, own)]
        assert settings[0] == settings[1]
    histories = [fn.fit(net, (x, y), epochs=2, seed=0, progress=False) for net in (model, loaded)]
    assert histories[0].as_dict() == histories[1].as_dict()


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("f8", "f4")])
def test_each_parameter_keeps_its_dtype(path, dtypes):
    model = fn.Linear(3, 2)
    model.weight.to(dtypes[0])
    model.bias.to(dtypes[1])
    fn.save(model, path)
    loaded = fn.load(path)
    assert [loaded.weight.dtype, loaded.bias.dtype] == list(dtypes)


def test_loading_draws_no_random_numbers(path):
    fn.save(fn.Sequential(fn.Linear(3, 3), fn.Dropout(0.2), Scale(2)), path)
    fn.manual_seed(3)
    fn.load(path, custom={"Scale": Scale})
    drawn = rng.default_generator().random()
    fn.manual_seed(3)
    assert drawn == rng.default_generator().random()


def test_the_file_says_how_it_was_made(path):
    fn.save(fn.nets.mlp([4, 3, 2]), path)
    record = read_record(path)
    assert record["format"] == 1
    assert set(record) == {"format", "version", "architecture", "crc32"}


def test_golden_file_of_format_1_is_read():
    """Files of this version must be readable for ever: never write the golden file anew."""
    model, expected = fn.load(GOLDEN), json.loads(GOLDEN.with_suffix(".json").read_text())
    assert repr(model) == expected["repr"]
    np.testing.assert_allclose(model.predict(images(3)), expected["outputs"], rtol=0, atol=1e-5)
    assert model.classes.tolist() == ["ant", "bee", "cat"]
    assert [p.name for p in model.parameters() if p.frozen] == ["0.weight"]
    assert {p.name for p in model.parameters() if p.lr_scale == 0.5} == {
        "3.branch.0.weight",
        "3.branch.0.bias",
    }
    assert [p.name for p in model.parameters() if p.decay_scale == 0] == ["1.gamma"]
    assert feeding_of(model).scale == 1 / 255


# --- layers of users ---


class Gain(fn.Layer):
    def __init__(self, size, start=2.0):
        self.size, self.start = size, start
        self.gain = fn.Param(np.full(size, start, np.float32))

    def forward(self, x, *, train=False):
        def backward(dy, *, need_dx=True):
            self.gain.grad = (dy * x).sum(0)
            return dy * self.gain.value

        return x * self.gain.value, backward


def test_layers_of_users_are_loaded_with_custom(path):
    model = fn.Sequential(fn.Linear(3, 4), fn.Residual(Gain(4, start=0.5)))
    fn.save(model, path)
    loaded = fn.load(path, custom={"Gain": Gain})
    assert content(loaded) == content(model)
    assert loaded[1].branch.start == 0.5
    words = r"layers\[1\].branch is a layer of a user's own class 'Gain': pass its class, custom={'Gain': .*}"
    with pytest.raises(fn.CheckpointError, match=words):
        fn.load(path)


def test_a_model_without_a_description_keeps_its_weights(path):
    model = fn.Sequential(fn.Linear(3, 4), Forgetful(4))
    fn.save(model, path)
    words = r"has no architecture \(model.layers\[1\]: Forgetful does not keep its argument units: "
    with pytest.raises(fn.CheckpointError, match=words):
        fn.load(path, custom={"Forgetful": Forgetful})
    twin = fn.Sequential(fn.Linear(3, 4), Forgetful(4))
    fn.load(twin, path)
    assert twin[0].weight.value.tobytes() == model[0].weight.value.tobytes()


# --- files of other kinds ---


def test_files_of_weights_alone_are_for_an_existing_model(path, make_model):
    model = make_model()
    for metadata in (None, {"format": "pt"}, {RECORD: "{}"}):
        save_file({name: p.value for name, p in model.named_parameters()}, path, metadata)
        with pytest.raises(fn.CheckpointError, match=r"no architecture .*fn.load_torch\(model, path\)"):
            fn.load(path)
        fn.load(model, path)


def test_checkpoint_is_no_model(path, make_model, blobs):
    fn.fit(make_model(), blobs, epochs=1, seed=0, checkpoint=path, progress=False)
    with pytest.raises(
        fn.CheckpointError, match=r"it is no model, but a fastnn checkpoint 1: pass it to fn.fit"
    ):
        fn.load(path)


def test_file_of_a_newer_version_names_both(path, make_model):
    fn.save(make_model(), path)
    write_record(path, read_record(path) | {"format": 2, "version": "7.3"}, load_file(path))
    for arguments in ([path], [make_model(), path]):
        with pytest.raises(
            fn.CheckpointError, match=r"fastnn 7.3 wrote it in format 2, but fastnn .* reads format 1: up"
        ):
            fn.load(*arguments)


def test_unknown_fields_of_a_newer_version_are_ignored(path, make_model):
    fn.save(make_model(), path)
    write_record(path, read_record(path) | {"loss": {"name": "hinge"}}, load_file(path))
    assert content(fn.load(path)) == content(make_model())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((fn.Linear(2, 2),), r"fn.load\(model, path\) needs the path"),
        (("a.safetensors", fn.Linear(2, 2)), "takes the model first"),
        (("a", "b"), "fn.load takes layers, not 'a'"),
        ((3.5,), "expected str, bytes or os.PathLike object, not float"),
        ((), "expected str, bytes or os.PathLike object, not NoneType"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, words):
    with pytest.raises(TypeError, match=words):
        fn.load(*arguments)
    with pytest.raises(TypeError, match="custom"):
        fn.load(fn.Linear(2, 2), "a", custom={"Scale": Scale})


def test_path_may_be_a_keyword(path):
    fn.save(fn.ReLU(), path)
    assert type(fn.load(path=path)) is fn.ReLU
    with pytest.raises(FileNotFoundError):
        fn.load(path.with_name("missing"))


# --- damaged and dangerous files ---


def test_flipped_bit_is_noticed(path, make_model, unchanged):
    fn.save(make_model(), path)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    model = make_model(seed=1)
    for arguments in ([path], [model, path]):
        with (
            unchanged(model),
            pytest.raises(fn.CheckpointError, match="content differs from what was written"),
        ):
            fn.load(*arguments)


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        ("Linear", {"in_features": 2**11, "out_features": 2**10}),
        ("Linear", {"in_features": 2**62, "out_features": 2**62}),
        ("Conv2d", {"in_channels": 2**8, "out_channels": 2**8, "filter_size": 2**3}),
        ("BatchNorm1d", {"channels": 2**21}),
        ("BatchNorm2d", {"channels": 2**21, "affine": False}),
        ("LayerNorm", {"shape": [2**11, 2**10]}),
    ],
)
def test_layers_larger_than_the_file_take_no_memory(path, layer, arguments):
    """The layers have a few megabytes, lest the test needs gigabytes when it fails."""
    fn.save(fn.Linear(1, 1), path)
    spec = {"layer": layer, "arguments": arguments}
    write_record(path, read_record(path) | {"architecture": spec}, load_file(path))
    with pytest.raises(fn.CheckpointError, match=r"there is room for 1,048,5\d\d elements"):
        fn.load(path)


def test_the_limit_counts_all_layers_together():
    with limited(100):
        fn.Linear(5, 9)
        with pytest.raises(ValueError, match="room for 46 elements"):
            fn.Linear(7, 7)
    fn.Linear(100, 100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(architecture=describe(fn.Linear(3, 5))), r"'weight' is float32 \(3, 4\), but"),
        (
            lambda r: r.update(architecture=describe(fn.Linear(3, 4, bias=False))),
            "'bias' is not in the model",
        ),
        (lambda r: r.update(architecture=describe(fn.Sequential(fn.Linear(3, 4)))), "'0.bias' is missing"),
        (lambda r: r.update(architecture=None, no_architecture=3), "no_architecture must be a text"),
        (lambda r: r.update(parameters={"bias": {"lr_scale": -1}}), "'bias': lr_scale must be a finite"),
        (lambda r: r.update(parameters={"bias": {"clip_value": 0}}), "'bias': clip_value must be above 0"),
        (lambda r: r.update(parameters={"bias": {"clip_value": "1"}}), "clip_value must be a number"),
        (lambda r: r.update(parameters={"bias": {"mask": "AAAA"}}), "must be the 4 bits of a mask in base64"),
        (lambda r: r.update(parameters={"bias": {"mask": "A"}}), "mask must be the 4 bits .*, got 'A'"),
        (lambda r: r.update(parameters={"bias": {"mask": "ä==="}}), "must be the 4 bits of a mask"),
        (lambda r: r.update(parameters={"bias": {"mask": [1, 0]}}), "must be the 4 bits of a mask"),
        (lambda r: r.update(parameters={"b": {"mask": "AA=="}}), r"parameters\['b'\] is unknown"),
        (lambda r: r.update(parameters={"bias": {"grad": 1}}), r"parameters\['bias'\] is unknown"),
        (lambda r: r.update(parameters={"b": {"lr_scale": 1}}), r"parameters\['b'\] is unknown"),
        (lambda r: r.update(parameters={"bias": {"trainable": 1}}), "trainable must be true or false"),
        (lambda r: r.update(version=1), "version must be a text"),
        (lambda r: r.update(format=-1), "format must be an integer of at least 0"),
        (lambda r: r.update(classes=["a", "a"]), "'a' occurs twice"),
    ],
)
def test_records_that_do_not_fit_are_rejected(path, change, words):
    fn.save(fn.Linear(3, 4), path)
    record = read_record(path)
    change(record)
    write_record(path, record, load_file(path))
    with pytest.raises(fn.CheckpointError, match=words):
        fn.load(path)


@pytest.mark.parametrize(
    "written", ["[" * 100_000, '{"architecture": ' + '{"a":' * 50_000, "null", "[]", "{"]
)
def test_records_that_are_no_object_are_rejected(path, written):
    save_file({"weight": np.zeros(3, np.float32)}, path, {RECORD: written})
    with pytest.raises(fn.CheckpointError, match="is damaged: "):
        fn.load(path)


def test_damaged_files_give_the_saved_model_or_an_error():
    """300 files; `python tests/model_fuzz.py --count 5000` tries more."""
    outcomes = fuzz(FUZZ)
    assert outcomes.total() == FUZZ
    assert outcomes["error"] > FUZZ / 2
    assert outcomes["same model"] > 0
