// Tests the kernels that are matrix products on integers, against plain loops.
#pragma once

#include "cases.hpp"
#include "families/conv.hpp"
#include "families/dense.hpp"

namespace {

// The product of a (M, K) and b (K, N), given as functions of two indices, computed term by term.
template <class T, class A, class B> std::vector<T> product(int64_t M, int64_t N, int64_t K, A a, B b) {
    std::vector<T> c;
    for (int64_t i = 0; i < M; ++i)
        for (int64_t j = 0; j < N; ++j) {
            T sum = 0;
            for (int64_t k = 0; k < K; ++k) sum += a(i, k) * b(k, j);
            c.push_back(sum);
        }
    return c;
}

template <class T> void append(std::vector<T> &to, const std::vector<T> &from) {
    to.insert(to.end(), from.begin(), from.end());
}

template <class T> void check_dense(int64_t batch, int64_t M, int64_t K, int64_t N) {
    const auto x = whole<T>(batch * M * K), w = whole<T>(batch * K * N), b = whole<T>(batch * N);
    const auto dy = whole<T>(batch * M * N);
    std::vector<T> y, y_plus_b, dx, dw, db;
    for (int64_t i = 0; i < batch; ++i) {
        const auto x_at = [&, i](int64_t m, int64_t k) { return x[std::size_t((i * M + m) * K + k)]; };
        const auto w_at = [&, i](int64_t k, int64_t n) { return w[std::size_t((i * K + k) * N + n)]; };
        const auto dy_at = [&, i](int64_t m, int64_t n) { return dy[std::size_t((i * M + m) * N + n)]; };
        const auto x_transposed_at = [&](int64_t k, int64_t m) { return x_at(m, k); };
        const auto w_transposed_at = [&](int64_t n, int64_t k) { return w_at(k, n); };
        const auto ones = [](int64_t, int64_t) { return T(1); };
        append(y, product<T>(M, N, K, x_at, w_at));
        append(dx, product<T>(M, K, N, dy_at, w_transposed_at));
        append(dw, product<T>(K, N, M, x_transposed_at, dy_at));
        append(db, product<T>(1, N, M, ones, dy_at));
    }
    for (std::size_t i = 0; i < y.size(); ++i)
        y_plus_b.push_back(y[i] + b[i / std::size_t(M * N) * std::size_t(N) + i % std::size_t(N)]);
    const std::vector<int64_t> sizes{batch, M, K, N};
    const Argument y_only = output(y), y_and_bias = output(y_plus_b);
    for (const bool with_bias : {false, true})
        check(make<T>(
            "dense_forward", DENSE_FORWARD, sizes,
            {input(x), input(w), with_bias ? input(b) : Argument{}, with_bias ? y_and_bias : y_only}));
    check(make<T>("dense_dx", DENSE_DX, sizes, {input(dy), input(w), output(dx)}));
    check(make<T>("dense_dw", DENSE_DW, sizes, {input(x), input(dy), output(dw)}));
    check(make<T>("dense_db", DENSE_DB, sizes, {input(dy), output(db)}));
}

template <class T> void check_dense() {
    // Every combination of the sizes 0, 1, just below a vector, and a block with a tail.
    const int64_t edges[] = {0, 1, LANES<T> - 1, BLOCK<T> + 1};
    for (const int64_t M : edges)
        for (const int64_t K : edges)
            for (const int64_t N : edges)
                for (const int64_t batch : {1, 3}) check_dense<T>(batch, M, K, N);
    check_dense<T>(0, 2, 3, 4);
    // Sums over the rows that are just too short for chunks and just long enough.
    for (const int64_t rows : {ROWS_TO_CHUNK - 1, ROWS_TO_CHUNK, ROWS_TO_CHUNK + CHUNK_ROWS + 1})
        for (const int64_t batch : {1, 2}) check_dense<T>(batch, rows, 1, BLOCK<T> + 3);
    // Every register tile of y and of dx, whole and with a tail; and one cut into two.
    for (int64_t rows = 1; rows <= tile_rows(1) + 1; ++rows)
        for (int64_t vectors = 1; vectors <= TILE_COLUMNS; ++vectors)
            for (const int64_t missing : {0, 1}) {
                const int64_t columns = vectors * LANES<T> - missing;
                check_dense<T>(1, rows, 3, columns);
                check_dense<T>(1, columns, rows, 3);
            }
    // Every length of a tail, and the groups of rows of dense_dx.
    for (int64_t size = 1; size <= BLOCK<T> + LANES<T>; ++size) check_dense<T>(1, 2, 3, size);
    for (const int64_t groups : {1, 2})
        for (const int64_t more : {-1, 0, 1})
            for (const int64_t outputs : {int64_t(2), OUTPUTS_TO_TRANSPOSE_DX})
                check_dense<T>(1, LANES<T> + 1, groups * DX_ROWS + more, outputs);
    // Sums in two rounds, over K, N and M; with few tiles, and with enough tiles that B is packed and the
    // parts divide the rows.
    const int64_t terms = PACKED_ROWS + 3, enough = TALL * tile_rows(1);
    for (const int64_t rows : {int64_t(3), enough}) {
        check_dense<T>(1, rows, terms, 5);
        check_dense<T>(1, terms, rows, 5);
    }
    // With A copied, in one group of rows and in two, of y and of dw.
    const int64_t columns = (BLOCKS_TO_COPY - 1) * BLOCK<T> + 1;
    for (const int64_t rows : {TALL * tile_rows(TILE_COLUMNS), GROUP_ROWS + 1}) {
        check_dense<T>(1, rows, DEPTH_TO_COPY, columns);
        check_dense<T>(1, DEPTH_TO_COPY, rows, columns);
    }
    check_dense<T>(1, ALIASED_ROWS + 1, 512, columns);  // columns of x that push each other out of L1
    check_dense<T>(1, 3, 5, terms);
    // Sums just too short for two halves and just long enough, with few rows and with many.
    for (const int64_t features : {FEATURES_TO_HALVE - 1, FEATURES_TO_HALVE, FEATURES_TO_HALVE + 1})
        for (const int64_t rows : {int64_t(1), int64_t(7), enough + 1})
            for (const int64_t batch : {1, 3})
                for (const int64_t outputs : {BLOCK<T> + 3, int64_t(LANES<T> - 1)})
                    check_dense<T>(batch, rows, features, outputs);
    // Many rows and a small matrix, of every number of vectors; lanes of rows; dw in chunks, and its transpose.
    for (const int64_t more : {-1, 0, 1, 11})
        for (const int64_t outputs : {int64_t(1), THIN<T>, THIN<T> + 1, BLOCK<T> - 1, BLOCK<T> + 3})
            check_dense<T>(more == 1 ? 2 : 1, MANY_ROWS + more, LANES<T> + 1, outputs);
    for (int64_t outputs = 1; outputs <= THIN<T>; ++outputs) check_dense<T>(1, MANY_ROWS + 5, 9, outputs);
    for (int64_t vectors = 1; vectors <= TILE_COLUMNS; ++vectors)
        check_dense<T>(1, MANY_ROWS + 7, 3, vectors * LANES<T>);
    // Few outputs and sums in chunks, with groups of rows in lanes and a rest.
    for (int64_t outputs = 2; outputs <= NARROW_OUTPUTS; ++outputs)
        check_dense<T>(1, 3 * LANES<T> + 1, FEATURES_TO_HALVE + 7, outputs);
    // dw in several rounds, where rows of x are several blocks.
    for (const int64_t rows : {MANY_ROWS, MANY_ROWS + 150})
        check_dense<T>(1, rows, 8 * BLOCK<T> + 3, 10);
    for (const int64_t rows : {2047, 2048, 2051}) {
        check_dense<T>(1, rows, 5, 3);
        check_dense<T>(1, rows, 3, LANES<T> + 1);
    }
}

// Tests convolutions of integers against plain loops over each filter's taps; four of five elements of a
// sparse dy are 0.
template <class T>
void check_conv(int64_t N, int64_t H, int64_t W, int64_t C, int64_t R, int64_t S, int64_t channels, int64_t O,
                int64_t P, int64_t Q, int64_t stride, int64_t pad, int64_t dilation, bool is_sparse = false) {
    // The sums of Winograd's algorithm need about 20 bits more than its inputs.
    const int64_t most = R == 3 && S == 3 && channels >= 16 && O >= 16 && sizeof(T) == 4 ? 1 : 100;
    const auto x = whole<T>(N * H * W * C, most), w = whole<T>(R * S * channels * O, most);
    auto dy = whole<T>(N * P * Q * O, most);
    for (T &value : dy)
        if (is_sparse && random_below(5) > 0) value = 0;
    const auto columns = whole<T>(N * P * Q * R * S * C), b = whole<T>(O);
    std::vector<T> y(dy.size()), dx(x.size()), dw(w.size()), patches(columns.size()), image(x.size());
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = b[i % std::size_t(O)];
    std::size_t place = 0;
    for (int64_t pixel = 0; pixel < N * P * Q; ++pixel)
        for (int64_t tap = 0; tap < R * S; ++tap)
            for (int64_t c = 0; c < C; ++c, ++place) {
                const int64_t h = pixel / Q % P * stride + tap / S * dilation - pad;
                const int64_t v = pixel % Q * stride + tap % S * dilation - pad;
                if (h < 0 || h >= H || v < 0 || v >= W) continue;
                const std::size_t seen = std::size_t(((pixel / (P * Q) * H + h) * W + v) * C + c);
                patches[place] = x[seen];
                image[seen] += columns[place];
                const int64_t outputs = O / (C / channels), first = c / channels * outputs;
                for (int64_t o = first; o < first + outputs; ++o) {
                    const std::size_t weight = std::size_t((tap * channels + c % channels) * O + o);
                    const std::size_t out = std::size_t(pixel * O + o);
                    y[out] += x[seen] * w[weight];
                    dx[seen] += dy[out] * w[weight];
                    dw[weight] += x[seen] * dy[out];
                }
            }
    const std::vector<int64_t> sizes{N, H, W,      C,      R,   S,   channels, O,
                                     P, Q, stride, stride, pad, pad, dilation, dilation};
    check(make<T>("conv_forward", CONV_FORWARD, sizes, {input(x), input(w), input(b), output(y)}));
    check(make<T>("conv_dx", CONV_DX, sizes, {input(dy), input(w), output(dx)}));
    check(make<T>("conv_dw", CONV_DW, sizes, {input(x), input(dy), output(dw)}));
    check(make<T>("im2col", IM2COL, sizes, {input(x), output(patches)}));
    check(make<T>("col2im", COL2IM, sizes, {input(columns), output(image)}));
}

template <class T> void check_conv() {
    for (const int64_t stride : {1, 2, 4})
        for (const int64_t pad : {0, 1, 5})
            for (const int64_t dilation : {1, 2}) {
                check_conv<T>(2, 7, 6, 3, 3, 2, 3, LANES<T> + 1, 4, 5, stride, pad, dilation);
                check_conv<T>(1, 5, 9, 4, 2, 3, 2, 6, 3, 2, stride, pad, dilation);  // in groups
                check_conv<T>(3, 1, 1, 2, 3, 3, 1, 2, 9, 1, stride, pad,
                              dilation);  // more outputs than pixels
            }
    check_conv<T>(1, 4, 2 * TILE_COLUMNS * LANES<T>, 1, 3, 3, 1, BLOCK<T> + 1, 2, 19, 1, 0, 1);
    check_conv<T>(2, 3, 3, BLOCK<T> + 1, 1, 1, BLOCK<T> + 1, 5, 3, 3, 1, 0, 1);
    // By Winograd's algorithm: tiles beyond the image and the outputs, more than a group of them, no images.
    check_conv<T>(2, 5, 8, 16, 3, 3, 16, LANES<T> + 3, 5, 6, 1, 1, 1);
    check_conv<T>(4, 21, 22, 17, 3, 3, 17, BLOCK<T> + 1, 19, 20, 1, 0, 1);
    check_conv<T>(4, 10, 9, 18, 3, 3, 18, LANES<T> + 5, 10, 9, 1, 1, 1);
    check_conv<T>(0, 4, 4, 16, 3, 3, 16, 16, 4, 4, 1, 1, 1);
    check_conv<T>(2, 4, 4, 16, 3, 3, 16, 16, 0, 4, 1, 1, 1);  // no outputs
    check_conv<T>(2, 0, 4, 16, 3, 3, 16, 16, 2, 4, 1, 2, 1);  // no pixels
    check_conv<T>(1, 2, 3, 16, 3, 3, 16, 16, 9, 4, 1, 3, 1);
    check_conv<T>(1, 8, 9, 40, 1, 7, 40, BLOCK<T> + 1, 8, 9, 1, 3, 1);  // packed filters
    for (int64_t O = 1; O < LANES<T>; ++O) {                            // vectors along the pixels
        check_conv<T>(2, 6, 3 * LANES<T> + 1, 1, 3, 2, 1, O, 4, 3 * LANES<T>, 1, 0, 1);
        check_conv<T>(17, 5, 19, 3, 2, 3, 3, O, 3, 10, 2, 1, 1);
    }
    check_conv<T>(1, 60, 70, 2, 3, 3, 2, 3, 60, 70, 1, 1, 1);
    for (const int64_t stride : {1, 2, 3})  // gradients that are scattered
        check_conv<T>(14, 8, 9, 6, 5, 5, 6, 16, 8 / stride, 9 / stride, stride, 2, 1);
    check_conv<T>(2, 13, 12, 3, 3, 2, 3, 5, 3, 5, 4, 1, 2);
    for (const int64_t N : {1, 17}) {  // zeros that are skipped
        check_conv<T>(N, 8, 9, 6, 5, 5, 6, 2 * LANES<T>, 4, 5, 1, 0, 1, true);
        check_conv<T>(N, 8, 9, 3, 5, 5, 3, 2 * LANES<T> + 3, 8, 9, 1, 2, 1, true);
        check_conv<T>(N, 9, 8, 1, 5, 5, 1, 2 * LANES<T> + 1, 5, 4, 1, 0, 1, true);
        check_conv<T>(N, 9, 8, 3, 4, 3, 3, 2 * LANES<T>, 8, 9, 1, 3, 1, true);
        check_conv<T>(N, 9, 8, LANES<T> + 1, 7, 2, LANES<T> + 1, 9, 2, 4, 2, 1, 1, true);
        check_conv<T>(N, 4, 3, 7, 3, 3, 7, LANES<T>, 6, 7, 1, 2, 1, true);  // pixels that no filter reaches
        check_conv<T>(N, 6, 6, 7, 3, 3, 7, LANES<T>, 2, 3, 1, 0, 1, true);
    }
    for (const int64_t stride : {1, 2}) {                               // depthwise
        check_conv<T>(2, 5, 21, LANES<T> + 1, 3, 4, 1, LANES<T> + 1, 4, 19, stride, 2, 1);
        check_conv<T>(1, 4, 5, 3, 2, 3, 1, 3, 6, 5, stride, 1, 2);
    }
    for (const int64_t more : {-2, 1}) {  // fewer outputs than there could be; padding at the end alone
        check_conv<T>(2, 33, 32, 1, 2, 2, 1, LANES<T> / 2 + 1, 32 + more, 31 + more, 1, 0, 1);
        check_conv<T>(2, 40, 33, 1, 3, 2, 1, 2, 38 + more, 32, 1, 0, 1);
        check_conv<T>(3, 4, 5, 6, 1, 1, 6, 7, 4 + more, 5 + more, 1, 0, 1);
        check_conv<T>(3, 6, 6, 6, 1, 1, 6, 7, 3 + more, 3 + more, 2, 0, 1);
    }
    check_conv<T>(0, 3, 3, 2, 3, 3, 2, 5, 1, 1, 1, 0, 1);
    check_conv<T>(2, 0, 0, 2, 3, 3, 2, 5, 2, 2, 1, 3, 1);
}

}  // namespace
