"""The mistakes in callbacks and checkpoints that `planted_mistakes.py` plants."""

from mistakes_to_plant import Mistake

EDGES, RESUME, CALLBACKS = "tests/test_resume_edges.py", "tests/test_resume.py", "tests/test_callbacks.py"

MISTAKES = (
    Mistake(
        "checkpoint in the middle of an update",
        "fastnn/train.py",
        "if keeper is not None and training.whole:",
        "if keeper is not None:",
        (EDGES,),
    ),
    Mistake(
        "correct outputs of a begun epoch counted anew",
        "fastnn/train.py",
        "    if training.done == 0:\n        trainer.correct = 0\n",
        "    trainer.correct = 0\n",
        (EDGES,),
    ),
    Mistake(
        "moments by names that are not unique",
        "fastnn/resume.py",
        "found |= {path + key.removeprefix(param.name): state[key]",
        "found |= {key: state[key]",
        (EDGES,),
    ),
    Mistake(
        "digest of a checkpoint not compared",
        "fastnn/resume.py",
        'if metadata["digest"] != _digest(metadata["fastnn"], arrays):',
        'if not metadata["digest"]:',
        (EDGES,),
    ),
    Mistake(
        "training key drawn anew",
        "fastnn/resume.py",
        '    training.trainer.key = numbers["key"]\n',
        "",
        (EDGES,),
    ),
    Mistake(
        "checkpoint written in place",
        "fastnn/files.py",
        'temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")',
        "temporary = path",
        (RESUME,),
    ),
    Mistake(
        "early stopping waits for one epoch more",
        "fastnn/callbacks.py",
        "if self._waited >= self.patience:",
        "if self._waited > self.patience:",
        (CALLBACKS,),
    ),
    Mistake(
        "early stopping forgets what it had waited for when it is resumed",
        "fastnn/callbacks.py",
        "if training.updates == 0:",
        "if True:",
        (EDGES,),
    ),
)
