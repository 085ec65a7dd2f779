"""The mistakes in binary losses, focal loss, dice and activations that `planted_mistakes.py` plants."""

from mistake import Mistake

LOSSES, ACT, EDGES, NONFINITE = (
    "tests/losses/test_binary_losses.py",
    "tests/layers/test_act.py",
    "tests/kernels/test_edges.py",
    "tests/kernels/test_nonfinite.py",
)
LOSS, ACTIVATIONS = "kernels/native/families/loss.hpp", "kernels/native/families/act.hpp"
POINTWISE = "kernels/native/families/pointwise.hpp"

MISTAKES = (
    Mistake(
        "weights of ones and zeros swapped",
        POINTWISE,
        "ones = if_one * t, zeros = if_zero * (one - t);",
        "ones = if_zero * t, zeros = if_one * (one - t);",
        (LOSSES,),
    ),
    Mistake(
        "gradient of binary focal loss without the slope of its factor",
        POINTWISE,
        "for_zero * (gamma * q * miss + p)",
        "for_zero * p",
        (LOSSES,),
    ),
    Mistake(
        "weights of the first class for all outputs",
        POINTWISE,
        "load_n(weight + c, n), load_n(weight + C + c, n)",
        "broadcast(weight[0]), broadcast(weight[C])",
        (LOSSES,),
    ),
    Mistake(
        "logarithm of 1 + x without what rounding lost",
        "kernels/native/simd/vmath.hpp",
        "return log<T>(u) + (x - (u - T(1))) / u;",
        "return log<T>(u);",
        ("tests/kernels/test_vmath.py", LOSSES),
    ),
    Mistake(
        "focal loss of classes divides 0 by 0",
        LOSS,
        "const Vec<T> ratio = select<T>(minus_q == zero, one, nll / -minus_q);",
        "const Vec<T> ratio = nll / -minus_q;",
        (LOSSES, EDGES),
    ),
    Mistake(
        "focal loss multiplies 0 by infinity",
        LOSS,
        "select<T>(p == zero, zero, gamma * p * ratio);",
        "gamma * p * ratio;",
        (LOSSES, EDGES),
    ),
    Mistake(
        "focal loss ignores the weight of the label",
        LOSS,
        "broadcast(weight ? weight[label] : T(1)), gamma);",
        "broadcast(T(1)), gamma);",
        (LOSSES,),
    ),
    Mistake(
        "focal loss of soft targets ignores the weights",
        LOSS,
        "weight ? load_n(target + c, n) * load_n(weight + c, n) : load_n(target + c, n);",
        "load_n(target + c, n);",
        (LOSSES,),
    ),
    Mistake(
        "dice without smooth in the numerator",
        LOSS,
        "(2 * both[lane] + smooth) / sum;",
        "(2 * both[lane]) / sum;",
        (LOSSES,),
    ),
    Mistake(
        "dice of nothing divides 0 by 0",
        LOSS,
        "const double ratio = sum == 0 ? 1 :",
        "const double ratio =",
        (LOSSES,),
    ),
    Mistake(
        "lost last pixels of dice",
        LOSS,
        "const int n = C == 1 ? int(S - s < step ? S - s : step) : classes;",
        "const int n = C == 1 ? int(S - s < step ? 0 : step) : classes;",
        (LOSSES, "tests/kernels/test_grid.py"),
    ),
    Mistake(
        "a logit of 0 says yes",
        "kernels/native/plan/serial.hpp",
        "(y[e] > T(0)) == (target[e] > T(0.5))",
        "(y[e] >= T(0)) == (target[e] > T(0.5))",
        (LOSSES, "tests/kernels/test_contract.py"),
    ),
    Mistake(
        "gradient of ELU without alpha",
        ACTIVATIONS,
        "return select<T>(y > T(0), dy, dy * (y + alpha));",
        "return select<T>(y > T(0), dy, dy * (y + T(1)));",
        (ACT, "tests/kernels/test_gradients.py"),
    ),
    Mistake(
        "gradient of GELU without the density",
        ACTIVATIONS,
        "return dy * (integral + x * density);",
        "return dy * integral;",
        (ACT,),
    ),
    Mistake(
        "GELU by 1 - tail far below 0",
        "kernels/native/simd/vmath.hpp",
        "return {select<T>(x < T(0), tail, T(1) - tail),",
        "return {select<T>(x < T(0), T(1) - (T(1) - tail), T(1) - tail),",
        (ACT,),
    ),
    Mistake(
        "rounding error of the square ignored in the normal distribution",
        "kernels/native/simd/vmath.hpp",
        "e = fma(bare, lost * T(-0.5), bare);",
        "e = bare + lost * T(0);",
        (ACT,),
    ),
    Mistake(
        "gradient of SiLU is that of a sigmoid",
        ACTIVATIONS,
        "return dy * (s * (T(1) + x * (T(1) - s)));",
        "return dy * (s * (T(1) - s));",
        (ACT,),
    ),
    Mistake(
        "GELU takes the tanh form whatever is asked",
        ACTIVATIONS,
        "    if (call.scalar[0] != 0)\n        map<T>(call, part, parts, [](Vec<T> x) { return GeluTanh",
        "    if (true)\n        map<T>(call, part, parts, [](Vec<T> x) { return GeluTanh",
        (ACT,),
    ),
    Mistake(
        "tanh-GELU by 1 + tanh, which cancels",
        ACTIVATIONS,
        "return x * sigmoid<T>(polynomial(x).v);",
        "return T(0.5) * x * (T(1) + tanh<T>(polynomial(x).v * T(0.5)));",
        (NONFINITE,),
    ),
    Mistake(
        "gradient of LeakyReLU at nan is that above 0",
        ACTIVATIONS,
        "return select<T>(y > T(0), dy, dy * slope);",
        "return select<T>(y <= T(0), dy * slope, dy);",
        ("tests/kernels/test_contract.py",),
    ),
    Mistake(
        "index used without a check of its own",
        "kernels/native/plan/call.hpp",
        "return 0 <= value && value < limit ? value : -1;",
        "return limit ? value : -1;",
        ("tests/kernels/test_changing_arrays.py",),
    ),
)
