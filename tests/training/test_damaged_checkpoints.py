"""Checkpoints with strange content: every one is resumed or refused with a CheckpointError, and nothing else.

The digest of most files here is valid: it protects against damage, not against other programs.
`FASTNN_FUZZ=10000 pytest tests/training/test_damaged_checkpoints.py` tries more mutations than every run.
"""

import json
import os
import pickle
import re
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import fastnn as fn
from fastnn.optim.schedules import Plateau
from fastnn.training.checkpoint_file import digest_of
from tests.json_mutations import json_mutations
from tests.mutations import mutations
from tests.systems import needs_pipes

COUNT = int(os.environ.get("FASTNN_FUZZ", "300"))

pytestmark = pytest.mark.filterwarnings("ignore")


class Parts:
    """The objects of one training, and all their content."""

    def __init__(self):
        fn.manual_seed(0)
        self.model = fn.Sequential(
            fn.Linear(6, 4), fn.BatchNorm1d(4), fn.ReLU(), fn.Dropout(0.2), fn.Linear(4, 3)
        )
        self.optimizer = fn.Adam(0.01)
        self.stopping = fn.EarlyStopping("loss", patience=50)
        self.schedule = Plateau("loss")
        self.ema = fn.EMA(0.9)
        self.history = fn.History()

    def fit(self, path, data, *callbacks):
        options = {"optimizer": self.optimizer, "schedule": self.schedule, "ema": self.ema}
        fn.fit(
            *(self.model, data),
            **options,
            callbacks=[self.stopping, *callbacks],
            history=self.history,
            checkpoint=fn.Checkpoint(path, seconds=0),
            epochs=3,
            seed=0,
            progress=False,
            watch=False,
        )

    def content(self):
        held = [*self.model.parameters(), *self.model.buffers()]
        states = [part.state_dict() for part in (self.stopping, self.schedule)]
        settings = [[param.trainable, param.lr_scale] for param in self.model.parameters()]
        optimizer = self.optimizer.state_dict(self.model.parameters())
        return pickle.dumps(
            [[each.value for each in held], states, settings, optimizer, self.history.as_dict()]
        )


class Killed(BaseException):
    """Ends a training like a kill: fastnn does not catch it."""


class KillAt(fn.Callback):
    def __init__(self, updates):
        self.updates = updates

    def on_update(self, training, loss):
        if training.updates == self.updates:
            raise Killed


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((70, 6)).astype(np.float32), rng.integers(0, 3, 70)


@pytest.fixture(scope="module")
def good(tmp_path_factory, data):
    """The bytes, the JSON text and the arrays of a checkpoint after 7 of 9 updates, in the third epoch."""
    path = tmp_path_factory.mktemp("good") / "checkpoint"
    with pytest.raises(Killed):
        Parts().fit(path, data, KillAt(8))
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return path.read_bytes(), file.metadata()["fastnn"], arrays


@pytest.fixture
def resume(tmp_path, data):
    """A function: resume from these bytes. Returns the error; nothing may have changed then."""

    def resumed(content):
        path, parts = tmp_path / "checkpoint", Parts()
        path.write_bytes(content)
        before = parts.content()
        try:
            parts.fit(path, data)
        except fn.CheckpointError as raised:
            error = str(raised)
        except fn.NonFiniteError:  # it was resumed, with a learning rate that is too large
            return None
        else:
            return None
        assert parts.content() == before
        assert path.read_bytes() == content
        assert len(error) < 5000
        return error

    return resumed


def sealed(text, arrays):
    """A checkpoint file with this content and a valid digest."""
    return save(arrays, {"fastnn": text, "digest": digest_of(text, arrays)})


def test_intact_checkpoint_is_resumed(good, resume):
    content, text, arrays = good
    assert resume(content) is None
    assert resume(sealed(text, arrays)) is None


def test_damaged_bytes_are_refused(good, resume):
    for content in mutations(good[0], COUNT, seed=0):
        assert content == good[0] or "not a readable checkpoint" in resume(content)


