"""The live page: what its messages say during a training, and its button."""

import json
import threading
import urllib.request

import numpy as np
import pytest

import fastnn as fn
from fastnn.board import live


@pytest.fixture
def page():
    with fn.LivePage(show_url=False) as page:
        yield page


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.random((300, 16), np.float32), rng.integers(4, size=300)


def net():
    return fn.Sequential(fn.Linear(16, 8), fn.ReLU(), fn.Linear(8, 4))


class Client:
    """Reads the messages of a page in a thread, as a browser does."""

    def __init__(self, page):
        self.messages, self.first, self.ended = [], threading.Event(), threading.Event()
        self._reply = urllib.request.urlopen(page.url + "events", timeout=30)
        threading.Thread(target=self._read, daemon=True).start()
        assert self.first.wait(30)

    def _read(self):
        with self._reply:
            for line in self._reply:
                if line.strip():
                    self.messages.append(json.loads(line.removeprefix(b"data: ")))
                    self.first.set()
        self.ended.set()

    def loss(self):
        points = []
        for message in self.messages:
            if "loss" in message:
                news = message["loss"]
                points = news["points"] if news["from_start"] else points + news["points"]
        return points

    def curve(self, name):
        return [point for message in self.messages for point in message.get("curves", {}).get(name, [])]

    def last(self, name):
        return next(message[name] for message in reversed(self.messages) if name in message)


def test_a_page_waits_before_the_training(page):
    assert Client(page).messages[0] == {"status": "waiting"}


def test_messages_add_up_to_the_history(page, data, monkeypatch):
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    client = Client(page)
    model = net()
    history = fn.fit(model, data, validation=0.2, epochs=7, batch_size=20, callbacks=page, progress=False)
    page.close()
    assert client.ended.wait(30)
    losses = history.updates["loss"]
    assert client.loss() == [[number, loss] for number, loss in enumerate(losses, 1)]
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        per_epoch = len(losses) // 7
        assert client.curve(name) == [[n, value, n * per_epoch] for n, value in enumerate(history[name], 1)]
    end = client.messages[-1]
    assert (end["status"], end["reason"], end["epoch"]) == ("ended", "finished", 7)
    assert end["updates"] == end["total"] == len(losses)
    assert end["updates_per_second"] == pytest.approx(end["updates"] / end["seconds"])
    assert end["samples_per_second"] == pytest.approx(20 * end["updates_per_second"], rel=1e-6)
    # The pictures show the final model, and the confusion matrix its predictions of the validation set.
    filters = client.last("filters")
    assert (filters["units"], filters["height"], filters["width"]) == (8, 4, 4)
    weight = model[0].weight.value[:, 3]
    expected = np.rint(128 + 127 * weight / np.abs(weight).max())
    np.testing.assert_array_equal(filters["levels"][3 * 16 : 4 * 16], expected)
    confusion = client.last("confusion")
    counts = np.array(confusion["counts"])
    assert counts.sum() == 60
    assert np.trace(counts) / 60 == pytest.approx(history["val_accuracy"][-1])
    assert (confusion["of"], confusion["names"]) == ("validation", ["0", "1", "2", "3"])


def test_a_page_opened_late_gets_everything(page, data):
    history = fn.fit(net(), data, epochs=3, batch_size=30, callbacks=page, progress=False)
    client = Client(page)
    assert client.messages[0]["status"] == "ended"
    assert client.loss() == [[number, loss] for number, loss in enumerate(history.updates["loss"], 1)]
    assert client.last("confusion")["of"] == "training"


def test_a_second_training_starts_the_page_afresh(page, data, monkeypatch):
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    fn.fit(net(), data, epochs=2, batch_size=30, callbacks=page, progress=False)
    client = Client(page)
    second = fn.fit(net(), data, epochs=1, batch_size=50, callbacks=page, progress=False)
    page.close()
    assert client.ended.wait(30)
    assert client.loss() == [[number, loss] for number, loss in enumerate(second.updates["loss"], 1)]
    assert sum("reset" in message for message in client.messages) == 2


def test_a_long_loss_curve_is_a_curve_of_means():
    losses = list(np.random.default_rng(0).random(3001))
    cursor, points = live._Cursor(), []
    for count in (1, 700, 1700, 1700, 3001):
        news = live._new_points(losses[:count], cursor, is_last=count == 3001)
        points = news["points"] if news["from_start"] else points + news["points"]
    assert len(points) <= live.POINTS
    assert points[0] == (4, pytest.approx(np.mean(losses[:4])))
    assert points[-2] == (3000, pytest.approx(np.mean(losses[2996:3000])))
    assert points[-1] == (3001, losses[3000])


