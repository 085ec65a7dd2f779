"""Models with read-only arrays, as in the worker processes of joblib, are copied before the first write."""

import joblib
import numpy as np
import pytest

import fastnn as fn

X = np.random.default_rng(0).random((24, 8, 8)).astype(np.float32)
Y = np.arange(24) % 5


class Scale(fn.Layer):
    """A user-defined layer: a parameter, and a buffer that counts the batches."""

    def __init__(self):
        self.scale = fn.Param(np.ones(1, np.float32))
        self.batches = fn.Buffer(np.zeros(1, np.float32))

    def forward(self, x, *, train=False):
        scale = self.scale.value

        def backward(dy, *, need_dx=True):
            self.scale.grad = [(dy * x).sum()]
            return dy * scale

        if train:
            self.batches.value = self.batches.value + 1
        return x * scale, backward


def convolutional():
    return fn.Sequential(
        *(fn.Conv2d(1, 4, 3), fn.BatchNorm2d(4), fn.ReLU(), fn.Flatten(), fn.Dropout(0.3)),
        fn.Linear(4 * 36, 5),
    )


def with_own_layer():
    return fn.Sequential(fn.Flatten(), Scale(), fn.BatchNorm1d(64), fn.Linear(64, 5))


@pytest.fixture(params=[convolutional, with_own_layer], ids=lambda make: make.__name__)
def net(request):
    fn.manual_seed(3)
    return request.param()


@pytest.fixture
def mapped(tmp_path):
    """A function that returns a copy of an object whose arrays are mapped from a file, read-only."""

    def load(thing):
        joblib.dump(thing, tmp_path / "thing")
        return joblib.load(tmp_path / "thing", mmap_mode="r")

    return load


def snapshot(model):
    return [held.value.tobytes() for held in (*model.parameters(), *model.buffers())]


def assert_same_steps(trainer, twin):
    for _ in range(3):
        assert trainer.step(X, Y) == twin.step(X, Y)
    assert snapshot(trainer.model) == snapshot(twin.model)


def test_prediction_shares_the_mapped_weights(net, mapped):
    twin = mapped(net)
    np.testing.assert_array_equal(twin.predict(X), net.predict(X))
    assert not any(param.master.flags.writeable for param in twin.parameters())


@pytest.mark.parametrize("optimizer", [fn.SGD, lambda: fn.SGD(momentum=0.9), fn.Adam, fn.RMSprop])
@pytest.mark.parametrize("backend", ["aot", "ref"])
@pytest.mark.parametrize("plan", [True, False], ids=["planned", "eager"])
def test_trainer_continues_in_another_process(net, mapped, optimizer, backend, plan):
    options = {"ema": 0.9, "clip_norm": 1.0, "keep_gradients": True, "plan": plan}
    with fn.backend(backend):
        trainer = fn.Trainer(net, optimizer=optimizer(), seed=1, **options)
        trainer.step(X, Y)
        twin = mapped(trainer)
        assert not twin.model.parameters()[0].master.flags.writeable
        assert_same_steps(trainer, twin)
    averages = [state.ema.state_dict() for state in (trainer, twin)]
    for name, average in averages[0].items():
        np.testing.assert_array_equal(averages[1][name], average)


def test_first_step_is_recorded(mapped):
    """The copies are made before the recorder sees an address, so that the very first plan is kept."""
    twin = fn.Trainer(mapped(convolutional()), optimizer=fn.Adam(), seed=1)
    twin.step(X, Y)
    assert twin._plans.last is not None


def value(model):
    model.parameters()[0].value = model.parameters()[0].value + 1


def array(model):
    model[-1].weight = model[-1].weight.value + 1


def gradients(model):
    fn.gradients(model, (X, Y))


def gradcheck(model):
    fn.gradcheck(model, (X[:4], Y[:4]))


def evaluate(model):
    fn.evaluate(model, (X, Y))


def convert(model):
    model.to(np.float64).to(np.float32)


def forward(model):
    model.forward(X, train=True)[1](np.ones((len(X), 5), np.float32))


def averages(model):
    ema = fn.EMA()
    ema.begin(model)
    with ema.applied(model):
        model.predict(X)
    ema.copy_to(model)


def fit(model):
    fn.fit(model, (X, Y), validation=(X, Y), ema=0.9, callbacks=[fn.EarlyStopping()], epochs=2, seed=0)


ENTRANCES = [value, array, gradients, gradcheck, evaluate, convert, forward, averages, fit]


@pytest.mark.parametrize("use", ENTRANCES, ids=lambda use: use.__name__)
def test_mapped_model_gives_what_its_original_gives(net, mapped, use):
    twin = mapped(net)
    for model in (net, twin):
        fn.manual_seed(5)
        use(model)
    assert snapshot(net) == snapshot(twin)


@pytest.mark.parametrize("use", ENTRANCES, ids=lambda use: use.__name__)
def test_arrays_marked_as_read_only_are_copied(net, mapped, use):
    twin = mapped(net)
    convert(twin)
    for held in (*twin.parameters(), *twin.buffers()):
        held.master.flags.writeable = False
    for model in (net, twin):
        fn.manual_seed(5)
        use(model)
    assert snapshot(net) == snapshot(twin)


def test_gradient_of_a_mapped_model_is_kept_and_replaced(mapped):
    model = convolutional()
    fn.gradients(model, (X, Y))
    twin = mapped(model)
    optimizers = fn.SGD(0.1), fn.SGD(0.1)
    for each, optimizer in zip((model, twin), optimizers, strict=True):
        optimizer.step(each.parameters())
    assert snapshot(model) == snapshot(twin)


def test_files_and_states_load_into_a_mapped_model(net, mapped, tmp_path):
    trainer = fn.Trainer(net, optimizer=fn.Adam(), seed=1, ema=0.9)
    trainer.step(X, Y)
    params = net.parameters()
    state, averages = trainer.optimizer.state_dict(params), trainer.ema.state_dict()
    twin = mapped(trainer)
    trainer.step(X, Y)
    fn.save(net, tmp_path / "weights")
    fn.load(twin.model, tmp_path / "weights")
    twin.optimizer.load_state_dict(state, twin.model.parameters())
    twin.ema.load_state_dict(averages)
    assert snapshot(twin.model) == snapshot(net)
    assert twin.optimizer.state(twin.model.parameters()[0]).steps == 1


def test_checkpoint_resumes_into_a_mapped_model(mapped, tmp_path):
    def run(model, epochs):
        return fn.fit(model, (X, Y), epochs=epochs, seed=0, checkpoint=tmp_path / "checkpoint")

    fn.manual_seed(3)
    models = [convolutional() for _ in range(2)]
    run(models[0], 1)
    twin = mapped(models[1])
    run(twin, 2)
    run(models[0], 2)
    assert snapshot(twin) == snapshot(models[0])


def test_worker_processes_train_the_same_model():
    fn.manual_seed(3)
    model = convolutional()
    with joblib.parallel_config("loky", n_jobs=2):
        call = joblib.delayed(fn.fit)(model, (X, Y), epochs=2, seed=0)
        trained = joblib.Parallel(max_nbytes=1)([call, call])
    assert trained == [fn.fit(model, (X, Y), epochs=2, seed=0)] * 2
