"""Mistakes in what users assign to objects, and in the copies of read-only arrays."""

from mistake import Mistake

ATTRIBUTES = "tests/test_attributes.py"
CHECKED = "tests/test_checked_attributes.py"
READ_ONLY = "tests/test_read_only.py"
PREDICT = "tests/layers/test_predict.py"

MISTAKES = (
    Mistake(
        "assigned values are not checked",
        "fastnn/_attributes.py",
        "            if name in cls._checks:\n",
        "            if name in cls._checks and name not in vars(self):\n",
        (CHECKED,),
    ),
    Mistake(
        "a subclass loses the checks of its base",
        "fastnn/_attributes.py",
        "inherited |= base._checks",
        "pass",
        (CHECKED,),
    ),
    Mistake(
        "unknown attributes are accepted",
        "fastnn/_attributes.py",
        "if is_method or name not in cls._declared:",
        "if is_method:",
        (ATTRIBUTES,),
    ),
    Mistake(
        "an array replaces a parameter",
        "fastnn/layers/base.py",
        "                held.value = value\n",
        "                super().__setattr__(name, value)\n",
        (ATTRIBUTES,),
    ),
    Mistake(
        "read-only weights are not copied",
        "fastnn/param.py",
        "if not self.master.flags.writeable:",
        "if False:",
        (READ_ONLY,),
    ),
    Mistake(
        "the hint of a name is lost in from fastnn import name",
        "fastnn/_attributes.py",
        "if hint and _is_from_import(",
        "if not hint and _is_from_import(",
        ("tests/test_foreign_names.py",),
    ),
    Mistake(
        "an error at the start of a training is not told to the callbacks",
        "fastnn/training/loop.py",
        """        try:
            training.tell("on_train_begin")
""",
        """        training.tell("on_train_begin")
        try:
""",
        ("tests/training/test_endings.py",),
    ),
    Mistake(
        "a read-only optimizer state is not copied",
        "fastnn/optim/state.py",
        " or not self[name].flags.writeable:",
        ":",
        (READ_ONLY,),
    ),
    Mistake(
        "weights are copied after their address was recorded",
        "fastnn/training/plans.py",
        "held.writable_master()  # before",
        "held.master  # before",
        (READ_ONLY,),
    ),
    Mistake(
        "the probability of a single output is its softmax",
        "fastnn/prediction.py",
        "    if multi_label or outputs.shape[-1] == 1:\n        ops",
        "    if multi_label:\n        ops",
        (PREDICT,),
    ),
    Mistake(
        "each thread has the machine code of an activation that it has compiled",
        "kernels/jit/scalar.py",
        "return self._compiled.setdefault(name, self._compile(name))",
        "compiled = self._compiled[name] = self._compile(name)\n            return compiled",
        ("tests/plan/test_threads.py",),
    ),
    Mistake(
        "tables in notebooks do not escape their cells",
        "fastnn/tables.py",
        "{escape(cell)}</{tag}>",
        "{cell}</{tag}>",
        ("tests/test_notebooks.py",),
    ),
)
