"""The mistakes in trainings by several processes that `planted_mistakes.py` plants."""

from mistake import Mistake

TOGETHER, PROCESSES = "tests/training/test_together.py", "tests/training/test_processes.py"

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
)