def test_the_button_stops_the_training(page, data):
    client = Client(page)

    def stop(training):
        if training.epoch == 2:
            urllib.request.urlopen(urllib.request.Request(page.url + "stop", method="POST"))

    history = fn.fit(net(), data, epochs=1000, callbacks=[page, stop], progress=False)
    page.close()
    assert history.stopped == "stopped on the live page"
    assert history.epochs == 3
    assert client.ended.wait(30)
    assert client.messages[-1]["reason"] == "stopped on the live page"


def test_the_button_does_nothing_after_the_end(page, data):
    history = fn.fit(net(), data, epochs=1, callbacks=page, progress=False)
    urllib.request.urlopen(urllib.request.Request(page.url + "stop", method="POST"))
    assert history.stopped is None


def test_get_does_not_stop(page, data):
    """A link or an image of another page can only GET."""

    def try_to_stop(training):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(page.url + "stop")

    history = fn.fit(net(), data, epochs=2, callbacks=[page, try_to_stop], progress=False)
    assert history.stopped is None


def test_an_error_is_shown(page, data):
    def fail(training):
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        fn.fit(net(), data, epochs=2, callbacks=[page, fail], progress=False)
    assert Client(page).messages[0]["reason"] == "the disk is full"


def test_the_training_is_the_same_with_a_page(data):
    weights = []
    for watched in (False, True):
        fn.manual_seed(0)
        model = net()
        with fn.LivePage(show_url=False) as page:
            client = Client(page)
            callbacks = [page] if watched else []
            fn.fit(model, data, epochs=4, seed=0, validation=0.2, callbacks=callbacks, progress=False)
        assert client.ended.wait(30)
        weights.append(np.concatenate([p.value.ravel() for p in model.parameters()]))
    np.testing.assert_array_equal(*weights)


def test_updates_still_run_many_at_once(page):
    """A callback that overrides `on_update` would make every update a Python call."""
    assert type(page).on_update is fn.Callback.on_update


def test_pictures_stay_within_their_budget(data, monkeypatch):
    view, training = live._View(), None

    class Take(fn.Callback):
        def on_train_begin(self, started):
            nonlocal training
            training = started

    fn.fit(net(), data, epochs=1, callbacks=Take(), progress=False)
    clock = iter(np.arange(0, 1e6, 1.0))
    monkeypatch.setattr(live.time, "perf_counter", lambda: next(clock))
    view.begin(training)
    view._pages = 1
    for _ in range(3000):
        view.look_if_cheap(training)
    elapsed = next(clock) - view._started
    assert 0 < view._spent <= live.BUDGET * elapsed + 1
    assert view._looks >= 2


def test_pictures_that_fail_do_not_end_the_training(page, data, monkeypatch):
    class TrainingOnly(fn.Layer):
        def forward(self, x, *, train=False):
            if not train:
                raise LookupError("no predictions")
            return x, lambda dy, *, need_dx=True: dy

    monkeypatch.setattr(live, "BUDGET", 1e9)
    client = Client(page)
    model = fn.Sequential(fn.Linear(16, 4), TrainingOnly())
    with pytest.warns(UserWarning, match="no pictures of this training: LookupError: no predictions"):
        history = fn.fit(model, data, epochs=3, callbacks=page, watch=False, progress=False)
    assert history.epochs == 3
    page.close()
    assert client.ended.wait(30)
    assert client.messages[-1]["reason"] == "finished"


@pytest.mark.parametrize(
    ("weight", "sample", "shape"),
    [
        ((3, 3, 1, 5), (8, 8, 1), (5, 3, 3)),
        ((3, 5, 3, 2), (8, 8, 3), (2, 3, 5)),
        ((784, 7), (784,), (7, 28, 28)),
        ((48, 7), (4, 4, 3), (7, 4, 4)),
        ((32, 7), (4, 8), (7, 4, 8)),
        ((30, 7), (30,), None),
        ((4, 7), (4,), None),
    ],
)
def test_weights_that_are_images(weight, sample, shape):
    images = live._images(np.ones(weight, np.float32), sample)
    assert (None if images is None else images.shape) == shape


def test_models_without_classes_or_images_have_no_pictures(page):
    x = np.random.default_rng(0).random((40, 3))
    model = fn.Sequential(fn.Linear(3, 1))
    fn.fit(model, (x, x[:, :1]), loss="squared_error", epochs=1, callbacks=page, progress=False)
    message = Client(page).messages[0]
    assert message["filters"] is None
    assert message["confusion"] is None


def test_the_address_is_printed(data, capsys):
    with fn.LivePage() as page:
        fn.fit(net(), data, epochs=1, callbacks=page, progress=False)
        assert f"live page: {page.url}\n" in capsys.readouterr().err
