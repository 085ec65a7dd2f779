"""The mistakes in pools and normalisations that `planted_mistakes.py` plants."""

from mistake import BITS, CONTRACT, GRID, LAYERS, Mistake

POOL = "tests/kernels/test_pool.py"
NORM = "tests/kernels/test_norm.py"
CHECKPOINT = "tests/test_weights.py"
MOMENTS = "tests/plan/test_running_moments.py"
CONV = "tests/kernels/test_conv.py"
FUSION = "tests/plan/test_norm_fusion.py"

MISTAKES = (
    Mistake(
        "last of the largest wins",
        "kernels/native/families/pool.hpp",
        "return (v > best) | (v != v);",
        "return (v >= best) | (v != v);",
        (POOL,),
    ),
    Mistake(
        "nan swallowed by a max pool",
        "kernels/native/families/pool.hpp",
        "return (v > best) | (v != v);",
        "return v > best;",
        (POOL,),
    ),
    Mistake(
        "first nan wins",
        "kernels/native/families/pool.hpp",
        "return (v > best) | (v != v);",
        "return (v > best) | ((v != v) & (best == best));",
        (POOL,),
    ),
    Mistake(
        "padding of a pool off by one",
        "kernels/native/families/pool.hpp",
        "const std::int64_t left = q * g.stride[1] - g.padding[1];",
        "const std::int64_t left = q * g.stride[1] - g.padding[1] + (g.padding[1] > 0);",
        (GRID,),
    ),
    Mistake(
        "padding of a pool's gradient off by one",
        "kernels/native/families/pool.hpp",
        "at_ = pixel + padding_;",
        "at_ = pixel + padding_ - (padding_ > 0);",
        (GRID,),
    ),
    Mistake(
        "height and width of a window swapped",
        "kernels/native/families/pool.hpp",
        "tap = wins ? tap_number<T>(r * g.S + s) : tap;",
        "tap = wins ? tap_number<T>(r * g.R + s) : tap;",
        (GRID,),
    ),
    Mistake(
        "strides of a pool swapped",
        "kernels/native/families/pool.hpp",
        "line % g.P * g.stride[0] - g.padding[0];",
        "line % g.P * g.stride[1] - g.padding[0];",
        (GRID,),
    ),
    Mistake(
        "lost tail of pooled channels",
        "kernels/native/families/pool.hpp",
        "store_n(call.out<T>(op::y) + output + c, sum * factor, n);",
        "store_n(call.out<T>(op::y) + output + c, sum * factor, n - (n > 1 && n < LANES<T>));",
        (GRID,),
    ),
    Mistake(
        "mean of a window without its padding",
        "kernels/native/families/pool.hpp",
        "store_n(call.out<T>(op::y) + output + c, sum * factor, n);",
        "store_n(call.out<T>(1) + output + c,\n"
        "                    sum / T((rows.end - rows.begin) * (columns.end - columns.begin)), n);",
        (GRID,),
    ),
    Mistake(
        "windows that overlap lose a gradient",
        "kernels/native/families/pool.hpp",
        "for (std::int64_t q = qs.begin; q < qs.end; ++q)\n                        sum +=",
        "for (std::int64_t q = qs.begin; q < qs.end; ++q)\n                        sum =",
        (POOL,),
    ),
    Mistake(
        "taps of another width accepted",
        "kernels/pool_aot.pyx",
        'operand(call, "taps", taps, cnp.NPY_INT64 if call.is_double else cnp.NPY_INT32)',
        'operand(call, "taps", taps, cnp.PyArray_TYPE(<cnp.ndarray> taps))',
        (POOL, CONTRACT),
    ),
    Mistake(
        "lost last chunk of rows",
        "kernels/native/gemm/row_sums.hpp",
        "std::int64_t count() const { return (M + CHUNK_ROWS - 1) / CHUNK_ROWS; }",
        "std::int64_t count() const {"
        " return M > CHUNK_ROWS ? M / CHUNK_ROWS : (M + CHUNK_ROWS - 1) / CHUNK_ROWS; }",
        (GRID,),
    ),
    Mistake(
        "lost tail of normalised channels",
        "kernels/native/gemm/row_sums.hpp",
        "if (c == C) return;",
        "if (c > 0) return;",
        (GRID,),
    ),
    Mistake(
        "what rounding leaves of a chunk's mean forgotten",
        "kernels/native/families/norm.hpp",
        "const double more = rest[c] / own, d",
        "const double more = 0 * rest[c] / own, d",
        (NORM,),
    ),
    Mistake(
        "Chan's third term forgotten",
        "kernels/native/families/norm.hpp",
        " + d * d * (before * own / all);",
        ";",
        (NORM,),
    ),
    Mistake(
        "moments depend on the threads",
        "kernels/native/families/norm.hpp",
        "const T count = T(rows.end - rows.begin);",
        "const T count = T(rows.end - rows.begin) * (parts > 1 ? T(1.0001) : T(1));",
        (BITS,),
    ),
    Mistake(
        "running variance biased",
        "kernels/native/families/norm.hpp",
        "unbiased = T(count / (count - 1));",
        "unbiased = T(count / count);",
        (GRID,),
    ),
    Mistake(
        "moments updated twice",
        "fastnn/layers/norm.py",
        "ops.running_moments(mean, var, len(rows), self.momentum, *running, before)",
        "ops.running_moments(mean, var, len(rows), self.momentum, *running, before)\n"
        "        ops.running_moments(mean, var, len(rows), self.momentum, *running, before)",
        (LAYERS,),
    ),
    Mistake(
        "moments of the batch in evaluation",
        "fastnn/layers/norm.py",
        "self._moments(rows) if train else",
        "self._moments(rows) if len(rows) > 1 else",
        (LAYERS,),
    ),
    Mistake(
        "gradient through running moments",
        "fastnn/layers/norm.py",
        "through_moments = need_dx and train",
        "through_moments = need_dx",
        (LAYERS,),
    ),
    Mistake(
        "gradient not through the moments of the batch",
        "fastnn/layers/norm.py",
        "(dgamma, dbeta) if through_moments else (None, None)",
        "(None, None)",
        (LAYERS,),
    ),
    Mistake(
        "failed plan moves the running moments",
        "kernels/native/plan/plan.hpp",
        "if (calls[i].kernel == RUNNING_MOMENTS) restore_running_moments(calls[i]);",
        "",
        (MOMENTS,),
    ),
    Mistake(
        "moments put back in the wrong order",
        "kernels/native/plan/plan.hpp",
        "for (std::size_t i = count; i-- > 0;) {",
        "for (std::size_t i = 0; i < count; ++i) {",
        (MOMENTS,),
    ),
    Mistake(
        "failed eager step moves the running moments",
        "fastnn/layers/base.py",
        "return [*self.random_states(), *(buffer.writable_master() for buffer in self.buffers())]",
        "return [*self.random_states()]",
        (LAYERS, MOMENTS),
    ),
    Mistake(
        "plan does not notice another buffer",
        "fastnn/training/plans.py",
        "            yield id(value.master)\n",
        "            yield 0\n",
        (MOMENTS,),
    ),
    Mistake(
        "loading forgets the buffers",
        "fastnn/weights.py",
        "    held = held_by(model)\n    problems",
        "    held = dict(model.named_parameters())\n    problems",
        (CHECKPOINT,),
    ),
    # --- convolutions of many channels, depthwise ones ---
    Mistake(
        "a tile of Winograd's algorithm takes the wrong pixels",
        "kernels/native/families/minimal_filtering.hpp",
        "if constexpr (I == 2) return x(2) - x(1);",
        "if constexpr (I == 2) return x(2) - x(2);",
        (CONV,),
    ),
    Mistake(
        "a large tile of Winograd's algorithm takes the wrong pixels",
        "kernels/native/families/minimal_filtering.hpp",
        "return (T(4) * x(1) - T(5) * x(3)) + x(5);",
        "return (T(4) * x(1) - T(5) * x(3)) + x(4);",
        (CONV,),
    ),
    Mistake(
        "a large tile of filters' gradients loses its last place",
        "kernels/native/families/minimal_filtering.hpp",
        "- (du(1) + du(2))) + T(3) * du(5);",
        "- (du(1) + du(2)));",
        (CONV,),
    ),
    Mistake(
        "last column of outputs lost where their number is odd",
        "kernels/native/families/winograd.hpp",
        "std::int64_t tile_columns() const { return (Q + OUTPUTS - 1) / OUTPUTS; }",
        "std::int64_t tile_columns() const { return Q > OUTPUTS ? Q / OUTPUTS : 1; }",
        (CONV,),
    ),
    Mistake(
        "gradient of the filters from the last group of tiles only",
        "kernels/native/families/winograd.hpp",
        "du + (W::SIDE * I + j) * g.filter_plane() + channels.begin * g.O, group.begin > 0);",
        "du + (W::SIDE * I + j) * g.filter_plane() + channels.begin * g.O, false);",
        (GRID,),
    ),
    Mistake(
        "filters of a depthwise gradient not turned round",
        "kernels/native/families/conv.hpp",
        "filters + (g.R * g.S - 1 - place) * g.C, g.C);",
        "filters + place * g.C, g.C);",
        (GRID,),
    ),
    Mistake(
        "edge of a depthwise gradient counted twice",
        "kernels/native/families/depthwise.hpp",
        "const std::int64_t right = own.begin > inner.end ? own.begin : inner.end;",
        "const std::int64_t right = own.begin > inner.begin ? own.begin : inner.begin;",
        (GRID,),
    ),
    Mistake(
        "one chunk of a long sum with few outputs lost",
        "kernels/native/families/dense_narrow.hpp",
        "for (int c = 0; c < CHUNKS; c += 2 * width) sum[c] += sum[c + width];",
        "for (int c = 0; c < CHUNKS - 2; c += 2 * width) sum[c] += sum[c + width];",
        (GRID,),
    ),
    # --- batch norm, ReLU and max pooling at once ---
    Mistake(
        "pixels beyond the windows take the gradient of the next image",
        "kernels/native/fusion/norm_relu_pool.hpp",
        "return q_ < g_.Q && h_ < g_.P * g_.R;",
        "return q_ < g_.Q;",
        (FUSION,),
    ),
    Mistake(
        "gradient comes back through a ReLU that was 0",
        "kernels/native/fusion/norm_relu_pool.hpp",
        "return block_.each(relu_gradient<T>, z, dz);",
        "return dz;",
        (FUSION,),
    ),
    Mistake(
        "windows with gaps fused",
        "kernels/native/fusion/norm_fusion.hpp",
        "return g.R == g.stride[0] && g.S == g.stride[1] && g.padding[0] == 0",
        "return g.padding[0] == 0",
        (FUSION,),
    ),
    Mistake(
        "same padding forgets a stride that is assigned later",
        "fastnn/layers/_geometry.py",
        'return "same" if padding == "same" else ((0, 0), (0, 0))',
        'return ((1, 1), (1, 1)) if padding == "same" else ((0, 0), (0, 0))',
        ("tests/layers/test_same_padding.py",),
    ),
)
