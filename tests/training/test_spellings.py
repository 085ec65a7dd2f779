"""What newcomers from Keras, PyTorch or scikit-learn write works, or the error names what to write."""

import numpy as np
import pytest

import fastnn as fn


def data(count=65):
    rng = np.random.default_rng(0)
    return rng.random((count, 6), np.float32), rng.integers(0, 3, count)


def net():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 8), fn.BatchNorm1d(8), fn.ReLU(), fn.Dropout(0.2), fn.Linear(8, 3))


def test_metrics_by_name():
    one, several = (
        fn.fit(net(), data(), validation=data(30), metrics=m, seed=0) for m in ("f1", ["accuracy", "f1"])
    )
    by_name = fn.fit(net(), data(), validation=data(30), metrics={"f1": fn.metrics.f1}, seed=0)
    assert one.as_dict() == several.as_dict() == by_name.as_dict()
    assert "val_f1" in one
    plain = fn.fit(net(), data(), metrics=["accuracy"], seed=0)
    assert plain.as_dict() == fn.fit(net(), data(), seed=0, metrics=None).as_dict()
    assert fn.evaluate(net(), data(), metrics="recall").keys() == {"loss", "accuracy", "recall"}


def test_metric_that_needs_all_classes_is_tried_on_all_samples():
    calls = []

    def needs_all(outputs, targets):
        calls.append(len(targets))
        if len(np.unique(targets)) < 3:
            raise ValueError("a class is missing")
        return 1.0

    x, y = data(3000)
    y = np.sort(y % 2)
    y[1] = 2  # not among the samples that are tried first
    fn.fit(net(), data(), validation=(x, y), metrics=[needs_all])
    assert calls == [256, 3000, 3000]


def test_metrics_are_tried_without_changing_the_training():
    plain = fn.fit(net(), data(), validation=data(30), epochs=2, seed=0)
    measured = fn.fit(net(), data(), validation=data(30), epochs=2, seed=0, metrics="f1")
    assert {name: measured[name] for name in plain} == plain


@pytest.mark.parametrize("callbacks", [None, (), [], lambda training: None, fn.GradientWatch(silent=True)])
def test_callbacks_may_be_none_or_a_single_one(callbacks):
    assert (
        fn.fit(net(), data(), callbacks=callbacks, seed=0).as_dict()
        == fn.fit(net(), data(), seed=0).as_dict()
    )


@pytest.mark.parametrize("call", [fn.fit, fn.Trainer])
@pytest.mark.parametrize(
    ("keyword", "here"),
    [
        ("validation_data", r"validation=\(x, y\)"),
        ("validation_split", "validation=0.1, the fraction of the data"),
        ("class_weight", r"loss=fn.CrossEntropy\(weight="),
        ("sample_weight", r"\(x, y, sample_weight\)"),
        ("lr", r"optimizer=fn.Adam\(lr=...\)"),
        ("learning_rate", r"optimizer=fn.Adam\(lr=...\)"),
        ("criterion", "loss"),
        ("verbose", "progress"),
        ("max_iter", "epochs"),
        ("random_state", "seed"),
        ("early_stopping", r"callbacks=\[fn.EarlyStopping"),
        ("scheduler", r"schedule, such as fn.schedules.Cosine\(\)"),
        ("max_grad_norm", "clip_norm"),
        ("device", "computes on the CPU"),
    ],
)
def test_keywords_of_other_libraries_name_ours(call, keyword, here):
    with pytest.raises(
        TypeError, match=rf"unexpected keyword argument '{keyword}': (pass|fn.fit takes) .*{here}"
    ):
        call(net(), **{keyword: 1})


def test_keywords_that_only_fit_has_are_not_proposed_to_a_trainer():
    with pytest.raises(TypeError, match=r"Trainer\(\) got .* 'validation_data': fn.fit takes validation="):
        fn.Trainer(net(), validation_data=data())


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("mse", "squared_error"),
        ("MSELoss", "squared_error"),
        ("mean_squared_error", "squared_error"),
        ("CrossEntropyLoss", "cross_entropy"),
        ("sparse_categorical_crossentropy", "cross_entropy"),
        ("log_loss", "cross_entropy"),
        ("BCEWithLogitsLoss", "binary_cross_entropy"),
        ("binary_crossentropy", "binary_cross_entropy"),
    ],
)
def test_losses_of_other_libraries_name_ours(name, ours):
    for call in (
        fn.Trainer,
        lambda model, **o: fn.fit(model, data(), **o),
        lambda m, **o: fn.evaluate(m, data(), **o),
    ):
        with pytest.raises(ValueError, match=rf'unknown loss {name!r}: pass "{ours}"'):
            call(net(), loss=name)


def test_default_optimizer():
    with_default, given = net(), net()
    fn.fit(with_default, data(), seed=0)
    fn.fit(given, data(), seed=0, optimizer=fn.Adam(lr=0.003))
    for one, other in zip(with_default.parameters(), given.parameters(), strict=True):
        assert one.value.tobytes() == other.value.tobytes()
    assert repr(fn.Trainer(net()).optimizer) == repr(fn.Adam(lr=0.003))


def test_defaults_learn_the_digits():
    (x, y), test = fn.data.digits()
    model = fn.Sequential(fn.Flatten(), fn.Linear(64, 64), fn.ReLU(), fn.Linear(64, 10))
    fn.fit(model, (x, y), epochs=5, seed=0)
    assert fn.evaluate(model, test)["accuracy"] > 0.8
