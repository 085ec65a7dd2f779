"""The mistakes in training in bf16 that `planted_mistakes.py` plants (it builds no C++ for AVX-512)."""

from mistake import Mistake

KERNELS, TRAINING = "tests/kernels/test_bf16.py", "tests/training/test_precision.py"

MISTAKES = (
    Mistake(
        "bf16 cuts the lower half off instead of rounding",
        "kernels/dense_bf16_ref.py",
        "(bits + (0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000)",
        "(bits & 0xFFFF0000)",
        (KERNELS,),
    ),
    Mistake(
        "ties round up to bf16",
        "kernels/dense_bf16_ref.py",
        "(0x7FFF + (bits >> 16 & 1))",
        "0x8000",
        (KERNELS,),
    ),
    Mistake(
        "the backward pass of a step in bf16 is float32",
        "fastnn/training/update.py",
        "with products_in(self.precision):\n            backward(",
        "with products_in(None):\n            backward(",
        (TRAINING,),
    ),
    Mistake(
        "a float64 model is trained in bf16",
        "fastnn/training/options.py",
        "if precision is not None and model.dtype != np.float32:",
        "if precision is not None and model.dtype == np.float16:",
        (TRAINING,),
    ),
    Mistake(
        "a checkpoint does not say that it is in bf16",
        "fastnn/training/options.py",
        'default=None, metadata=option(optional(_precision)))\n    """Precision',
        'default=None, metadata=option(optional(_precision), described=lambda _: None))\n    """Precision',
        (TRAINING,),
    ),
    Mistake(
        "the settings of a run in bf16 cannot be read on another processor",
        "fastnn/cli/settings.py",
        'with backend("ref"):  # has',
        'with backend("aot"):  # has',
        ("tests/cli/test_precision.py::test_run_in_bf16_is_read_on_any_processor",),
    ),
    Mistake(
        "the processor is asked for bf16 after the data are loaded",
        "fastnn/cli/train_run.py",
        "        settings.check_processor()\n",
        "",
        ("tests/cli/test_precision.py::test_processor_without_bf16_is_named_before_anything_is_written",),
    ),
    Mistake(
        "an estimator with precision='bf16' trains in float32",
        "fastnn/sklearn/_base.py",
        'precision="bf16" if self.precision == "bf16" else None',
        "precision=None",
        ("tests/sklearn/test_estimators.py::test_bf16_rounds_the_operands_of_float32_networks",),
    ),
)
