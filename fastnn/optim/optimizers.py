"""Optimizers: one pass over value, gradient and optimizer state for each parameter."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from fastnn._arrays import REAL_KINDS
from fastnn._attributes import explained
from fastnn._foreign_names import OPTIMIZER_ATTRIBUTES, TAKES_NO_PARAMETERS
from fastnn._validation import Array, as_float, choose, counter_value, flag, in_range, within
from fastnn.kernels import active_recorder, ops
from fastnn.optim.limits import held_elements, limit_gradient, restore_held
from fastnn.optim.schedules import Schedule
from fastnn.optim.state import State
from fastnn.param import Param
from fastnn.recording.changes import Noted
from fastnn.recording.recorder import Recorder, run_function


class Optimizer(Noted, ABC):
    """Base class of all optimizers. A subclass defines `update` for one parameter.

    `lr` may be changed between steps. The state of each parameter (moments, number of updates) stays with the
    optimizer, so a second `fit` with the same optimizer continues where the first ended.
    """

    # As for layers: whether `update` only calls kernels, with `state.hyper` as hyper-parameters.
    recordable = False

    _hints = OPTIMIZER_ATTRIBUTES

    def __init__(self, lr: float) -> None:
        if hint := self._hint_for_arguments((lr,)):
            raise TypeError(hint)
        self.lr = lr
        self._states: WeakKeyDictionary[Param, State] = WeakKeyDictionary()

    @property
    def lr(self) -> float:
        """The learning rate, at least 0."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        if type(lr) is not float and isinstance(lr, Schedule):
            raise TypeError(f"lr must be a number: pass schedule={lr!r} to fn.fit or fn.Trainer")
        self._lr = in_range(lr, "lr", 0)

    @classmethod
    def _hint_for_arguments(cls, arguments: tuple[object, ...]) -> str:
        return TAKES_NO_PARAMETERS if any(map(_holds_parameters, arguments)) else ""

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            if name in ("lr", "_lr"):  # plans check it before every step, so it need not be reported
                object.__setattr__(self, name, value)
            else:
                super().__setattr__(name, value)

    @abstractmethod
    def update(self, value: Array, grad: Array, state: State, lr: float) -> None:
        """Change `value` in place, given its gradient; `state.steps` already counts this update."""

    def step_is_overridden(self) -> bool:
        """Whether a subclass or the object itself replaces `step`."""
        return type(self).step is not Optimizer.step or "step" in vars(self)

    def hyper(self, lr: float, decay_scale: float = 1.0) -> tuple[float, ...]:
        """Return the hyper-parameters that the kernel of a recordable optimizer reads, `lr` first.

        `decay_scale` multiplies the weight decay.
        """
        return ()

    @explained
    def step(self, params: Iterable[Param]) -> None:
        """Update all parameters that are not frozen from the gradients of the last backward pass."""
        recorder = active_recorder()
        for param in params:
            if param.frozen:
                continue
            if param.has_grad:
                self._step(param)
            elif isinstance(recorder, Recorder) and recorder.has_callbacks:
                # Python code may compute its gradient in a later step.
                recorder.callback(partial(self._step_if_late, param))

    def _step(self, param: Param) -> None:
        run_function(self, partial(self._update, param))

    def _update(self, param: Param) -> None:
        limit_gradient(param)
        held = held_elements(param)
        state = self.state(param)
        ops.advance(state.counter)
        try:
            self.update(param.writable_master(), param.grad_buffer(), state, self.lr * param.lr_scale)
        except BaseException:
            state.counter[0] -= 1
            raise
        finally:
            if held is not None:
                restore_held(param, state, held)

    def _step_if_late(self, param: Param) -> None:
        if param.has_grad and not param.frozen:
            self._step(param)

    def refresh(self, params: Iterable[Param]) -> None:
        """Write the hyper-parameters to the memory that recorded updates read."""
        for param in params:
            state, rate = self.state(param), self.lr * param.lr_scale
            # The `hyper` of a user's own optimizer may take no scale.
            scales = () if param.decay_scale == 1 else (param.decay_scale,)
            if values := self.hyper(rate, *scales):
                state.set_hyper(*values)
            elif len(state.hyper):
                state.hyper[0] = rate

    def state(self, param: Param) -> State:
        """Return the state of `param`."""
        state = self._states.get(param)
        if state is None:
            state = self._states.setdefault(param, State())
        state.decay_scale = param.decay_scale
        return state

    def state_dict(self, params: Iterable[Param]) -> dict[str, Any]:
        """Return copies of the state of these parameters by names such as "0.weight.m".

        "lr" is the learning rate, "0.weight.steps" the number of updates of a parameter.
        """
        states: dict[str, Any] = {"lr": self.lr}
        for param in params:
            state = self.state(param)
            states[f"{param.name}.steps"] = state.steps
            states |= {f"{param.name}.{name}": array.copy() for name, array in state.items()}
        return states

    def load_state_dict(self, state: Mapping[str, Any], params: Iterable[Param]) -> None:
        """Restore the state of these parameters from `state_dict`: training continues with the same bits.

        Raises ValueError if names or shapes do not fit, and changes nothing then.
        """
        if "lr" not in state:
            raise ValueError("'lr', the learning rate, is missing from the state of the optimizer")
        lr, params = in_range(state["lr"], "lr", 0), list(params)
        by_param: dict[str, dict[str, Any]] = {param.name: {} for param in params}
        for name, value in state.items():
            owner, _, key = name.rpartition(".")
            if name != "lr" and owner not in by_param:
                raise ValueError(f"the state has {name!r}, but the model has no parameter {owner!r}")
            if name != "lr":
                by_param[owner][key] = value
        steps: dict[Param, int] = {}
        for param in params:
            if "steps" not in by_param[param.name]:
                raise ValueError(f"the parameter {param.name!r} is missing from the state of the optimizer")
            steps[param] = counter_value(by_param[param.name].pop("steps"), f"{param.name}.steps")
            for key, value in by_param[param.name].items():
                if np.shape(value) != param.shape:
                    raise ValueError(
                        f"{param.name}.{key} must have shape {param.shape}, got {np.shape(value)}"
                    )
                if np.asarray(value).dtype.kind not in REAL_KINDS:
                    raise ValueError(
                        f"{param.name}.{key} must hold real numbers, got {np.asarray(value).dtype}"
                    )
        self.lr = lr
        for param in params:
            own = self.state(param)
            own.counter[0] = steps[param]
            for key in own.keys() - by_param[param.name].keys():
                del own[key]
            for key, value in by_param[param.name].items():
                own.array(key, np.asarray(value))[...] = value

    # Copies and pickles include the state: together with their model they continue exactly.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_states": dict(self._states)}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._states = WeakKeyDictionary(attributes["_states"])

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum v + g, p -= lr v, where g includes weight_decay p.

    With `nesterov`, p -= lr (g + momentum v) (Sutskever et al. 2013). PyTorch's SGD with dampening 0.
    """

    recordable = True
    momentum: float
    nesterov: bool
    weight_decay: float
    _checks: ClassVar = {"momentum": within(0), "nesterov": flag, "weight_decay": within(0)}

    def __init__(
        self,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay

    def _checked_attribute(self, name: str, value: Any) -> Any:
        value = super()._checked_attribute(name, value)
        chosen = {**vars(self), name: value}
        if chosen.get("nesterov") and not chosen["momentum"]:
            raise ValueError("nesterov needs a momentum above 0")
        return value

    def hyper(self, lr: float, decay_scale: float = 1.0) -> tuple[float, ...]:
        return lr, self.momentum, self.weight_decay * decay_scale, self.nesterov

    def update(self, value: Array, grad: Array, state: State, lr: float) -> None:
        hyper = state.set_hyper(*self.hyper(lr, state.decay_scale))
        ops.sgd(grad, hyper, state.array("velocity", value) if self.momentum else None, value)


def _betas(value: Any, name: str) -> tuple[float, ...]:
    """A check of attributes: two numbers in [0, 1)."""
    if np.shape(value) != (2,):
        raise ValueError(f"{name} must be a pair of numbers, not {value!r}")
    for place, beta in enumerate(value):
        if not 0 <= as_float(beta) < 1:
            raise ValueError(f"{name}[{place}] must be in [0, 1), not {beta!r}")
    return tuple(map(as_float, value))


class Adam(Optimizer):
    """p -= lr m' / (sqrt(v') + eps), with bias-corrected moments m', v' of the gradient.

    Kingma & Ba 2015, algorithm 1; `weight_decay` is added to the gradient, as in PyTorch's Adam.
    """

    recordable = True
    decoupled = False  # whether the weights decay directly (AdamW) instead of through the gradient
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    _checks: ClassVar = {"betas": _betas, "eps": within(0), "weight_decay": within(0)}

    def __init__(
        self,
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def hyper(self, lr: float, decay_scale: float = 1.0) -> tuple[float, ...]:
        # 1.0, 1.0: the bias corrections, which a kernel computes from the number of updates.
        decay = self.weight_decay * decay_scale
        return lr, *self.betas, self.eps, decay, 1.0, 1.0, self.decoupled

    def update(self, value: Array, grad: Array, state: State, lr: float) -> None:
        hyper = state.set_hyper(*self.hyper(lr, state.decay_scale))
        ops.adam_corrections(state.counter, hyper)
        ops.adam(grad, hyper, state.array("m", value), state.array("v", value), value)


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr weight_decay before each update.

    Loshchilov & Hutter 2019; PyTorch's AdamW.
    """

    recordable = True
    decoupled = True

    def __init__(
        self,
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, betas=betas, eps=eps, weight_decay=weight_decay)