def test_changed_headers_are_resumed_or_refused(good, resume):
    _, text, arrays = good
    content = json.loads(text)
    texts = [json.dumps(changed) for changed in json_mutations(content, COUNT // 4, seed=0)]
    for state in json_mutations(content["state"], COUNT, seed=1):  # most of the content is the description
        texts.append(json.dumps({**content, "state": state}))
    refused = sum(resume(sealed(text, arrays)) is not None for text in texts)
    assert refused > len(texts) / 2


def test_changed_arrays_are_resumed_or_refused(good, resume):
    _, text, arrays = good
    rng = np.random.default_rng(0)
    names, dtypes = sorted(arrays), ["f4", "f8", "i8", "u8", "u1", "?", "c8", "f2"]
    refused = 0
    for _ in range(COUNT):
        found = dict(arrays)
        name = names[rng.integers(len(names))]
        array = found.pop(name)
        match rng.integers(5):
            case 1:
                found[name] = array.astype(dtypes[rng.integers(len(dtypes))])
            case 2:
                found[name] = np.resize(array, [(), (0,), (1,), (2, 2), (array.size + 1,)][rng.integers(5)])
            case 3:
                found[[f"{name}.x", "x", "", f"model/{name}", f"{name}/"][rng.integers(5)]] = array
            case 4:
                value = [-1, 0, np.nan, 1e30][rng.integers(4)]
                found[name] = np.full(array.shape, value).astype(array.dtype)
        refused += resume(sealed(text, found)) is not None
    assert refused > COUNT / 3


def without(*path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def with_value(value, *path):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value("fastnn checkpoint 2", "format"), "its format is 'fastnn checkpoint 2', not"),
        (with_value(1, "format"), "format must be a text, got 1"),
        (with_value([], "description"), r"description must be an object, got \[\]"),
        (with_value(None, "state"), "state must be an object, got None"),
        (without("state", "epoch"), r"state\.epoch is missing"),
        (
            with_value(float("nan"), "state", "epoch"),
            r"state\.epoch must be an integer of at least 0, got nan",
        ),
        (with_value(-1, "state", "done"), r"state\.done must be an integer of at least 0, got -1"),
        (with_value(True, "state", "key"), r"state\.key must be an integer of at least 0, got True"),
        (with_value(2, "state", "done"), "7 updates cannot be 2 epochs and 2 updates of the next one"),
        (
            with_value([1, None], "state", "epochs", "loss"),
            r"state\.epochs\['loss'\] must be a list of numbers",
        ),
        (with_value([1], "state", "epochs", "loss"), "its history is shorter than 2 epochs or 7 updates"),
        (with_value(7, "state", "stopped"), r"state\.stopped must be a text, got 7"),
        (with_value(1, "state", "parts", "ema"), r"state\.parts\['ema'\] must be an object, got 1"),
        (without("state", "parts", "ema"), "the state of 'ema' is missing"),
        (
            with_value(2.5, "state", "parts", "ema", "updates"),
            "updates must be an integer from 0 to .*, got 2.5",
        ),
        (
            with_value("a", "state", "parts", "optimizer", "lr"),
            "lr must be a finite number, at least 0, not 'a'",
        ),
        (
            with_value(-1, "state", "parts", "optimizer", "0.weight.steps"),
            r"0\.weight\.steps must be an integer from 0 to .*, got -1",
        ),
        (
            with_value(0, "state", "parts", "optimizer", "9.weight.steps"),
            "has '9.weight.steps', but the model",
        ),
        (
            with_value([1, 2, 3], "state", "parts", "frozen", "0.weight"),
            r"must be \[trainable, lr_scale, decay_scale\]",
        ),
        (
            with_value([True, 1, 1, 0.5], "state", "parts", "frozen", "0.weight"),
            "perhaps with clip_value and mask, got",
        ),
        (
            with_value([True, 1, 1, 0, None], "state", "parts", "frozen", "0.weight"),
            "clip_value of 0.weight must be above 0",
        ),
        (
            with_value([True, 1, 1, None, "AA=="], "state", "parts", "frozen", "0.weight"),
            "the mask of 0.weight must be the .* bits of a mask in base64, got 'AA=='",
        ),
        (
            with_value(float("nan"), "state", "parts", "schedule", "current"),
            "current must be a finite number",
        ),
        (with_value(None, "state", "parts", "callback 0", "best"), "best must be a number, got None"),
        (without("state", "parts", "callback 0", "waited"), "waited is missing"),
    ],
)
def test_error_names_the_field(good, resume, change, message):
    _, text, arrays = good
    content = json.loads(text)
    change(content)
    error = resume(sealed(json.dumps(content), arrays))
    assert error is not None
    assert re.search(message, error)


