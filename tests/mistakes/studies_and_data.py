"""The mistakes in sweeps, warnings, orders and files that `planted_mistakes.py` plants."""

from mistake import Mistake

SWEEP, WATCH, ORDERS = (
    "tests/studies/test_sweep.py",
    "tests/training/test_watch.py",
    "tests/training/test_orders.py",
)
CSV, FORMATS = "tests/data/test_csv.py", "tests/data/test_mnist_formats.py"
UNTRUSTED = "tests/cli/test_untrusted_files.py"
CONFIGURATION, COMPLEXITY = "tests/cli/test_settings_file.py", "tests/complexity/test_complexity.py"

MISTAKES = (
    # --- sweeps ---
    Mistake(
        "members share a generator",
        "fastnn/studies/sweep.py",
        "pool.submit(contextvars.copy_context().run, member, place)",
        "pool.submit(member, place)",
        (SWEEP,),
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
        "fastnn/studies/sweep.py",
        "        set_num_threads(before)\n",
        "        pass\n",
        (SWEEP,),
    ),
    Mistake(
        "Ctrl-C loses what is done",
        "fastnn/studies/sweep.py",
        "if future not in added and not future.cancelled() and future.exception() is None:",
        "if False:",
        (SWEEP,),
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
    Mistake(
        "a settings file imports the module that it names",
        "fastnn/cli/settings.py",
        '    if "." in name:\n',
        '    if "." in name:\n        __import__(name.rpartition(".")[0])\n',
        (UNTRUSTED,),
    ),
    Mistake(
        "the nesting of a settings file has no limit",
        "fastnn/cli/settings_file.py",
        "if depth > MAX_DEPTH:",
        "if False:",
        (CONFIGURATION, UNTRUSTED),
    ),
    # --- warnings ---
    Mistake(
        "watching moves the counters of dropout",
        "fastnn/training/watch.py",
        "with states.restored(model), states.restored_gradients(model):",
        "with states.restored_gradients(model):",
        (WATCH,),
    ),
    Mistake(
        "watching leaves its gradients behind",
        "fastnn/training/watch.py",
        "with states.restored(model), states.restored_gradients(model):",
        "with states.restored(model):",
        (WATCH,),
    ),
    Mistake(
        "a unit that is 0 for a few samples is dead",
        "fastnn/training/watch.py",
        "        if type(layer) is ReLU:\n            alive = np.any(x,",
        "        if type(layer) is ReLU:\n            alive = np.all(x,",
        (WATCH,),
    ),
    Mistake(
        "vanishing is looked for from the top down",
        "fastnn/training/watch.py",
        "value * RATIO < max(values[index:])",
        "value * RATIO < max(values[: index + 1])",
        (WATCH,),
    ),
    Mistake(
        "rare classes look stuck",
        "fastnn/training/watch.py",
        "if means[1] < means[0] * (1 - AS_GUESSED):",
        "if False:",
        (WATCH,),
    ),
    # --- orders ---
    Mistake(
        "alternate begins each round anew",
        "fastnn/training/orders.py",
        "np.repeat(np.cumsum(sizes) - sizes, sizes)",
        "np.repeat(np.cumsum(sizes), sizes) % 3",
        (ORDERS,),
    ),
    Mistake(
        "balanced repeats one sample before all have come",
        "fastnn/training/orders.py",
        "rounds = [generator.permutation(own) for _ in range(-(-count // len(own)))]",
        "rounds = [generator.choice(own, count)] if count else []",
        (ORDERS,),
    ),
    Mistake(
        "balanced leaves the classes one behind the other",
        "fastnn/training/orders.py",
        "return generator.permutation(np.concatenate(chosen))",
        "return np.concatenate(chosen)",
        (ORDERS,),
    ),
    # --- data ---
    Mistake(
        "pixels above 255 wrap",
        "kernels/jit/csv_cells.py",
        "if at > position and text[at] == delimiter and pixel <= 255 and column != label:",
        "if at > position and text[at] == delimiter and column != label:",
        (CSV,),
    ),
    Mistake(
        "columns behind the label shifted",
        "kernels/jit/csv_cells.py",
        "            table[row, column - (1 if 0 <= label < column else 0)] = value\n",
        "            table[row, column - (1 if label == 0 else 0)] = value\n",
        (CSV,),
    ),
    Mistake(
        "lines that are too short accepted",
        "kernels/jit/csv_cells.py",
        "            if column < columns:\n",
        "            if False:\n",
        (CSV,),
    ),
    Mistake(
        "numbers of 16 digits rounded twice",
        "kernels/jit/csv_cells.py",
        "MOST_DIGITS = 15",
        "MOST_DIGITS = 18",
        (CSV,),
    ),
    Mistake(
        "the larger part is for testing",
        "fastnn/data/mnist_formats.py",
        "return parts if sizes[0] > sizes[1] else (parts[1], parts[0])",
        "return parts if sizes[0] < sizes[1] else (parts[1], parts[0])",
        (FORMATS,),
    ),
    Mistake(
        "shares of 255 cut instead of rounded",
        "fastnn/data/mnist_formats.py",
        "return rounded.astype(np.uint8)",
        "return scaled.astype(np.uint8)",
        (FORMATS,),
    ),
    Mistake(
        "labels of 10 classes accepted beyond 9",
        "fastnn/data/mnist_formats.py",
        "(labels >= 0) & (labels < CLASSES) & (labels == np.floor(labels))",
        "(labels >= 0) & (labels == np.floor(labels))",
        (FORMATS,),
    ),
    # --- complexity ---
    Mistake(
        "every path counted once only",
        "fastnn/complexity/counts.py",
        "paths = widths[layer] * (1 + paths) + 1",
        "paths = widths[layer] + paths + 1",
        (COMPLEXITY,),
    ),
    Mistake(
        "exponents of all sizes, not of the tail",
        "fastnn/complexity/fit.py",
        "return numbers[-max(FEWEST, (len(numbers) + 1) // 2) :]",
        "return numbers",
        (COMPLEXITY,),
    ),
)
