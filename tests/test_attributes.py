"""Unknown attributes raise errors that say what to write; parameters take arrays in their place."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fn
from fastnn import schedules


class OwnLayer(fn.Layer):
    """A user-defined layer that sets attributes in its constructor, while it runs, and with foreign names."""

    def __init__(self, features):
        super().__init__()
        self.scale = fn.Param(np.ones(features, np.float32))
        self.training = False

    def forward(self, x, *, train=False):
        self.training, self.last = train, x.shape

        def backward(dy, *, need_dx=True):
            self.scale.grad = (dy * x).sum(axis=0)
            return dy * self.scale.value

        return x * self.scale.value, backward


class OwnOptimizer(fn.Optimizer):
    """A user-defined optimizer with an argument named as in Keras."""

    def __init__(self, params, learning_rate):
        super().__init__(learning_rate)
        self.learning_rate = learning_rate
        self.params = list(params)

    def update(self, value, grad, state, lr):
        value -= lr * grad


class OwnLoss(fn.SquaredError):
    """A user-defined loss with an attribute of its own."""

    def __init__(self):
        super().__init__()
        self.delta = 1.0


class OwnCallback(fn.Callback):
    """A user-defined callback, which counts."""

    def __init__(self):
        self.stopped_epoch = 0


def model():
    return fn.Sequential(fn.Linear(3, 4), fn.BatchNorm1d(4), fn.ReLU(), fn.Linear(4, 2, bias=False))


def trainer():
    return fn.Trainer(model())


ALL_KINDS = {
    "Param": lambda: fn.Param(np.ones(2)),
    "Buffer": lambda: fn.Buffer(np.ones(2)),
    "Sequential": model,
    "Linear": lambda: fn.Linear(2, 3),
    "Conv2d": lambda: fn.Conv2d(1, 2, 3),
    "MaxPool2d": lambda: fn.MaxPool2d(2),
    "BatchNorm1d": lambda: fn.BatchNorm1d(3),
    "LayerNorm": lambda: fn.LayerNorm(3),
    "Dropout": lambda: fn.Dropout(0.5),
    "ReLU": fn.ReLU,
    "LeakyReLU": fn.LeakyReLU,
    "ELU": fn.ELU,
    "GELU": fn.GELU,
    "Reshape": lambda: fn.Reshape(3, 1),
    "Residual": lambda: fn.Residual(fn.ReLU()),
    "SGD": fn.SGD,
    "Adam": fn.Adam,
    "RMSprop": fn.RMSprop,
    "CrossEntropy": fn.CrossEntropy,
    "Focal": fn.Focal,
    "Dice": fn.Dice,
    "BinaryFocal": fn.BinaryFocal,
    "Plateau": schedules.Plateau,
    "Cosine": schedules.Cosine,
    "Trainer": trainer,
    "EMA": fn.EMA,
    "EarlyStopping": fn.EarlyStopping,
    "StopWhenStill": lambda: fn.StopWhenStill(1e-5),
    "GradientWatch": fn.GradientWatch,
}


@pytest.mark.parametrize("make", ALL_KINDS.values(), ids=ALL_KINDS)
def test_an_unknown_attribute_is_rejected(make):
    owner = make()
    before = dict(vars(owner))
    with pytest.raises(AttributeError):
        owner.gama = 1
    assert vars(owner) == before
    assert not hasattr(owner, "gama")


@pytest.mark.parametrize("make", ALL_KINDS.values(), ids=ALL_KINDS)
def test_known_attributes_can_be_set_again_and_copied(make):
    owner = make()
    for twin in (copy.copy(owner), copy.deepcopy(owner), pickle.loads(pickle.dumps(owner))):
        assert vars(twin).keys() == vars(owner).keys()
        if not isinstance(owner, schedules.Cosine):  # frozen
            for name, value in list(vars(twin).items()):
                setattr(twin, name, value)


ASSIGNED = {
    "requires_grad": (lambda: fn.Param(np.ones(2)), "Param .* write p.trainable = False to freeze"),
    "frozen": (lambda: fn.Param(np.ones(2)), "cannot be set: write p.trainable = False to freeze"),
    "data": (lambda: fn.Param(np.ones(2)), "p.value is its array"),
    "training": (model, "Sequential .* fn.fit and trainer.step train, predict and evaluate do not"),
    "freeze": (model, "write layer.trainable = False"),
    "stop_training": (model, r"call training.stop\(\) in a callback"),
    "epsilo": (lambda: fn.BatchNorm1d(3), "did you mean 'epsilon'?"),
    "kernel_size": (lambda: fn.Conv2d(1, 2, 3), "did you mean 'filter_size'?"),
    "kernel": (lambda: fn.Linear(1, 2), "did you mean 'weight'?"),
    "p": (fn.Dropout, "did you mean 'rate'?"),
    "learning_rate": (fn.Adam, "Adam has no attribute 'learning_rate': did you mean 'lr'?"),
    "momentum": (fn.Adam, "it has betas, eps, lr, weight_decay$"),
    "factor": (schedules.Plateau, "did you mean 'gamma'?"),
    "lr": (trainer, r"write trainer\.optimizer\.lr"),
    "batch_size": (trainer, "pass it to fn.fit"),
    "seed": (trainer, "pass it to fn.Trainer"),
    "clip_nrm": (trainer, "did you mean 'clip_norm'?"),
    "label_smooth": (fn.CrossEntropy, "did you mean 'label_smoothing'?"),
    "patiens": (fn.EarlyStopping, "did you mean 'patience'?"),
    "step": (fn.SGD, "the method 'step' of SGD cannot be set: write optimizer.step"),
    "dtype": (model, r'write model.to\("float32"\)'),
}


@pytest.mark.parametrize(("name", "case"), ASSIGNED.items(), ids=ASSIGNED)
def test_assigning_a_foreign_name_says_the_right_one(name, case):
    make, words = case
    with pytest.raises(AttributeError, match=words):
        setattr(make(), name, False)


READ = {
    "train": (model, "Sequential has no attribute 'train': leave it out"),
    "eval": (model, "leave it out"),
    "state_dict": (model, "fn.save"),
    "load_state_dict": (model, r"write fn.load\(model, path\)"),
    "compile": (model, r"write fn.fit\(model, \(x, y\), loss=\.\.\., optimizer="),
    "fit": (model, r"write fn.fit\(model"),
    "evaluate": (model, r"write fn.evaluate\(model, \(x, y\)\)"),
    "save": (model, r"write fn.save\(model, path\)"),
    "add": (model, "pass all layers to fn.Sequential"),
    "cuda": (model, "CPU"),
    "numpy": (lambda: fn.Param(np.ones(2)), "p.value is its array"),
    "zero_grad": (fn.SGD, r"leave it out; .*\.step\(x, y\) makes a whole update"),
    "param_groups": (fn.Adam, "write optimizer.lr"),
    "backward": (fn.CrossEntropy, r"fn.gradients\(model, \(x, y\), loss=\.\.\.\) fills p.grad"),
    "learning_rate": (trainer, r"write trainer\.optimizer\.lr"),
    "get_last_lr": (schedules.Cosine, r"write trainer\.optimizer\.lr"),
}


@pytest.mark.parametrize(("name", "case"), READ.items(), ids=READ)
def test_reading_a_foreign_name_says_what_to_write(name, case):
    make, words = case
    owner = make()
    with pytest.raises(AttributeError, match=words):
        getattr(owner, name)
    assert not hasattr(owner, name)
    assert name not in dir(owner)


def test_classes_of_users_accept_any_attribute(blobs):
    x, y = blobs
    layer, loss, callback = OwnLayer(x.shape[1]), OwnLoss(), OwnCallback()
    own_model = fn.Sequential(layer, fn.Linear(x.shape[1], 3))
    optimizer = OwnOptimizer(own_model.parameters(), learning_rate=0.1)
    layer.frozen = loss.note = callback.note = optimizer.note = "mine"
    fn.fit(own_model, (x, y), optimizer=optimizer, callbacks=[callback], epochs=1)
    assert layer.training
    assert layer.last[1] == x.shape[1]
    assert "training" in dir(layer)
    assert (layer.frozen, optimizer.learning_rate, loss.delta) == ("mine", 0.1, 1.0)


# --- parameters ---


def test_array_in_the_place_of_a_parameter_sets_its_value():
    net = model()
    weight, mean = net[0].weight, net[1].running_mean
    net[0].weight = np.full((3, 4), 2)
    net[1].running_mean = [1, 2, 3, 4]
    assert net[0].weight is weight
    assert (weight.value == 2).all()
    assert net[1].running_mean is mean
    assert mean.value.tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"parameter '0.weight' must have shape \(3, 4\), got \(4, 3\)"):
        net[0].weight = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"must have shape \(3, 4\), got \(\)"):
        net[0].weight = 0.0


def test_array_in_the_place_of_a_missing_parameter_is_rejected():
    net = model()
    with pytest.raises(
        TypeError, match=r"Linear\(4, 2, bias=False\) has no bias: assign an fn.Param, not ndarr"
    ):
        net[3].bias = np.zeros(2)
    net[3].bias = fn.Param(np.zeros(2, np.float32))
    net[3].bias = None
    assert net[3].bias is None


def test_own_layer_keeps_its_parameter_when_an_array_is_assigned():
    layer = OwnLayer(2)
    param = layer.scale
    layer.scale = layer.scale.value * 3
    assert layer.scale is param
    assert param.value.tolist() == [3, 3]


def test_parameter_is_an_array_for_numpy():
    param = fn.Param(np.arange(3, dtype=np.float32))
    assert np.asarray(param).tolist() == [0, 1, 2]
    assert not np.asarray(param).flags.writeable
    assert np.asarray(param).dtype == np.float32
    assert np.array(param, dtype=np.float64).dtype == np.float64
    copied = np.array(param)
    copied[0] = 7
    assert param.value[0] == 0
    assert (np.ones(3) * param).tolist() == (param * np.ones(3)).tolist() == [0, 1, 2]
    assert np.linalg.norm(param) == pytest.approx(5**0.5)
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(param, copy=False)


def test_gradient_can_be_assigned_and_is_checked():
    param = fn.Param(np.ones((2, 3), np.float32), name="w")
    buffer = param.grad_buffer()
    param.grad = np.full((2, 3), 4.0)
    assert param.grad_buffer() is buffer
    assert (param.grad == 4).all()
    with pytest.raises(ValueError, match=r"gradient of parameter 'w' must have shape \(2, 3\), got \(3, 2\)"):
        param.grad = np.ones((3, 2))
    with pytest.raises(TypeError, match="gradient of parameter 'w' must hold real numbers"):
        param.grad = np.ones((2, 3), complex)
    param.grad = None
    assert param.grad is None


def test_own_layer_that_assigns_gradients_trains_as_its_twin(blobs):
    x, y = blobs

    class Twin(OwnLayer):
        def forward(self, x, *, train=False):
            def backward(dy, *, need_dx=True):
                self.scale.grad_buffer()[:] = (dy * x).sum(axis=0)
                return dy * self.scale.value

            return x * self.scale.value, backward

    losses = []
    for kind in (OwnLayer, Twin):
        fn.manual_seed(0)
        net = fn.Sequential(kind(x.shape[1]), fn.Linear(x.shape[1], 3))
        losses.append(fn.fit(net, (x, y), epochs=3, seed=0)["loss"])
    assert losses[0] == losses[1]


def test_trainable_freezes_and_thaws_a_layer():
    net = model()
    net[0].trainable = False
    assert [p.trainable for p in net.parameters()] == [False, False, True, True, True]
    assert not net[0].trainable
    assert net.trainable
    net.trainable = True
    assert all(p.trainable for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("loss", "mse", ValueError, "unknown loss 'mse'"),
        ("loss", fn.SquaredError, TypeError, "pass an instance"),
        ("optimizer", fn.Adam, TypeError, "pass an instance"),
        ("model", np.tanh, TypeError, "model must be a layer"),
    ],
)
def test_trainer_checks_what_is_assigned(name, value, error, words):
    owner = trainer()
    before = getattr(owner, name)
    with pytest.raises(error, match=words):
        setattr(owner, name, value)
    assert getattr(owner, name) is before


def test_trainer_takes_names_by_assignment():
    owner = trainer()
    owner.loss, owner.optimizer = "squared_error", "adam"
    assert isinstance(owner.loss, fn.SquaredError)
    assert isinstance(owner.optimizer, fn.Adam)


@pytest.mark.parametrize("owner", [lambda training: training, lambda training: training.model])
def test_stopping_a_training_as_in_keras_says_how(owner, blobs):
    def stop(training):
        owner(training).stop_training = True

    with pytest.raises(AttributeError, match=r"stop_training': call training.stop\(\) in a callback"):
        fn.fit(fn.Linear(blobs[0].shape[1], 3), blobs, callbacks=[stop])
