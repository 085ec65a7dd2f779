"""The mistakes in trainings by several processes that `planted_mistakes.py` plants."""

from mistake import Mistake

TOGETHER, PROCESSES = "tests/training/test_together.py", "tests/training/test_processes.py"
SYNC = "tests/training/test_sync_batch_norm.py"

MISTAKES = (
    Mistake(
        "the gradient of a share is divided by the number of its own rows",
        "fastnn/training/together.py",
        "self._piece_factor[0] = 1 / divisor",
        "self._piece_factor[0] = self.processes.size / divisor",
        (TOGETHER,),
    ),
    Mistake(
        "the update of the weights uses the gradients of the last piece",
        "fastnn/training/together.py",
        "        flat.use_gradients()  # as in `_share`\n",
        "",
        (TOGETHER,),
    ),
    Mistake(
        "the losses of the updates before a failure are lost",
        "fastnn/training/together.py",
        "                if done == 0:\n                    raise\n",
        "                raise\n",
        (PROCESSES,),
    ),
    Mistake(
        "running statistics are averaged as if all shares had the same size",
        "fastnn/training/together.py",
        "flat.put_changes((stop - start) / total)",
        "flat.put_changes(1 / self.processes.size)",
        (TOGETHER,),
    ),
    Mistake(
        "all processes draw the same dropout masks",
        "fastnn/training/streams.py",
        "return (process,) if process else ()",
        "return ()",
        (TOGETHER,),
    ),
    Mistake(
        "all processes write the log files",
        "fastnn/training/callbacks.py",
        "if self.is_first or not type(each).in_first_process_only",
        "if not type(each).in_first_process_only or self.trainer is not None",
        (PROCESSES,),
    ),
    Mistake(
        "a process that resumes draws the random numbers of the first one",
        "fastnn/training/fit.py",
        "                if processes.size > 1:\n                    trainer.start_random_streams()\n",
        "",
        (PROCESSES,),
    ),
    Mistake(
        "the reason for which one process stops stays its own",
        "fastnn/training/processes.py",
        "return next((each for each in self.gather(reason) if each is not None), None)",
        "return self.gather(reason)[self.rank]",
        (PROCESSES,),
    ),
    Mistake(
        "the moments of all processes count alike, however many rows they have",
        "fastnn/layers/shared_batch.py",
        "own = self._rows * np.stack(",
        "own = np.stack(",
        (SYNC,),
    ),
    Mistake(
        "the variance over all processes lacks the differences between their means",
        "fastnn/layers/shared_batch.py",
        "var + offset**2",
        "var",
        (SYNC,),
    ),
    Mistake(
        "moments are summed around 0, where those of large numbers cancel",
        "fastnn/layers/norm.py",
        "shared.take_moments(mean, var, running[0], update_running)",
        "shared.take_moments(mean, var, np.zeros_like(mean), update_running)",
        (SYNC,),
    ),
    Mistake(
        "the running variance is unbiased for the rows of one process",
        "fastnn/layers/shared_batch.py",
        "then(self._all_rows)",
        "then(max(self._rows, 2))",
        (SYNC,),
    ),
    Mistake(
        "the gradient through the moments is divided by the rows of one process",
        "fastnn/layers/shared_batch.py",
        "result[...] = fraction * total",
        "result[...] = total",
        (SYNC,),
    ),
    Mistake(
        "sums over the processes are missing in replayed steps",
        "fastnn/recording/recorder.py",
        "            function()\n        self.plan.callback(function)\n",
        "            function()\n",
        (SYNC,),
    ),
    Mistake(
        "gradients stay those of one process where moments are summed",
        "fastnn/training/processes.py",
        "        if (rest := self._flat.rest).size:\n            self._sum_in_place(rest)\n",
        "",
        (SYNC,),
    ),
    Mistake(
        "processes sum the moments of one where others sum gradients",
        "fastnn/training/processes.py",
        "if counts[NORMALISING] not in (0, self.size):",
        "if counts[NORMALISING] < 0:",
        (SYNC,),
    ),
    Mistake(
        "a failure is not noticed in the middle of an update",
        "fastnn/training/processes.py",
        "self._check_that_all_step(self._sum({STEPPING: 1, NORMALISING: 1}))",
        "self._sum({STEPPING: 1, NORMALISING: 1})",
        (SYNC,),
    ),
    Mistake(
        "the arrays to sum stay when sync_batch_norm changes",
        "fastnn/training/flat.py",
        "        if sums_moments != self.sums_moments:\n            return False\n",
        "",
        (SYNC,),
    ),
    Mistake(
        "a process without samples joins no sum of the others",
        "fastnn/training/checks.py",
        "        smallest = max(smallest, processes)\n",
        "        pass\n",
        (SYNC,),
    ),
    Mistake(
        "batch norm over all processes may be computed in pieces",
        "fastnn/training/options.py",
        "            self._check_pieces(**{name: value})\n",
        "",
        ("tests/training/test_options.py",),
    ),
)
