"""The mistakes in updates that are computed in pieces (`micro_batch`) that `planted_mistakes.py` plants."""

from mistake import Mistake

PIECES, PLAN_PIECES = "tests/training/test_micro_batch.py", "tests/plan/test_pieces.py"

MISTAKES = (
    Mistake(
        "a piece divides its gradient by its own number of samples",
        "fastnn/training/update.py",
        'reduction = "sum" if is_piece else None',
        "reduction = None",
        (PIECES,),
    ),
    Mistake(
        "the divisor of a mini-batch is that of its last block",
        "fastnn/training/pieces.py",
        "divisor += loss.divisor(",
        "divisor = loss.divisor(",
        (PIECES,),
    ),
    Mistake(
        "the gradient of a mini-batch is that of its last piece",
        "fastnn/training/pieces.py",
        "ops.add(total, param.grad_buffer(), total)",
        "total[...] = param.grad_buffer()",
        (PIECES,),
    ),
    Mistake(
        "the sums of the gradients go on from the last update",
        "fastnn/training/pieces.py",
        "param.grad_sum_buffer().fill(0)",
        "param.grad_sum_buffer()",
        (PIECES,),
    ),
    Mistake(
        "the weights change after each piece",
        "fastnn/training/update.py",
        "add_gradients(self.model.parameters())\n",
        "add_gradients(self.model.parameters())\n        self.optimizer.step(self.model.parameters())\n",
        (PIECES,),
    ),
    Mistake(
        "a failed step in pieces counts the correct outputs of its first pieces",
        "fastnn/training/update.py",
        "self.augment_state, self._correct)",
        "self.augment_state)",
        (PIECES,),
    ),
    Mistake(
        "the plan of a piece is replayed for a batch of its size",
        "fastnn/training/trainer.py",
        "samples.has_encoded_labels or is_cut else",
        "samples.has_encoded_labels else",
        (PLAN_PIECES,),
    ),
    Mistake(
        "pieces are recorded again after the first update",
        "fastnn/training/plans.py",
        "for param in trainer.model.parameters() if with_optimizer_state else ():",
        "for param in trainer.model.parameters():",
        (PLAN_PIECES,),
    ),
)