class RMSprop(Optimizer):
    """v = alpha v + (1 - alpha) g^2, p -= lr g / (sqrt(v) + eps), where g includes weight_decay p.

    Tieleman & Hinton 2012, lecture 6.5. With `centered`, v minus the squared mean gradient replaces v in the
    root (Graves 2013); `momentum` accumulates the steps. PyTorch's RMSprop.
    """

    recordable = True
    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    centered: bool
    _checks: ClassVar = {
        "alpha": within(0, 1),
        "eps": within(0),
        "weight_decay": within(0),
        "momentum": within(0),
        "centered": flag,
    }

    def __init__(
        self,
        lr: float = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(lr)
        self.alpha = alpha
        self.eps = eps
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.centered = centered

    def hyper(self, lr: float, decay_scale: float = 1.0) -> tuple[float, ...]:
        return lr, self.alpha, self.eps, self.weight_decay * decay_scale, self.momentum

    def update(self, value: Array, grad: Array, state: State, lr: float) -> None:
        hyper = state.set_hyper(*self.hyper(lr, state.decay_scale))
        mean = state.array("mean", value) if self.centered else None
        buffer = state.array("buffer", value) if self.momentum else None
        ops.rmsprop(grad, hyper, state.array("v", value), mean, buffer, value)


def _holds_parameters(value: object) -> bool:
    """Whether `value` is a model, a parameter, or several parameters, perhaps in groups as in PyTorch."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, (Noted, Generator, dict)) for item in items)


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
}


def optimizer_of(optimizer: str | Optimizer | None) -> Optimizer:
    """The optimizer with this name and default arguments, or the object itself.

    None is the default of `fit` and `Trainer`, Adam with a learning rate of 0.003: it had the best mean
    accuracy after 5 and after 20 epochs on fourteen tasks (docs/guide/losses_optimizers.md).
    """
    if optimizer is None:
        return Adam(lr=0.003)
    if isinstance(optimizer, Optimizer):
        return optimizer
    if inspect.isclass(optimizer) and issubclass(optimizer, Optimizer):
        raise TypeError(f"pass an instance, {optimizer.__name__}(lr=...), not the class")
    return choose(optimizer, OPTIMIZERS, "optimizer")()
