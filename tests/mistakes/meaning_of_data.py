"""The mistakes in the reading of features, targets and metrics that `planted_mistakes.py` plants."""

from mistake import Mistake

FEEDING, ARRAYS, MAPS, SPARSE, HELD_OUT, STORED, TARGETS, METRICS = (
    "tests/training/test_feeding.py",
    "tests/test_arrays.py",
    "tests/training/test_memory_maps.py",
    "tests/training/test_sparse.py",
    "tests/training/test_held_out.py",
    "tests/training/test_stored.py",
    "tests/losses/test_targets.py",
    "tests/test_metrics.py",
)
CLASSES = "tests/training/test_classes.py"

MISTAKES = (
    Mistake(
        "integers after bytes are used as they are",
        "fastnn/feeding.py",
        'return self.scale if dtype.kind in "ui" else 1.0',
        "return self.scale if dtype == np.uint8 else 1.0",
        (FEEDING,),
    ),
    Mistake(
        "a recorded step takes floats with the factor of integers",
        "fastnn/training/trainer.py",
        "self._plans.last = None  # it would",
        "pass  # it would",
        (FEEDING,),
    ),
    Mistake(
        "a failed first step is remembered",
        "fastnn/feeding.py",
        "if updates[0] == count:",
        "if False:",
        (FEEDING,),
    ),
    Mistake(
        "validation data scaled by their own dtype",
        "fastnn/training/samples.py",
        "fed = feeding_of(model) or (None if like is None else like.feeding)",
        "fed = feeding_of(model)",
        (FEEDING,),
    ),
    Mistake(
        "memory maps copied whole",
        "fastnn/_validation.py",
        "if keep_mapped and is_mapped(array):",
        "if False:",
        (MAPS,),
    ),
    Mistake(
        "indices of sparse matrices not checked",
        "fastnn/_sources/sparse.py",
        "matrix.check_format(full_check=True)",
        "pass",
        (SPARSE,),
    ),
    Mistake(
        "wide sparse rows converted 1024 at once",
        "fastnn/training/evaluation.py",
        "batch_size = rows_at_once(samples.x, batch_size)",
        "pass",
        (SPARSE,),
    ),
    Mistake(
        "a split that ignores the classes",
        "fastnn/training/held_out.py",
        "labels = class_labels(samples.target)",
        "labels = None",
        (HELD_OUT,),
    ),
    Mistake(
        "the mean over an epoch counts samples that drop_last left out",
        "fastnn/training/loop.py",
        "float((losses * sizes).sum()) / used",
        "float((losses * sizes).sum()) / len(samples)",
        (HELD_OUT,),
    ),
    Mistake(
        "blocks stay in memory after their last row",
        "fastnn/_sources/stored.py",
        "                del self.futures[number]",
        "                pass",
        (STORED,),
    ),
    Mistake(
        "blocks of a split ignore those of the file",
        "fastnn/_sources/base.py",
        "return block_numbers(self.rows)[self.index]",
        "return np.arange(len(self)) // 1024",
        (STORED,),
    ),
    Mistake(
        "items of another dtype converted silently",
        "fastnn/_sources/items.py",
        "if array.shape != first.shape or not (is_text or array.dtype == first.dtype):",
        "if array.shape != first.shape:",
        ("tests/training/test_items.py",),
    ),
    Mistake(
        "masks dropped inside lists",
        "fastnn/_arrays.py",
        "not PLAIN.issuperset(map(type, values))",
        "False",
        (ARRAYS,),
    ),
    Mistake(
        "recorded steps do not check the range of targets",
        "fastnn/training/plans.py",
        "self._loss.limits_targets and len(inputs) > 1",
        "False and len(inputs) > 1",
        (TARGETS,),
    ),
    Mistake(
        "several labels averaged over those that occur",
        "fastnn/metrics.py",
        'if average == "macro" and not counts.several:',
        'if average == "macro":',
        (METRICS,),
    ),
    Mistake(
        "a recorded step takes labels for the numbers of outputs",
        "fastnn/training/trainer.py",
        "if rescaled or samples.has_encoded_labels:",
        "if rescaled:",
        (CLASSES,),
    ),
    Mistake(
        "labels from 1 are shifted after a training on numbers",
        "fastnn/classes.py",
        "chosen = known or _learned(labels, categories, count, learn)",
        "chosen = _learned(labels, categories, count, learn)",
        (CLASSES,),
    ),
)
