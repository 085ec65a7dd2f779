"""The mistakes that `planted_mistakes.py` plants: what to replace where, and the tests that must notice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


GRID = "tests/kernels/test_grid.py"
CONTRACT = "tests/kernels/test_contract.py"
EDGES = "tests/kernels/test_edges.py"
BITS = "tests/kernels/test_same_bits.py"
LAYERS = "tests/layers"
LOSSES = "tests/losses/test_losses.py"
OPTIM = "tests/optim/test_optimizers.py"
TRAIN = "tests/training/test_fit.py"
DOOR = "tests/test_validation.py"
PLAN_FAILURES = "tests/plan/test_failures.py"
PARAM = "tests/test_param.py"

MISTAKES = (
    # --- products ---
    Mistake(
        "lost K tail",
        "kernels/native/gemm/tile.hpp",
        "for (std::int64_t k = 0; k < runs.length; ++k, b_row",
        "for (std::int64_t k = 0; k < runs.length / 4 * 4; ++k, b_row",
        (GRID,),
    ),
    Mistake(
        "lost last term of a long sum",
        "kernels/native/gemm/tile.hpp",
        "for (std::int64_t k = 0; k < runs.length; ++k, b_row",
        "for (std::int64_t k = 0; k < runs.length - (runs.length > 64); ++k, b_row",
        (GRID,),
    ),
    Mistake(
        "lost M tail",
        "kernels/native/gemm/tile.hpp",
        "return size * index / count;",
        "return size / count * index;",
        (GRID,),
    ),
    Mistake(
        "lost N tail",
        "kernels/native/gemm/tile.hpp",
        "return (N + BLOCK<T> - 1) / BLOCK<T>;",
        "return N < BLOCK<T> ? N > 0 : N / BLOCK<T>;",
        (GRID,),
    ),
    Mistake(
        "lost rounds of a packed product",
        "kernels/native/gemm/gemm.hpp",
        "{k ? place.c : nullptr, place.row}",
        "{nullptr, place.row}",
        (GRID, EDGES, BITS),
    ),
    Mistake(
        "input truncated to bfloat16",
        "kernels/native/gemm/tile.hpp",
        "broadcast(a_column[i * a.row]);",
        "(Vec<T>)((IntVec<T>)broadcast(a_column[i * a.row]) & (sizeof(T) == 4 ? -0x10000 : -1));",
        (GRID,),
    ),
    Mistake(
        "groups of rows take the copies of the first one",
        "kernels/native/gemm/gemm.hpp",
        "copied.fill(first, tiles.begin + first, stop - first,",
        "copied.fill(first, first, stop - first,",
        (EDGES,),
    ),
    Mistake(
        "lost rows of a product in parts",
        "kernels/native/gemm/gemm.hpp",
        "const Range mine = share(p.rows.count, part, parts);",
        "const Range mine = share(p.rows.count - (parts > 1), part, parts);",
        (BITS,),
    ),
    Mistake(
        "second half of a sum lost",
        "kernels/native/gemm/gemm.hpp",
        " + load(second.c + i * second.row + e);",
        ";",
        (EDGES,),
    ),
    Mistake(
        "halves added before both are there",
        "kernels/native/gemm/gemm.hpp",
        "__ATOMIC_ACQ_REL) == all;",
        "__ATOMIC_ACQ_REL) * 2 >= all;",
        (EDGES,),
    ),
    Mistake(
        "halves depend on the threads",
        "kernels/native/gemm/gemm.hpp",
        "= load_n(first.c + i * first.row + e, n);",
        "= load_n(first.c + i * first.row + e, n) * T(1 + (p.parts == PartsAre::ROWS) * 1e-7);",
        (BITS,),
    ),
    Mistake(
        "dropped bias",
        "kernels/native/families/dense.hpp",
        "call, part, parts, store, finish, apply);",
        "call, part, parts, store, store, apply);",
        (GRID,),
    ),
    Mistake(
        "bias of the first matrix for the whole batch",
        "kernels/native/families/dense.hpp",
        "b + i * N + column",
        "b + column",
        (GRID,),
    ),
    Mistake(
        "wrong stride in dense_dx",
        "kernels/native/families/dense.hpp",
        "{w + (k + row) * N, N, 1}",
        "{w + (k + row) * N, K, 1}",
        (GRID,),
    ),
    Mistake(
        "order of a sum depends on the threads",
        "kernels/native/families/dense.hpp",
        "sum += load_n(dy + m * N + column, n);",
        "sum += load_n(dy + (m + parts - 1) % M * N + column, n);",
        (BITS,),
    ),
    # --- convolutions ---
    Mistake(
        "padding off by one",
        "kernels/native/families/correlation.hpp",
        "PIXEL_STEP, g.padding[0], g.padding[1], first, rows",
        "PIXEL_STEP, g.padding[0] + (g.padding[0] > 0), g.padding[1], first, rows",
        (GRID,),
    ),
    Mistake(
        "height and width swapped",
        "kernels/native/families/correlation.hpp",
        "row = dilation[0] * width * pixel;",
        "row = dilation[1] * width * pixel;",
        (GRID,),
    ),
    Mistake(
        "lost tail of channels",
        "kernels/native/families/correlation.hpp",
        "if (rows_are_runs()) return {S * channels, 1, 0, R, row};",
        "if (rows_are_runs()) return {S * channels - (channels > 16), 1, 0, R, row};",
        (GRID,),
    ),
    Mistake(
        "all groups see the channels of the first one",
        "kernels/native/families/correlation.hpp",
        "c.stride[0], 0) + group * c.channels;",
        "c.stride[0], 0);",
        (GRID,),
    ),
    Mistake(
        "last image of all but the first chunk lost",
        "kernels/native/families/correlation.hpp",
        "for (std::int64_t n = images.begin; n < images.end; ++n) {\n            const T *const image = x +",
        "for (std::int64_t n = images.begin; n < images.end - (images.begin > 0); ++n) {\n"
        "            const T *const image = x +",
        ("tests/kernels/test_conv.py",),
    ),
    # --- activations and losses ---
    Mistake(
        "nan swallowed by relu",
        "kernels/native/families/act.hpp",
        "select<T>(x < T(0), Vec<T>{}, x)",
        "select<T>(x > T(0), x, Vec<T>{})",
        (CONTRACT,),
    ),
    Mistake(
        "softmax without the shift by its largest input",
        "kernels/native/families/act.hpp",
        "exponentials(x, C, largest(x, C), y)",
        "exponentials(x, C, T(0), y)",
        (LAYERS,),
    ),
    Mistake(
        "cross entropy without the shift by its largest input",
        "kernels/native/families/loss.hpp",
        "const T top = largest(z, C);\n    const T sum = exponentials(z, C, top, dz);\n    const T own",
        "const T top = 0;\n    const T sum = exponentials(z, C, top, dz);\n    const T own",
        (LOSSES,),
    ),
    Mistake(
        "label smoothing ignored",
        "kernels/native/families/loss.hpp",
        "= smoothing != 0 ? cross_entropy_row",
        "= false ? cross_entropy_row",
        (LOSSES,),
    ),
    Mistake(
        "label smoothing ignored with soft targets",
        "kernels/native/families/loss.hpp",
        "load_n(row + c, n) * kept + other",
        "load_n(row + c, n)",
        (LOSSES,),
    ),
    Mistake(
        "class weight ignored in the gradient",
        "kernels/native/families/loss.hpp",
        "const T factor = own * scale / sum;",
        "const T factor = scale / sum;",
        (LOSSES,),
    ),
    Mistake(
        "class weight ignored in the gradient of smoothed targets",
        "kernels/native/families/loss.hpp",
        "- weighted_target(c, n)) * scale",
        "- target(c, n)) * scale",
        (LOSSES,),
    ),
    Mistake(
        "label check removed",
        "kernels/loss_aot.pyx",
        "    if not passes(check):",
        "    if False:",
        (CONTRACT,),
    ),
    Mistake(
        "negative labels and indices accepted",
        "kernels/native/plan/serial.hpp",
        "largest = value > largest ? value : largest;",
        "largest = index[i] > std::int64_t(largest) ? value : largest;",
        (CONTRACT,),
    ),
    # --- optimizers, data, randomness ---
    Mistake(
        "momentum not applied",
        "kernels/native/families/optim.hpp",
        "v = fma(broadcast(momentum), v, step);",
        "v = step;",
        (OPTIM,),
    ),
    Mistake(
        "weight decay ignored",
        "kernels/native/families/optim.hpp",
        "return decay != 0 ? fma(broadcast(decay), p, g) : g;",
        "return g;",
        (OPTIM,),
    ),
    Mistake(
        "Adam without bias correction",
        "kernels/native/families/optim.hpp",
        "rate(T(hyper[0] / hyper[5]))",
        "rate(T(hyper[0]))",
        (OPTIM,),
    ),
    Mistake(
        "Adam's count of steps stands still",
        "fastnn/optim/optimizers.py",
        "ops.advance(state.counter)",
        "state.counter[0] = 1",
        (OPTIM,),
    ),
    Mistake(
        "gather ignores the index",
        "kernels/native/families/data.hpp",
        "call.in<S>(0) + call.in<std::int64_t>(1)[m] * D",
        "call.in<S>(0) + m * D",
        (GRID,),
    ),
    Mistake(
        "gather ignores the scale",
        "kernels/native/families/data.hpp",
        "T(double(source[d]) * scale)",
        "T(source[d])",
        (GRID,),
    ),
    Mistake(
        "gather copies floats whatever the scale",
        "kernels/native/families/data.hpp",
        "if (std::is_same_v<S, T> && scale == 1)",
        "if (std::is_same_v<S, T>)",
        (CONTRACT,),
    ),
    Mistake(
        "count_nonfinite misses infinities",
        "kernels/native/families/data.hpp",
        "count += x[e] - x[e] != 0;",
        "count += x[e] != x[e];",
        (CONTRACT,),
    ),
    Mistake(
        "another dropout mask on the way back",
        "fastnn/layers/dropout.py",
        "ops.dropout(dy, bits, self.rate, dx)",
        "ops.random_next(self.state, bits), ops.dropout(dy, bits, self.rate, dx)",
        (LAYERS,),
    ),
    # --- layers and training ---
    Mistake(
        "frozen parameter updated",
        "fastnn/optim/optimizers.py",
        "            if param.frozen:\n                continue",
        "            if False:\n                continue",
        (LAYERS, TRAIN, OPTIM),
    ),
    Mistake(
        "gradient of a frozen weight computed",
        "fastnn/layers/dense.py",
        "if not weight.frozen:",
        "if True:",
        (LAYERS,),
    ),
    Mistake(
        "lr_scale ignored",
        "fastnn/optim/optimizers.py",
        "state, self.lr * param.lr_scale)",
        "state, self.lr)",
        (LAYERS, OPTIM),
    ),
    Mistake(
        "gradient of the input taken with the new weights",
        "fastnn/layers/dense.py",
        "ops.dense_dw(x, dy, weight.grad_buffer())",
        "ops.dense_dw(x, dy, weight.grad_buffer())\n"
        "                ops.sgd(weight.grad_buffer(), np.array([0.01, 0, 0, 0]), None, weight.master)",
        (LAYERS,),
    ),
    Mistake(
        "last batch dropped",
        "fastnn/training/fit.py",
        "np.full(-(-len(order) // batch_size), batch_size)",
        "np.full(len(order) // batch_size, batch_size)",
        (TRAIN,),
    ),
    Mistake(
        "every epoch in the same order",
        "fastnn/training/orders.py",
        "ORDER_OF_SAMPLES, epoch)",
        "ORDER_OF_SAMPLES, 0)",
        (TRAIN,),
    ),
    Mistake(
        "validation on the training data",
        "fastnn/training/fit.py",
        "evaluate_samples(model, trainer.loss, held_out, metrics=metrics)",
        "evaluate_samples(model, trainer.loss, samples, metrics=metrics)",
        (TRAIN,),
    ),
    Mistake(
        "evaluation with dropout",
        "fastnn/training/evaluation.py",
        "outputs, _ = model.forward(x)\n",
        "outputs, _ = model.forward(x, train=True)\n",
        (TRAIN,),
    ),
    Mistake(
        "failed step advances the random counters",
        "fastnn/states.py",
        "            _put_back([*model.states(), *more], before)\n        raise",
        "            pass\n        raise",
        (DOOR, PLAN_FAILURES),
    ),
    Mistake(
        "labels not checked at the door",
        "fastnn/_validation.py",
        "if low < 0 or high >= classes:",
        "if False:",
        (DOOR,),
    ),
    Mistake(
        "snapshot is not a copy",
        "fastnn/param.py",
        "copy = array.copy()",
        "copy = array.view()",
        (PARAM,),
    ),
)