@pytest.mark.parametrize("depth", [100, 900, 5_000, 100_000])
@pytest.mark.parametrize("place", ["description", "state", "callback 0"])
def test_huge_nesting_is_refused(good, resume, depth, place):
    _, text, arrays = good
    deep = "[" * depth + "]" * depth
    content = json.loads(text)
    if place == "callback 0":
        content["state"]["parts"][place]["best"] = "DEEP"
    else:
        content[place]["model"] = "DEEP"
        content[place]["epoch"] = "DEEP"
    assert resume(sealed(json.dumps(content).replace('"DEEP"', deep), arrays)) is not None


@pytest.mark.parametrize("text", ["", "1", "[]", "null", '{"format": 1}', "{" * 100, "NaN", '"' + "x" * 100])
def test_header_that_is_no_object_is_refused(good, resume, text):
    assert "not a readable checkpoint" in resume(sealed(text, good[2]))


def test_failing_state_of_a_callback_of_the_user_restores_all_other_parts(tmp_path, data):
    class Stateful(fn.Callback):
        def state_dict(self):
            return {"a": 1}

        def load_state_dict(self, state):
            raise LookupError("of the user")

    path = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        Parts().fit(path, data, Stateful(), KillAt(8))
    parts = Parts()
    before = parts.content()
    with pytest.raises(fn.CheckpointError, match=r"does not fit this training: LookupError\('of the user'\)"):
        parts.fit(path, data, Stateful())
    assert parts.content() == before


@needs_pipes
def test_folder_or_fifo_as_a_checkpoint_is_refused(tmp_path, data):
    with pytest.raises(IsADirectoryError, match="is a folder: a checkpoint is a file"):
        Parts().fit(tmp_path, data)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(fn.CheckpointError, match="it is no regular file"):
        Parts().fit(tmp_path / "fifo", data)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


# --- the states of the parts by themselves ---


def fitted():
    parts = Parts()
    rng = np.random.default_rng(0)
    fn.fit(
        *(parts.model, (rng.standard_normal((40, 6)).astype(np.float32), rng.integers(0, 3, 40))),
        **{"optimizer": parts.optimizer, "schedule": parts.schedule, "ema": parts.ema, "epochs": 2},
        **{"callbacks": [parts.stopping], "progress": False},
    )
    return parts


COUNTERS = ("0.weight.steps", "updates", "waited", "best_epoch")


@pytest.mark.parametrize("part", ["optimizer", "ema", "schedule", "stopping"])
def test_strange_state_of_a_part_is_refused_and_changes_nothing(part):
    parts = fitted()
    owner, more = getattr(parts, part), ()
    if part == "optimizer":
        more = (parts.model.parameters(),)
    before = pickle.dumps(owner.state_dict(*more))
    state = owner.state_dict(*more)
    scalars = [name for name, value in state.items() if not isinstance(value, np.ndarray)]
    for name in scalars:
        for value in (None, "x", "1", [], {}, float("nan"), True, 10**400, np.ones(3), object()):
            with pytest.raises(ValueError, match=name.rpartition(".")[2]):
                owner.load_state_dict({**state, name: value}, *more)
        if name in COUNTERS:
            for value in (-1, 2.0, 2**63):
                with pytest.raises(ValueError, match="must be an integer from 0 to"):
                    owner.load_state_dict({**state, name: value}, *more)
        with pytest.raises(ValueError, match=r"missing|best, waited and current"):
            owner.load_state_dict({key: value for key, value in state.items() if key != name}, *more)
    assert scalars
    assert pickle.dumps(owner.state_dict(*more)) == before
    owner.load_state_dict(state, *more)


def test_arrays_that_are_no_numbers_are_refused():
    parts = fitted()
    params = parts.model.parameters()
    state = parts.optimizer.state_dict(params)
    with pytest.raises(ValueError, match=r"0\.bias\.m must hold real numbers, got complex128"):
        parts.optimizer.load_state_dict({**state, "0.bias.m": np.ones(4, complex)}, params)
    with pytest.raises(ValueError, match="float32 or float64"):
        fn.EMA().load_state_dict({"updates": 1, "0.bias": np.array(["a"])})
