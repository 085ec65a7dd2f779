"""A process that is forked while another thread trains can use the model."""

import pytest

from tests.kernels.children import run_child
from tests.systems import needs_fork

pytestmark = needs_fork


def in_child_forks(when):
    """Fork while a thread is in the middle of a step or of a prediction."""
    import os
    import threading
    import warnings

    import numpy as np
    import pytest

    import fastnn as fn
    from fastnn import prediction

    warnings.simplefilter("ignore")  # Python 3.12 warns of forks in programs with threads
    x, y = np.ones((8, 6), np.float32), np.arange(8) % 3

    class Waiting(fn.Layer):
        there, go_on = threading.Event(), threading.Event()
        waits = True

        def forward(self, x, *, train=False):
            if train and self.waits:
                self.there.set()
                assert self.go_on.wait(30)
            return x, lambda dy, *, need_dx=True: dy

    waiting = Waiting()
    fn.manual_seed(0)
    model = fn.Sequential(fn.Linear(6, 8), waiting, fn.BatchNorm1d(8), fn.Linear(8, 3))
    trainer = fn.Trainer(model, seed=0)
    thread = threading.Thread(target=trainer.step, args=(x, y), daemon=True)
    other = fn.Sequential(fn.Linear(6, 3))
    if when == "step":
        thread.start()
        assert waiting.there.wait(30)
    else:
        for _ in range(3):
            other.predict(x)
        held = prediction._predictions.get(other)
        assert held.output is not None
        inside = threading.Event()

        def predict_for_ever():
            inside.set()
            threading.Event().wait()

        threading.Thread(target=held.lock.run, args=(predict_for_ever,), daemon=True).start()
        assert inside.wait(30)
    child = os.fork()
    if child == 0:
        try:
            if when == "prediction":
                assert not held.lock.is_taken
                assert prediction._replay(other, x, None) is not None
            waiting.waits = False
            losses = [trainer.step(x, y) for _ in range(3)]
            losses.append(fn.fit(model, (x, y), epochs=2, progress=False)["loss"][-1])
            assert np.isfinite(losses).all()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    if when == "prediction":
        assert held.lock.is_taken
    else:  # the parent's step is still exclusive, and ends
        with pytest.raises(RuntimeError, match="in the middle of a training step"):
            trainer.step(x, y)
        waiting.waits = False
        waiting.go_on.set()
        thread.join(30)
        assert trainer.updates == 1
        trainer.step(x, y)


@pytest.mark.parametrize("when", ["step", "prediction"])
def test_child_process_is_not_locked_by_threads_of_its_parent(when):
    run_child(in_child_forks, when)


def in_child_forks_in_its_own_step():
    """The thread that forks is itself in a step, which ends in both processes."""
    import os

    import numpy as np

    import fastnn as fn

    class Forking(fn.Layer):
        child = None

        def forward(self, x, *, train=False):
            if train and self.child is None:
                self.child = os.fork()
            return x, lambda dy, *, need_dx=True: dy

    forking = Forking()
    model = fn.Sequential(fn.Linear(6, 8), forking, fn.Linear(8, 3))
    trainer = fn.Trainer(model, plan=False)
    x, y = np.ones((8, 6), np.float32), np.arange(8) % 3
    losses = [trainer.step(x, y), trainer.step(x, y)]
    assert losses[1] < losses[0]
    if forking.child == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(forking.child, 0)[1]) == 0


def test_step_that_forks_ends_in_both_processes():
    run_child(in_child_forks_in_its_own_step)
