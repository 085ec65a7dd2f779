"""The mistakes in sweeps and populations that `planted_mistakes.py` plants."""

from mistake import Mistake

SWEEP, POPULATION = "tests/studies/test_sweep.py", "tests/studies/test_population.py"
SHARED = "tests/studies/test_shared.py"

MISTAKES = (
    Mistake(
        "a sweep forgets the backend of its caller",
        "fastnn/studies/turns.py",
        "pool.submit(contextvars.copy_context().run, work)",
        "pool.submit(work)",
        (POPULATION,),
    ),
    Mistake(
        "models that train together take the last chunk of a batch for all",
        "kernels/native/families/lanes_dense.hpp",
        "if (!is_first) sum = element(sums, e) + sum;",
        "",
        (POPULATION,),
    ),
    Mistake(
        "models that train together sum a bias's gradient without chunks",
        "kernels/native/families/lanes_dense.hpp",
        "if (M < ROWS_TO_CHUNK) {",
        "if (M < 8 * ROWS_TO_CHUNK) {",
        (POPULATION,),
    ),
    Mistake(
        "the default generator is not seeded",
        "fastnn/studies/sweep.py",
        "        manual_seed(seed)\n",
        "",
        (SWEEP,),
    ),
    Mistake(
        "the number of threads is not given back",
        "kernels/core.pyx",
        "            self.is_entered = False\n            end_one_thread()\n",
        "            self.is_entered = False\n",
        (SWEEP,),
    ),
    Mistake(
        "Ctrl-C loses what is done",
        "fastnn/studies/turns.py",
        "        for member in ended[added:]:\n",
        "        for member in ():\n",
        (SWEEP,),
    ),
    Mistake(
        "runs that share an optimizer train at the same time",
        "fastnn/studies/turns.py",
        "if other.shareable & run.shareable:",
        "if False:",
        (SHARED,),
    ),
    Mistake(
        "runs in progress share layers",
        "fastnn/studies/turns.py",
        "if shared := added.keys() & self._changed.keys():",
        "if shared := set():",
        (SHARED,),
    ),
    Mistake(
        "threads share an optimizer whose learning rate a schedule sets",
        "fastnn/studies/turns.py",
        'if arguments.get("schedule") is None:',
        "if True:",
        (SHARED,),
    ),
    Mistake(
        "frozen layers count as shared",
        "fastnn/studies/turns.py",
        "if not (isinstance(each, Param) and each.frozen)]",
        "if True]",
        (SHARED,),
    ),
    Mistake(
        "a model counts as in progress after its run",
        "fastnn/studies/turns.py",
        "                self._release(run)\n",
        "",
        (SHARED,),
    ),
    Mistake(
        "updates with and without momentum count as alike",
        "kernels/population.pyx",
        "tuple([array != NULL for array in call.array])",
        "()",
        (POPULATION,),
    ),
    Mistake(
        "a step of a population ends although the loss of one model is not finite",
        "kernels/native/plan/population.hpp",
        "std::all_of(loss, loss + lanes_,",
        "std::all_of(loss, loss + 1,",
        (POPULATION,),
    ),
    Mistake(
        "all models of a population have the learning rate of the first",
        "kernels/native/plan/population.hpp",
        "individuals_[std::size_t(model_of(rate.lane))].rates[step] * rate.scale",
        "individuals_[0].rates[step] * rate.scale",
        (POPULATION,),
    ),
    Mistake(
        "failed members are not trained again",
        "fastnn/studies/study.py",
        "return member is not None and member.error is None",
        "return member is not None",
        (SWEEP,),
    ),
    Mistake(
        "members in the order in which they end",
        "fastnn/studies/sweep.py",
        "        study.sort(order)\n",
        "        pass\n",
        (SWEEP,),
    ),
    Mistake(
        "deviation of the population",
        "fastnn/studies/study.py",
        "values.std(ddof=1)",
        "values.std()",
        (SWEEP,),
    ),
    Mistake(
        "points that look alike are taken for one",
        "fastnn/studies/sweep.py",
        "        if key in seen:",
        "        if False:",
        (SWEEP,),
    ),
)
