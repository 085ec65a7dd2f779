"""TensorBoard: what is read back from the event files is what the training had."""

import sys
from collections import defaultdict

import numpy as np
import pytest

import fastnn as fn

pytest.importorskip("tensorboardX")
pytest.importorskip("PIL")

from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c


def events_of(folder):
    """All events of all files, oldest first; checks the checksums of the records."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            length, check = content[:8], int.from_bytes(content[8:12], "little")
            assert check == masked_crc32c(length)
            end = 12 + int.from_bytes(length, "little")
            assert int.from_bytes(content[end : end + 4], "little") == masked_crc32c(content[12:end])
            yield event_pb2.Event.FromString(content[12:end])
            content = content[end + 4 :]


def shown(folder):
    """What TensorBoard shows: name -> {step: value}; a start drops what came before, from its step on."""
    values = defaultdict(dict)
    for event in events_of(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            for steps in values.values():
                for step in [step for step in steps if step >= event.step]:
                    del steps[step]
        for value in event.summary.value:
            values[value.tag][event.step] = value
    return values


def scalars(values, name):
    return {step: value.simple_value for step, value in values[name].items()}


def as_curve(curve):
    return {step: pytest.approx(value) for step, value in enumerate(curve, start=1)}


def test_scalars_are_the_curves_of_the_history(train, blobs, tmp_path):
    history = train(fn.TensorBoard(tmp_path / "a" / "b"), validation=blobs)
    values = shown(tmp_path / "a" / "b")
    for name, curve in history.items():
        assert scalars(values, name) == as_curve(curve)
    assert scalars(values, "lr") == as_curve([0.1] * 3)


def test_histograms_are_those_of_weights_and_gradients(train, tmp_path):
    found = {}

    def note(training):
        found["weight"] = training.model[0].weight.value

    train([fn.TensorBoard(tmp_path), note], epochs=1)
    values = shown(tmp_path)
    histogram = values["weights/0.weight"][1].histo
    assert histogram.num == 96
    assert (histogram.min, histogram.max) == pytest.approx((found["weight"].min(), found["weight"].max()))
    names = {f"{part}/{name}" for part in ("weights", "gradients") for name in ("0.weight", "3.bias")}
    assert names <= values.keys()
    assert values["gradients/0.weight"][1].histo.max > 0


def test_writing_changes_no_bit_of_the_training(train, tmp_path):
    assert train(fn.TensorBoard(tmp_path))["loss"] == train(None)["loss"]


def test_every_and_switches(train, tmp_path):
    train(fn.TensorBoard(tmp_path / "a", every=2), epochs=4)
    assert sorted(shown(tmp_path / "a")["weights/0.weight"]) == [2, 4]
    train(fn.TensorBoard(tmp_path / "b", histograms=False, images=False))
    assert set(shown(tmp_path / "b")) == {"loss", "accuracy", "lr", "model/text_summary"}
    with pytest.raises(ValueError, match="every must be an integer of at least 1"):
        fn.TensorBoard(tmp_path, every=0)


@pytest.mark.parametrize(
    ("layer", "shape", "picture"),
    [
        (fn.Conv2d(1, 6, 3), (5, 5, 1), (8, 11)),
        (fn.Conv2d(3, 4, 5), (5, 5, 3), (12, 11)),
        (fn.Linear(25, 4), (25,), (12, 11)),
        (fn.Linear(24, 4), (24,), None),
    ],
)
def test_images_show_filters_and_units(tmp_path, layer, shape, picture):
    from io import BytesIO

    from PIL import Image

    outputs = np.prod(layer.output_shape(shape))
    model = fn.Sequential(layer, fn.Flatten(), fn.Linear(outputs, 2))
    x = np.random.default_rng(0).random((4, *shape), np.float32)
    fn.fit(model, (x, np.arange(4) % 2), epochs=1, callbacks=fn.TensorBoard(tmp_path), progress=False)
    images = {name: steps for name, steps in shown(tmp_path).items() if name.startswith("filters")}
    if picture is None:
        assert not images
        return
    (name,) = images
    assert name == "filters/0.weight"
    image = Image.open(BytesIO(images[name][1].image.encoded_image_string))
    assert image.size[::-1] == picture
    assert np.asarray(image).max() == 255


def test_new_training_hides_the_one_before_and_a_resumed_one_continues(train, stop, tmp_path):
    folder, checkpoint = tmp_path / "run", fn.Checkpoint(tmp_path / "checkpoint", seconds=0)
    train(fn.TensorBoard(folder), epochs=5)
    with pytest.raises(RuntimeError):
        train([fn.TensorBoard(folder), stop(3)], epochs=4, checkpoint=checkpoint)
    assert sorted(shown(folder)["loss"]) == [1, 2, 3]
    history = train([fn.TensorBoard(folder), stop(9)], epochs=4, checkpoint=checkpoint)
    assert scalars(shown(folder), "loss") == as_curve(history["loss"])


def test_weights_that_are_not_finite_do_not_end_the_training(train, tmp_path):
    class Spoil(fn.Callback):
        def on_epoch_end(self, training, values):
            values["loss"] = float("nan")
            weight = training.model[0].weight
            weight.value = np.where(weight.value > 0, np.nan, weight.value)

    train([Spoil(), fn.TensorBoard(tmp_path)], epochs=1, watch=False)
    values = shown(tmp_path)
    assert np.isnan(scalars(values, "loss")[1])
    assert values["weights/0.weight"][1].histo.max <= 0


def test_full_disk_warns_once_and_the_records_follow_later(train, tmp_path, full_disk):
    class Fill(fn.Callback):
        def on_epoch_end(self, training, values):
            full_disk[:] = [True] * (training.epoch in (1, 2))

    with pytest.warns(UserWarning, match=r"cannot be written: .*No space left") as caught:
        train([Fill(), fn.TensorBoard(tmp_path)], epochs=4)
    assert len(caught) == 1
    assert sorted(shown(tmp_path)["loss"]) == [1, 2, 3, 4]


def test_tensorboard_itself_reads_the_files(train, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = train(fn.TensorBoard(tmp_path))
    reader = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in reader.Scalars("loss")] == pytest.approx(history["loss"])
    assert "weights/0.weight" in reader.Tags()["histograms"]
    assert "0_Linear" in {node.name for node in reader.Graph().node}


def graph_in(folder):
    from tensorboardX.proto.graph_pb2 import GraphDef

    (content,) = (event.graph_def for event in events_of(folder) if event.graph_def)
    return GraphDef.FromString(content)


def test_graph_has_a_node_for_each_layer_with_its_shape(tmp_path):
    block = fn.Residual(fn.Sequential(fn.Conv1d(4, 4, 1), fn.ReLU()))
    model = fn.Sequential(fn.Embedding(9, 4), block, fn.GlobalAvgPool1d(), fn.Linear(4, 2))
    x = np.arange(24).reshape(4, 6) % 9
    fn.fit(model, (x, np.arange(4) % 2), epochs=1, callbacks=fn.TensorBoard(tmp_path), progress=False)
    nodes = [
        (node.name, node.op, list(node.input), [dim.size for dim in shape.dim])
        for node in graph_in(tmp_path).node
        for shape in [*node.attr["_output_shapes"].list.shape] or [None]
        if shape is not None
    ]
    branch = "1_Residual/branch"
    assert nodes == [
        ("input", "Placeholder", [], [-1, 6]),
        ("0_Embedding", "Embedding", ["input"], [-1, 6, 4]),
        (f"{branch}/0_Conv1d", "Conv1d", ["0_Embedding"], [-1, 6, 4]),
        (f"{branch}/1_ReLU", "ReLU", [f"{branch}/0_Conv1d"], [-1, 6, 4]),
        ("1_Residual/shortcut", "Identity", ["0_Embedding"], [-1, 6, 4]),
        ("1_Residual/add", "Add", [f"{branch}/1_ReLU", "1_Residual/shortcut"], [-1, 6, 4]),
        ("2_GlobalAvgPool1d", "GlobalAvgPool1d", ["1_Residual/add"], [-1, 4]),
        ("3_Linear", "Linear", ["2_GlobalAvgPool1d"], [-1, 2]),
    ]
    last, output = graph_in(tmp_path).node[-2:]
    assert last.attr["layer"].s == b"Linear(4, 2)"
    assert (output.name, list(output.input)) == ("output", ["3_Linear"])


def test_graph_of_layers_that_do_not_tell_their_shape_has_no_shapes():
    from fastnn.loggers.model_graph import graph_of

    class Half(fn.Layer):
        def forward(self, x, *, train=False):
            def backward(dy, *, need_dx=True):
                return np.concatenate([dy, np.zeros_like(dy)], axis=1)

            return np.ascontiguousarray(x[:, : x.shape[1] // 2]), backward

    model = fn.Sequential(fn.Linear(6, 8), Half(), fn.Linear(4, 3))
    last = graph_of(model, (6,)).node[-2]
    assert last.op == "Linear"
    assert "_output_shapes" not in last.attr


@pytest.mark.parametrize("name", ["tensorboardX", "PIL"])
def test_missing_library_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install tensorboardX pillow"):
        fn.TensorBoard(tmp_path)


def test_unusable_folder_is_an_error_before_the_training(train, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        train(fn.TensorBoard(tmp_path / "file"))
