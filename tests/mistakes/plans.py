"""The mistakes in plans that `planted_mistakes.py` plants besides those of `mistakes.py`."""

from mistake import PLAN_FAILURES, Mistake

PLAN_SAME = "tests/plan/test_same_as_eager.py"
PLAN_FIT = "tests/plan/test_fit_same.py"
PLAN_CHANGES = "tests/plan/test_changes.py"
PLAN_GRADIENTS = "tests/plan/test_gradients.py"
UNCHANGED = ("tests/plan/test_unchanged_steps.py",)

MISTAKES = (
    Mistake(
        "a plan keeps to the slower number of threads",
        "kernels/native/plan/thread_choice.hpp",
        "alone_ = least_[0] > WORTH * least_[1];",
        "alone_ = least_[0] < WORTH * least_[1];",
        ("tests/plan/test_threads.py",),
    ),
    Mistake(
        "steps alone are counted as steps together",
        "kernels/native/plan/thread_choice.hpp",
        "double &least = least_[alone()];",
        "double &least = least_[0];",
        ("tests/plan/test_threads.py",),
    ),
    Mistake(
        "learning rate of the recording for ever",
        "fastnn/training/plans.py",
        "elif trainer.optimizer.lr != self._lr or (len(self._hyper) and self._hyper[0] != self._rate):",
        "elif False:",
        (PLAN_CHANGES,),
    ),
    Mistake(
        "options changed between two steps not noticed",
        "fastnn/training/plans.py",
        "if trainer.plan_key is not self._plan_key:",
        "if False:",
        (PLAN_CHANGES,),
    ),
    Mistake(
        "changes of the structure not noticed",
        "fastnn/training/plans.py",
        "if _structure(trainer, self.makes_update)[0] != self._structure:",
        "if False:",
        (PLAN_CHANGES,),
    ),
    Mistake(
        "Adam's corrections of the recording for ever",
        "fastnn/optim/optimizers.py",
        "ops.adam_corrections(state.counter, hyper)",
        "hyper[5:] = 1 - np.array(self.betas) ** state.steps",
        (PLAN_SAME,),
    ),
    Mistake(
        "weight updated before the gradient of the input is made of it",
        "kernels/native/fusion/fusion.hpp",
        "*reader = together;\n        calls.erase(calls.begin() + std::ptrdiff_t(i));",
        "calls[i] = together;\n        calls.erase(reader);",
        (PLAN_SAME,),
    ),
    Mistake(
        "activation fused although others read what it is made of",
        "kernels/native/fusion/fusion.hpp",
        'if (uses(calls, affine["y"]) != 2) continue;  // another call reads x w + b',
        "",
        (PLAN_SAME,),
    ),
    Mistake(
        "dropout mask of the recording for ever",
        "fastnn/layers/dropout.py",
        "ops.random_next(self.state, bits)",
        "bits[:] = self.state[:1] + self.state[1:]; self.state[1:] += np.uint64(1)",
        (PLAN_SAME,),
    ),
    Mistake(
        "every step of a chunk on its first batch",
        "kernels/native/plan/plan.hpp",
        "input.data + step * input.stride",
        "input.data + 0 * step * input.stride",
        (PLAN_FIT,),
    ),
    Mistake(
        "failed plan advances the random counters",
        "kernels/native/plan/plan.hpp",
        "--random_counter(calls[i]);",
        "random_counter(calls[i]) -= 0;",
        (PLAN_FAILURES,),
    ),
    Mistake(
        "gradient of an earlier step left after a fused update",
        "fastnn/training/plans.py",
        "            param.drop_grad()",
        "            pass",
        (PLAN_GRADIENTS,),
    ),
    Mistake(
        "a plan that steps by itself does not see that the structure has changed",
        "fastnn/training/plans.py",
        'guard(((changes, "last", self._version), (trainer.optimizer, "_lr", self._lr)))',
        'guard(((trainer.optimizer, "_lr", self._lr),))',
        UNCHANGED,
    ),
    Mistake(
        "a plan steps by itself although a schedule sets the rate",
        "fastnn/training/trainer.py",
        'if name in ("plan", "schedule"):  # which',
        'if name == "plan":  # which',
        UNCHANGED,
    ),
    Mistake(
        "a plan steps by itself although the options have changed",
        "fastnn/training/trainer.py",
        "            self.plan_key = key\n            self._plans.unchanged = None\n",
        "            self.plan_key = key\n",
        UNCHANGED,
    ),
    Mistake(
        "a plan steps by itself with the rate of another trainer",
        "kernels/plan.pyx",
        "if self.plan.rates.size() and self.plan.rates[0].place[0] != self.rate:",
        "if False:",
        UNCHANGED,
    ),
    Mistake(
        "a plan steps by itself on another backend",
        "kernels/plan.pyx",
        'if self.guards is None or active_backend() != "aot":',
        "if self.guards is None:",
        UNCHANGED,
    ),
    Mistake(
        "a repeated prediction returns the array that the next one overwrites",
        "kernels/plan.pyx",
        "cnp.PyArray_NewCopy(output, cnp.NPY_CORDER)",
        "output",
        ("tests/plan/test_predictions.py",),
    ),
)

# Printed as JSON by a child process: the command that compiles each extension module, from setup.py.
# setup.py also brings the C++ behind the .pyx files up to date.
