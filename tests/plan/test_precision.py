"""Recorded steps in bf16 have the bits of eager ones, fused or not, on any number of threads."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, cpu

from .twins import batch, small_net

pytestmark = pytest.mark.skipif(not core.has_bf16(), reason="no AVX512_BF16, or FASTNN_ISA excludes it")

OPTIMIZERS = {
    "SGD": lambda: fn.SGD(0.1),
    "momentum": lambda: fn.SGD(0.1, momentum=0.9, weight_decay=0.01),
    "Adam": fn.Adam,
    "RMSprop": fn.RMSprop,
}


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("activation", [fn.ReLU, fn.Tanh, fn.Sigmoid, fn.GELU])
def test_recorded_steps_equal_eager_ones(activation, optimizer, fuse, twins):
    def net():
        return small_net(activation(), fn.Linear(16, 33), activation(), fn.Linear(33, 16))

    pair = twins(net, optimizer=optimizer, fuse=fuse, precision="bf16")
    pair.run(4)
    assert pair.replays
    pair.step(*batch(9, rows=300))  # too many rows for a fused update
    pair.step(*batch(10, rows=1))
    pair.run(2)


def test_fused_kernels_run(twins):
    """Activations and updates are fused as in float32."""
    pair = twins(lambda: small_net(fn.ReLU()), optimizer=fn.Adam, precision="bf16")
    profile = pair.planned.profile(*batch(), steps=2)
    names = [row.kernel for row in profile.rows if "dense" in row.kernel]
    assert names.count("dense_forward_bf16") == 2
    assert names.count("dense_dw_adam_bf16") == 2
    assert names.count("dense_dx_bf16") == 1
    assert not [row for row in profile.rows if row.kernel.startswith("relu")]


def test_pieces(twins):
    pair = twins(optimizer=fn.Adam, micro_batch=8, precision="bf16")
    pair.run(3)


@pytest.mark.skipif(cpu.supported()[-1] == "v4", reason="only v4 is built")
def test_a_step_after_another_instruction_set_was_selected_is_refused():
    """Its kernels for bf16 are not there: a recorded step would leave the products out."""
    trainer = fn.Trainer(small_net(), precision="bf16")
    trainer.step(*batch())
    before = [param.value for param in trainer.model.parameters()]
    isa = core.isa()
    core.select_isa(cpu.supported()[-1])
    try:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the kernels in use are for"):
                trainer.step(*batch())
    finally:
        core.select_isa(isa)
    after = [param.value for param in trainer.model.parameters()]
    assert all(map(np.array_equal, before, after))
    trainer.step(*batch())


class Wrapped(fn.Layer):
    """A layer in plain Python with a dense layer inside: a callback in a plan."""

    def __init__(self):
        super().__init__()
        self.inner = fn.Linear(16, 16)

    def forward(self, x, *, train=False):
        return self.inner.forward(x, train=train)


def test_callbacks_keep_the_precision(twins):
    """The Python code of a plan runs where no `with` block of the first step is open any more."""
    pair = twins(lambda: small_net(Wrapped()), precision="bf16")
    pair.run(4)
    assert pair.planned.last_plan.has_callbacks


@pytest.mark.parametrize("threads", [2, 3])
def test_bits_do_not_depend_on_threads(threads, snapshot):
    ends = []
    for count in (1, threads):
        core.set_num_threads(count)
        fn.manual_seed(0)
        model = fn.nets.mlp([6, 300, 200, 3])
        trainer = fn.Trainer(model, optimizer=fn.Adam(), precision="bf16")
        losses = [trainer.step(*batch(seed, rows=129)) for seed in range(4)]
        ends.append((losses, snapshot(model, trainer.optimizer)))
    assert ends[0] == ends[1]
