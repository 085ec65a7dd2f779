"""Schedules: PyTorch's factors, step by step; in fit and Trainer, planned and eager.

`python tests/optim/test_schedules.py` prints the golden factors below; it needs PyTorch.
"""

import math

import numpy as np
import pytest

import fastnn as fn
from fastnn.optim.schedules import (
    Cosine,
    Exponential,
    Length,
    MultiStep,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    Warmup,
)

UPDATES, PER_EPOCH = 24, 4

# Each schedule with its PyTorch counterpart, for a training of 24 updates in 6 epochs.
CASES = {
    "step": (Step(2, 0.5), lambda torch, o: torch.StepLR(o, 2 * PER_EPOCH, 0.5)),
    "multi-step": (
        MultiStep((1, 4), 0.1),
        lambda torch, o: torch.MultiStepLR(o, [PER_EPOCH, 4 * PER_EPOCH], 0.1),
    ),
    "exponential": (
        Exponential(0.9),
        lambda torch, o: torch.LambdaLR(o, lambda u: 0.9 ** (u // PER_EPOCH)),
    ),
    "cosine": (Cosine(), lambda torch, o: torch.CosineAnnealingLR(o, UPDATES)),
    "cosine, end": (Cosine(0.1), lambda torch, o: torch.CosineAnnealingLR(o, UPDATES, eta_min=0.1)),
    "one cycle": (OneCycle(), lambda torch, o: torch.OneCycleLR(o, 1.0, UPDATES)),
    "one cycle, other": (
        OneCycle(0.1, 0.5, 0.01),
        lambda torch, o: torch.OneCycleLR(o, 1.0, UPDATES, pct_start=0.5, div_factor=10, final_div_factor=10),
    ),
    "warm-up": (
        Warmup(5, Cosine()),
        lambda torch, o: torch.SequentialLR(
            o, [torch.LinearLR(o, 1 / 6, 1.0, 5), torch.CosineAnnealingLR(o, UPDATES - 5)], [5]
        ),
    ),
}
# The factors of updates 0, 3, 7, 8, 15 and 23, from PyTorch 2.13.0.
SOME = [0, 3, 7, 8, 15, 23]
GOLDEN = {
    "step": [1.0, 1.0, 1.0, 0.5, 0.5, 0.25],
    "multi-step": [1.0, 1.0, 0.1, 0.1, 0.1, 0.010000000000000002],
    "exponential": [1.0, 1.0, 0.9, 0.81, 0.7290000000000001, 0.5904900000000001],
    "cosine": [1.0, 0.9619397662556434, 0.8043807145043603, 0.75, 0.30865828381745525, 0.004277569313094809],
    "cosine, end": [
        1.0,
        0.965745789630079,
        0.8239426430539243,
        0.775,
        0.37779245543570983,
        0.10384981238178534,
    ],
    "one cycle": [
        0.040000000000000036,
        0.495688398957418,
        0.9944154354509117,
        0.9719417773875232,
        0.46263710266697505,
        4e-06,
    ],
    "one cycle, other": [
        0.09999999999999998,
        0.25531266972462163,
        0.7369367558508488,
        0.8446873302753782,
        0.7525,
        0.01,
    ],
    "warm-up": [
        0.16666666666666666,
        0.6666666666666667,
        0.9729086208503173,
        0.9397368756032445,
        0.4587103272638339,
        0.00681934829863884,
    ],
}


def by_pytorch(case):
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=1.0)
    scheduler = CASES[case][1](torch.optim.lr_scheduler, optimizer)
    factors = []
    for _ in range(UPDATES):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def factors(schedule, updates=UPDATES, per_epoch=PER_EPOCH):
    return schedule.factors(0, updates, Length(updates, per_epoch))


@pytest.mark.parametrize("case", CASES)
def test_factors_match_stored_pytorch_factors(case):
    np.testing.assert_allclose(factors(CASES[case][0])[SOME], GOLDEN[case], rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # of SequentialLR itself
@pytest.mark.parametrize("case", CASES)
def test_factors_match_the_installed_pytorch(case):
    pytest.importorskip("torch")
    np.testing.assert_allclose(factors(CASES[case][0]), by_pytorch(case), rtol=1e-12, atol=1e-15)


def test_plateau_matches_pytorch():
    torch = pytest.importorskip("torch")
    values = [5.0, 4.0, 4.1, 4.2, 4.05, 3.0, 3.0, 3.0, 3.0, 3.0, 2.99, 3.5, 3.5, 3.5]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    ours = Plateau("loss", gamma=0.5, patience=2)
    for value in values:
        theirs.step(value)
        ours.end_epoch({"loss": value})
        assert ours.factor(0, Length(None, None)) == optimizer.param_groups[0]["lr"]
    assert ours.factor(0, Length(None, None)) < 0.5


def test_plateau_maximises_accuracy():
    plateau = Plateau("val_accuracy", patience=0, gamma=0.1)
    for value, wanted in ((0.5, 1), (0.6, 1), (0.6, 0.1)):
        plateau.end_epoch({"val_accuracy": value})
        assert plateau.factor(0, Length(None, None)) == wanted
    with pytest.raises(ValueError, match="validation"):
        plateau.end_epoch({"loss": 1.0})


def data(count=100):
    rng = np.random.default_rng(0)
    return rng.random((count, 6), np.float32), rng.integers(0, 3, count)


def net():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 8), fn.Tanh(), fn.Linear(8, 3))


