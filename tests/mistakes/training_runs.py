"""The mistakes in optimizers, schedules, callbacks and checkpoints that `planted_mistakes.py` plants."""

from mistake import Mistake

FILES = "tests/test_files.py"
EDGES, RESUME, CALLBACKS = (
    "tests/training/test_resume_edges.py",
    "tests/training/test_resume.py",
    "tests/training/test_callbacks.py",
)
OPTIM, CLIPPING, SCHEDULES = (
    "tests/optim/test_optimizers.py",
    "tests/optim/test_clipping_and_ema.py",
    "tests/optim/test_schedules.py",
)

MISTAKES = (
    Mistake(
        "checkpoint in the middle of an update",
        "fastnn/training/loop.py",
        "if self.writer is not None and training.resumable:",
        "if self.writer is not None:",
        (EDGES,),
    ),
    Mistake(
        "correct outputs of a begun epoch counted anew",
        "fastnn/training/loop.py",
        "            trainer.correct = 0\n",
        "        trainer.correct = 0\n",
        (EDGES,),
    ),
    Mistake(
        "moments by names that are not unique",
        "fastnn/training/resume.py",
        "found |= {path + key.removeprefix(param.name): state[key]",
        "found |= {key: state[key]",
        (EDGES,),
    ),
    Mistake(
        "digest of a checkpoint not compared",
        "fastnn/training/resume.py",
        'if metadata["digest"] != _digest(metadata["fastnn"], arrays):',
        'if not metadata["digest"]:',
        (EDGES,),
    ),
    Mistake(
        "training key drawn anew",
        "fastnn/training/resume.py",
        '    training.trainer.key = counters["key"]\n',
        "",
        (EDGES,),
    ),
    Mistake(
        "checkpoint written in place",
        "fastnn/files.py",
        'temporary = target.parent / f"{_prefix(target)}{os.getpid()}-{os.urandom(4).hex()}.tmp"',
        "temporary = target",
        (RESUME,),
    ),
    Mistake(
        "link replaced by a file",
        "fastnn/files.py",
        "    target = _followed(target)\n    temporary",
        "    temporary",
        (FILES,),
    ),
    Mistake(
        "folder not synchronized after a rename",
        "fastnn/files.py",
        "        _synchronize_folder(target.parent)\n",
        "",
        (FILES,),
    ),
    Mistake(
        "early stopping waits for one epoch more",
        "fastnn/training/callbacks.py",
        "if self._waited >= self.patience:",
        "if self._waited > self.patience:",
        (CALLBACKS,),
    ),
    Mistake(
        "early stopping forgets what it had waited for when it is resumed",
        "fastnn/training/callbacks.py",
        "if training.updates == 0:",
        "if True:",
        (EDGES,),
    ),
    # --- optimizers, clipping, averages ---
    Mistake(
        "Nesterov's momentum ignored",
        "kernels/native/families/optim.hpp",
        "nesterov ? fma(broadcast(momentum), v, step) : v",
        "nesterov ? v : v",
        (OPTIM,),
    ),
    Mistake(
        "AdamW decays by way of the gradient",
        "kernels/native/families/optim.hpp",
        "kept(hyper[7] != 0 ? T(1 - hyper[0] * hyper[4]) : T(1))",
        "kept(T(1))",
        (OPTIM,),
    ),
    Mistake(
        "centred RMSprop takes the root of a negative number",
        "kernels/native/families/optim.hpp",
        "            square = select<T>(square < Vec<T>{}, Vec<T>{}, square);  // rounded; a nan stays\n",
        "",
        (OPTIM,),
    ),
    Mistake(
        "RMSprop's momentum ignored",
        "kernels/native/families/optim.hpp",
        "change = fma(broadcast(momentum), load_n(buffer + e, n), change);",
        "change = change + T(0) * load_n(buffer + e, n);",
        (OPTIM,),
    ),
    Mistake(
        "norm of the last gradient only",
        "fastnn/optim/clipping.py",
        "ops.sum_squares(gradient, totals[place : place + 1])",
        "totals[:] = 0; ops.sum_squares(gradient, totals[place : place + 1])",
        (CLIPPING,),
    ),
    Mistake(
        "small gradients grow to the bound",
        "kernels/native/families/optim.hpp",
        "*call.out<double>(op::factor) = factor > 1 ? 1 : factor;",
        "*call.out<double>(op::factor) = factor;",
        (CLIPPING,),
    ),
    Mistake(
        "gradients clipped from above only",
        "kernels/native/families/optim.hpp",
        "store_n(x + e, select<T>(below < least, least, below), n);",
        "store_n(x + e, select<T>(below < least, below, below), n);",
        (CLIPPING,),
    ),
    Mistake(
        "averages without their warm-up",
        "kernels/native/families/optim.hpp",
        "call.scalar[1] != 0 && early < decay ? early : decay",
        "call.scalar[1] < 0 && early < decay ? early : decay",
        (CLIPPING,),
    ),
    Mistake(
        "the model keeps the averages",
        "fastnn/optim/ema.py",
        "                holder.master[...] = own[name]\n",
        "                pass\n",
        (CLIPPING,),
    ),
    Mistake(
        "a bound changed between two steps has no effect",
        "fastnn/training/trainer.py",
        "elif name in self._memory and value is not None:",
        "elif name in self._memory and value is not None and 'plan_key' not in vars(self):",
        (CLIPPING,),
    ),
    # --- schedules ---
    Mistake(
        "a recorded run keeps its first rate",
        "fastnn/training/trainer.py",
        "self._replay(recorded, recorded.run, order, losses, rates)",
        "self._replay(recorded, recorded.run, order, losses, None)",
        (SCHEDULES,),
    ),
    Mistake(
        "rates of the updates before",
        "fastnn/optim/schedules.py",
        "return self._kept[skipped : skipped + count]",
        "return self._kept[:count]",
        (SCHEDULES,),
    ),
    Mistake(
        "one cycle goes up an update too long",
        "fastnn/optim/schedules.py",
        "top = self.up * length.updates - 1",
        "top = self.up * length.updates",
        (SCHEDULES,),
    ),
    Mistake(
        "what follows a warm-up begins with it",
        "fastnn/optim/schedules.py",
        "self.then.factor(update - self.updates, self._rest(length))",
        "self.then.factor(update, self._rest(length))",
        (SCHEDULES,),
    ),
    Mistake(
        "a plateau waits an epoch less",
        "fastnn/optim/schedules.py",
        "if self._waited > self.patience:",
        "if self._waited >= self.patience:",
        (SCHEDULES,),
    ),
    Mistake(
        "the rate is not given back",
        "fastnn/training/fit.py",
        "            trainer.optimizer.lr = trainer.rates.lr\n",
        "            pass\n",
        (SCHEDULES,),
    ),
)
