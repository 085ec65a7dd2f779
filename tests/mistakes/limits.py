"""Mistakes in the limits of single parameters, `clip_value` and `mask`."""

from mistake import GRID, Mistake

LIMITS = "tests/optim/test_limits.py"

MISTAKES = (
    Mistake(
        "weight decay moves held elements",
        "fastnn/optim/limits.py",
        "ops.hold(mask, held, param.writable_master())",
        "pass",
        (LIMITS,),
    ),
    Mistake(
        "the momentum of held elements grows",
        "fastnn/optim/limits.py",
        "ops.hold(mask, None, array)",
        "pass",
        (LIMITS,),
    ),
    Mistake(
        "gradients of held elements count in the norm",
        "fastnn/optim/clipping.py",
        "        limit_gradient(param)\n",
        "        pass\n",
        (LIMITS,),
    ),
    Mistake(
        "the own bound of a parameter limits from above only",
        "fastnn/optim/limits.py",
        "ops.clamp(np.array([param.clip_value]), param.grad_buffer())",
        "np.minimum(param.grad_buffer(), param.clip_value, out=param.grad_buffer())",
        (LIMITS,),
    ),
    Mistake(
        "recorded steps keep the mask of their recording",
        "fastnn/training/plans.py",
        "id(param.mask_master))",
        "0)",
        ("tests/plan/test_changes.py",),
    ),
    Mistake(
        "held elements become their gradients",
        "fastnn/optim/limits.py",
        "ops.hold(param.mask_master, param.master, held)",
        "ops.hold(param.mask_master, param.grad_buffer(), held)",
        (LIMITS,),
    ),
    Mistake(
        "a mask holds the wrong elements",
        "kernels/native/families/optim.hpp",
        "select<T>(load_n(mask + e, n) == Vec<T>{}, held, load_n(x + e, n))",
        "select<T>(load_n(mask + e, n) == Vec<T>{}, load_n(x + e, n), held)",
        (GRID,),
    ),
    Mistake(
        "checkpoints forget the limits that callbacks set",
        "fastnn/training/resume.py",
        "return settings if limits == [None, None] else settings + limits",
        "return settings",
        (LIMITS,),
    ),
)