OPTIMIZERS = {
    "sgd": lambda: fn.SGD(0.3),
    "momentum": lambda: fn.SGD(0.3, momentum=0.9),
    "adam": lambda: fn.Adam(0.01),
    "adamw": lambda: fn.AdamW(0.01),
    "rmsprop": lambda: fn.RMSprop(0.01, momentum=0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", [OneCycle(), Step(1, 0.5)], ids=repr)
def test_fit_uses_the_scheduled_rates_planned_and_eager(schedule, name):
    """Batches of 16 leave a smaller one at the end of each epoch, which has a plan of its own."""
    found = []
    for plan, scaled in ((True, 1.0), (False, 1.0), (True, 0.5), (False, 0.5)):
        model, optimizer = net(), OPTIMIZERS[name]()
        model[0].weight.lr_scale = scaled
        lr = optimizer.lr
        history = fn.fit(
            model,
            data(),
            optimizer=optimizer,
            schedule=schedule,
            batch_size=16,
            epochs=4,
            seed=1,
            plan=plan,
            progress=False,
        )
        wanted = lr * factors(schedule, 28, 7)
        assert history.updates["lr"] == wanted.tolist()
        assert history["lr"] == wanted[6::7].tolist()
        assert optimizer.lr == lr
        found.append([p.value.tobytes() for p in model.parameters()])
    assert found[0] == found[1] != found[2] == found[3]


def test_each_update_has_its_own_learning_rate():
    """Against a loop that sets the learning rate by hand."""
    x, y = data(96)
    schedule = Cosine()
    model, twin = net(), net()
    fn.fit(
        model, (x, y), optimizer=fn.SGD(0.3), schedule=schedule, batch_size=16, shuffle=False, progress=False
    )
    optimizer = fn.SGD(0.3)
    trainer = fn.Trainer(twin, optimizer=optimizer)
    for number, factor in enumerate(factors(schedule, 6, 6)):
        optimizer.lr = 0.3 * factor
        trainer.step(x[16 * number : 16 * number + 16], y[16 * number : 16 * number + 16])
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert one.value.tobytes() == other.value.tobytes()


@pytest.mark.parametrize("plan", [True, False])
def test_trainer_follows_a_schedule(plan):
    x, y = data()
    optimizer = fn.SGD(0.5)
    trainer = fn.Trainer(net(), optimizer=optimizer, schedule=Cosine(), total_updates=10, plan=plan)
    seen = []
    for _ in range(10):
        trainer.step(x, y)
        seen.append(optimizer.lr)
    np.testing.assert_allclose(seen, 0.5 * factors(Cosine(), 10))
    trainer.step(x, y)
    assert optimizer.lr == 0  # after its end a cosine stays at its last value


def test_custom_optimizer_follows_a_schedule():
    class Descent(fn.Optimizer):
        def update(self, value, grad, state, lr):
            value -= lr * grad

    seen = []
    for plan in (True, False):
        model = net()
        fn.fit(
            model,
            data(),
            optimizer=Descent(0.3),
            schedule=Cosine(),
            seed=0,
            plan=plan,
            epochs=2,
            progress=False,
        )
        seen.append([p.value.tobytes() for p in model.parameters()])
    assert seen[0] == seen[1]


def test_plateau_lowers_the_learning_rate_in_fit():
    history = fn.fit(
        net(),
        data(),
        optimizer=fn.SGD(1e-12),
        schedule=Plateau("loss", patience=0, gamma=0.5),
        epochs=4,
        seed=0,
        progress=False,
    )
    assert history["lr"] == [1e-12, 1e-12, 0.5e-12, 0.25e-12]


def test_custom_schedule():
    class Halves(Schedule):
        def factor(self, update, length):
            return 1 / (1 + update)

    history = fn.fit(
        net(), data(), optimizer=fn.SGD(0.5), schedule=Halves(), batch_size=50, epochs=2, progress=False
    )
    assert history.updates["lr"] == [0.5, 0.25, 0.5 / 3, 0.125]


def test_ctrl_c_restores_the_learning_rate(monkeypatch):
    optimizer = fn.SGD(0.5)

    class Interrupting(Schedule):
        def begin(self):
            """A schedule with a state is not tried before the training."""

        def factor(self, update, length):
            if update:
                raise KeyboardInterrupt
            return 0.1

    with pytest.raises(KeyboardInterrupt):
        fn.fit(net(), data(), optimizer=optimizer, schedule=Interrupting(), progress=False)
    assert optimizer.lr == 0.5


def test_states_are_restored():
    plateau = Plateau("loss", patience=0)
    for value in (1.0, 2.0):
        plateau.end_epoch({"loss": value})
    other = Warmup(3, Plateau("loss", patience=0))
    other.load_state_dict(plateau.state_dict())
    assert other.factor(5, Length(None, None)) == plateau.factor(5, Length(None, None)) == 0.1
    with pytest.raises(ValueError, match="has no state, but got"):
        Cosine().load_state_dict({"best": 1})
    with pytest.raises(ValueError, match="best, waited and current"):
        plateau.load_state_dict({"best": 1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0), "every"),
        (lambda: MultiStep((3, -1)), "milestone"),
        (lambda: Exponential(-0.1), "gamma"),
        (lambda: Cosine(2), "end"),
        (lambda: OneCycle(up=1.5), "up"),
        (lambda: Warmup(0), "updates"),
        (lambda: Plateau(mode="up"), "mode"),
        (lambda: Plateau("val_dice"), "are larger or smaller values of 'val_dice' better"),
        (lambda: fn.Trainer(net(), schedule=Cosine()), "total_updates"),
        (lambda: fn.Trainer(net(), schedule=Warmup(2, Step(1))), "updates_per_epoch"),
    ],
)
def test_invalid_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_milestones_may_be_any_iterable():
    once = MultiStep(iter((2, 3)), gamma=0.5)
    assert [once.factor(update, Length(None, 1)) for update in range(4)] == [1, 1, 0.5, 0.25]
    with pytest.raises(TypeError, match=r"several epochs, such as \[10, 15\], not 5"):
        MultiStep(5)


@pytest.mark.parametrize(("monitor", "mode"), [("val_f1", "max"), ("top 5", "max"), ("val_loss", "min")])
def test_plateau_direction_follows_from_the_name(monitor, mode):
    assert Plateau(monitor).mode == mode
    assert Plateau(monitor, mode="min").mode == "min"


def test_invalid_schedules_raise():
    with pytest.raises(TypeError, match="parentheses"):
        fn.fit(net(), data(), schedule=Cosine, progress=False)

    class Wrong(Schedule):
        def factor(self, update, length):
            return math.nan if update == 1 else 1

    with pytest.raises(ValueError, match="factor nan for update 1"):
        fn.fit(net(), data(), schedule=Wrong(), progress=False)


if __name__ == "__main__":
    print("GOLDEN = {")
    for case in CASES:
        print(f'    "{case}": {[by_pytorch(case)[number] for number in SOME]},')
    print("}")
