// Tests that fused kernels, which only plans use, give the same bits as the separate kernels.
#pragma once

#include "cases.hpp"
#include "fusion/dense_update.hpp"
#include "gemm/row_sums.hpp"
#include "plan/algorithms.hpp"

namespace {

// The contents of argument i after a case has run on one thread.
Bytes argument_of(const Case &c, std::size_t i) { return result_of(c, 1)[i]; }

// An argument like `like` that must hold `expected` after the call.
Argument expecting(Argument like, Bytes expected) {
    like.expected = std::move(expected);
    return like;
}

Argument input_of(std::size_t element, Bytes bytes) {
    return {Argument::INPUT, element, std::move(bytes), {}};
}

Case with(Activation activation, Case c) {
    c.call.activation = activation;
    return c;
}

template <class T>
void check_fused_activations(int64_t M, int64_t K, int64_t N, KernelId forward = DENSE_FORWARD,
                             KernelId back = DENSE_DX) {
    const Argument x = input(whole<T>(M * K)), w = input(whole<T>(K * N)), b = input(whole<T>(N));
    const Argument dy = input(whole<T>(M * N)), y = output<T>(M * N), dx = output<T>(M * K);
    const Bytes sums = argument_of(make<T>("dense", forward, {1, M, K, N}, {x, w, b, y}), 3);
    const Bytes gradient = argument_of(make<T>("dx", back, {1, M, K, N}, {dy, w, dx}), 2);
    const struct {
        Activation code;
        KernelId forward, back;
    } activations[] = {
        {RELU, RELU_FORWARD, RELU_DX}, {SIGMOID, SIGMOID_FORWARD, SIGMOID_DX}, {TANH, TANH_FORWARD, TANH_DX}};
    for (const auto &activation : activations) {
        const Bytes active =
            argument_of(make<T>("forward", activation.forward, {M * N}, {input_of(sizeof(T), sums), y}), 1);
        check(with(activation.code, make<T>("dense_forward with an activation", forward, {1, M, K, N},
                                            {x, w, b, expecting(y, active)})));
        const Argument below = input(whole<T>(M * K));
        const Bytes passed = argument_of(
            make<T>("back", activation.back, {M * K}, {below, input_of(sizeof(T), gradient), dx}), 2);
        check(with(activation.code, make<T>("dense_dx with an activation", back, {1, M, K, N},
                                            {dy, w, expecting(dx, passed), below})));
    }
}

// An optimizer's kernel and its fused variants, with the arrays that they update.
template <class T> struct Update {
    KernelId alone, with_dw, with_db;
    std::vector<double> hyper;
    int moments;
    bool absent;  // the moments are null

    // The arguments after the gradient: hyper, moments, values.
    std::vector<Argument> arguments(int64_t count) const {
        std::vector<Argument> some{input(hyper)};
        for (int i = 0; i < moments; ++i) some.push_back(absent ? Argument{} : updated(whole<T>(count)));
        some.push_back(updated(whole<T>(count)));
        return some;
    }

    // Checks that `fused`, whose first two arguments define the gradient, gives the result of `alone`.
    void check_twin(const std::string &name, KernelId fused, const std::vector<int64_t> &sizes,
                    const Argument &x, const Argument &dy, Bytes gradient, int64_t count) const {
        std::vector<Argument> separate = arguments(count), together{x, dy};
        separate.insert(separate.begin(), input_of(sizeof(T), std::move(gradient)));
        const std::vector<Bytes> expected = result_of(make<T>(name, alone, {count}, separate), 1);
        for (std::size_t i = 1; i < separate.size(); ++i) {
            const bool changes = separate[i].role == Argument::UPDATED;
            together.push_back(changes ? expecting(separate[i], expected[i]) : separate[i]);
        }
        check(make<T>(name, fused, sizes, together));
    }
};

template <class T> void check_fused_updates(int64_t M, int64_t K, int64_t N) {
    const Argument x = input(whole<T>(M * K)), dy = input(whole<T>(M * N));
    const std::vector<int64_t> sizes{1, M, K, N};
    const Bytes dw = argument_of(make<T>("dw", DENSE_DW, sizes, {x, dy, output<T>(K * N)}), 2);
    const Bytes db = argument_of(make<T>("db", DENSE_DB, sizes, {dy, output<T>(N)}), 1);
    const Update<T> updates[] = {
        {SGD, DENSE_DW_SGD, DENSE_DB_SGD, {0.1, 0, 0.01, 0}, 1, true},
        {SGD, DENSE_DW_SGD, DENSE_DB_SGD, {0.1, 0.9, 0.01, 1}, 1, false},
        {ADAM, DENSE_DW_ADAM, DENSE_DB_ADAM, {0.01, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, 0}, 2, false}};
    for (const Update<T> &update : updates) {
        update.check_twin("update by dw", update.with_dw, sizes, x, dy, dw, K * N);
        update.check_twin("update by db", update.with_db, sizes, {}, dy, db, N);
    }
}

// A convolution of N images (H, W, C) by R x R filters with an activation after it, and its gradient with the
// activation's gradient.
template <class T>
void check_fused_convolution(int64_t N, int64_t H, int64_t W, int64_t C, int64_t R, int64_t channels,
                             int64_t O, int64_t stride) {
    const int64_t P = (H + 2 - R) / stride + 1, Q = (W + 2 - R) / stride + 1;
    const std::vector<int64_t> sizes{N, H, W, C, R, R, channels, O, P, Q, stride, stride, 1, 1, 1, 1};
    const int64_t pixels = N * H * W * C, outputs = N * P * Q * O;
    const Argument x = input(whole<T>(pixels)), w = input(whole<T>(R * R * channels * O));
    const Argument b = input(whole<T>(O)), y = output<T>(outputs), dy = input(whole<T>(outputs));
    const Argument dx = output<T>(pixels), below = input(whole<T>(pixels));
    const Bytes sums = argument_of(make<T>("conv", CONV_FORWARD, sizes, {x, w, b, y}), 3);
    const Bytes active =
        argument_of(make<T>("forward", TANH_FORWARD, {outputs}, {input_of(sizeof(T), sums), y}), 1);
    check(with(TANH, make<T>("conv_forward with an activation", CONV_FORWARD, sizes,
                             {x, w, b, expecting(y, active)})));
    const Bytes gradient = argument_of(make<T>("dx", CONV_DX, sizes, {dy, w, dx}), 2);
    const Bytes passed =
        argument_of(make<T>("back", RELU_DX, {pixels}, {below, input_of(sizeof(T), gradient), dx}), 2);
    check(with(RELU,
               make<T>("conv_dx with an activation", CONV_DX, sizes, {dy, w, expecting(dx, passed), below})));
}

// The gradient of a max pool with the gradient of ReLU after it.
template <class T>
void check_fused_pool(int64_t N, int64_t H, int64_t W, int64_t C, int64_t R, int64_t S, int64_t stride) {
    using Tap = std::conditional_t<sizeof(T) == sizeof(double), int64_t, std::int32_t>;
    const int64_t P = (H - R) / stride + 1, Q = (W - S) / stride + 1, pixels = N * H * W * C;
    const std::vector<int64_t> sizes{N, H, W, C, R, S, P, Q, stride, stride, 0, 0};
    const Argument below = input(whole<T>(pixels)), y = output<T>(N * P * Q * C);
    const Argument anything = output(std::vector<Tap>(std::size_t(N * P * Q * C)));
    const auto pooled = result_of(make<T>("pool", MAX_POOL_FORWARD, sizes, {below, y, anything}), 1);
    const Argument largest = input_of(sizeof(T), pooled[1]), taps = input_of(sizeof(Tap), pooled[2]);
    const Argument dy = input(whole<T>(N * P * Q * C)), dx = output<T>(pixels);
    const Bytes gradient = argument_of(make<T>("dx", MAX_POOL_DX, sizes, {dy, taps, dx}), 2);
    const Bytes passed =
        argument_of(make<T>("back", RELU_DX, {pixels}, {below, input_of(sizeof(T), gradient), dx}), 2);
    check(with(RELU, make<T>("max_pool_dx with ReLU", MAX_POOL_DX, sizes,
                             {dy, taps, expecting(dx, passed), largest})));
}

// A convolution by square filters, with ReLU and a pool by windows of R x S: the fused kernels against the
// six separate.
template <class T>
void check_conv_pool(int64_t N, int64_t H, int64_t W, int64_t C, int64_t groups, int64_t O, int64_t padding,
                     int64_t R, int64_t S, int64_t side = 3) {
    using Tap = std::conditional_t<sizeof(T) == sizeof(double), int64_t, std::int32_t>;
    const int64_t P = H + 2 * padding - side + 1, Q = W + 2 * padding - side + 1, pixels = N * P * Q * O;
    std::vector<int64_t> conv{N, H, W, C, side, side, C / groups, O, P, Q, 1, 1, padding, padding, 1, 1};
    const std::vector<int64_t> pool{N, P, Q, O, R, S, P / R, Q / S, R, S, 0, 0};
    std::vector<int64_t> sizes = conv;
    sizes.insert(sizes.end(), {R, S});
    const int64_t outputs = N * (P / R) * (Q / S) * O, filters = side * side * C / groups * O;
    const Argument x = input(whole<T>(N * H * W * C)), w = input(whole<T>(filters)), b = input(whole<T>(O));
    const Argument dy = input(whole<T>(outputs)), between = output<T>(pixels), y = output<T>(outputs);
    const Argument taps = output(std::vector<Tap>(std::size_t(outputs)));
    const auto again = [](Bytes bytes) { return input_of(sizeof(T), std::move(bytes)); };

    const Argument active =
        again(argument_of(with(RELU, make<T>("conv", CONV_FORWARD, conv, {x, w, b, between})), 3));
    const auto pooled = result_of(make<T>("pool", MAX_POOL_FORWARD, pool, {active, y, taps}), 1);
    check(with(RELU, make<T>("conv_pool_forward", CONV_POOL_FORWARD, sizes,
                             {x, w, b, expecting(y, pooled[1]), expecting(taps, pooled[2])})));

    const Argument largest = again(pooled[1]), winners = input_of(sizeof(Tap), pooled[2]);
    const Bytes dz = argument_of(
        with(RELU, make<T>("pool back", MAX_POOL_DX, pool, {dy, winners, between, largest})), 2);
    const Bytes dw = argument_of(make<T>("dw", CONV_DW, conv, {x, again(dz), output<T>(filters)}), 2);
    const Bytes db = argument_of(make<T>("db", DENSE_DB, {1, N * P * Q, 0, O}, {again(dz), output<T>(O)}), 1);
    for (const bool stored : {false, true})
        check(with(RELU,
                   make<T>("conv_pool_dw", CONV_POOL_DW, sizes,
                           {x, dy, expecting(output<T>(filters), dw), winners, largest,
                            expecting(output<T>(O), db), stored ? expecting(between, dz) : Argument{}})));
}

// Batch norm, ReLU and a pool by windows of R x S, or none: the fused kernels against the seven separate.
template <class T>
void check_norm_relu_pool(int64_t N, int64_t H, int64_t W, int64_t C, int64_t R, int64_t S, bool pooled) {
    using Tap = std::conditional_t<sizeof(T) == sizeof(double), int64_t, std::int32_t>;
    const int64_t M = N * H * W, P = pooled ? H / R : 1, Q = pooled ? W / S : 1;
    const int64_t images = pooled ? N : M, outputs = images * P * Q * C;
    const std::vector<int64_t> rows{M, C}, pool{N, H, W, C, R, S, P, Q, R, S, 0, 0};
    const std::vector<int64_t> alone{M, 1, 1, C, 1, 1, 1, 1, 1, 1, 0, 0}, sizes = pooled ? pool : alone;
    const Argument x = input(whole<T>(M * C)), mean = input(whole<T>(C)), beta = input(whole<T>(C));
    const Argument var = input(std::vector<T>(std::size_t(C), T(2))), dy = input(whole<T>(outputs));
    const auto again = [](Bytes bytes) { return input_of(sizeof(T), std::move(bytes)); };
    const Argument pixels = output<T>(M * C), sums = output<T>(C), y = output<T>(outputs);
    const Argument taps = pooled ? output(std::vector<Tap>(std::size_t(outputs))) : Argument{};

    const Argument normalized = again(
        argument_of(make<T>("norm", BATCH_NORM_FORWARD, rows, {x, mean, var, beta, beta, pixels}, {0.1}), 5));
    Bytes active = argument_of(make<T>("relu", RELU_FORWARD, {M * C}, {normalized, pixels}), 1);
    Argument largest = expecting(y, active), winners = taps, dpool = dy;
    if (pooled) {
        const Argument anything = output(std::vector<Tap>(std::size_t(outputs)));
        const auto result =
            result_of(make<T>("pool", MAX_POOL_FORWARD, pool, {again(active), y, anything}), 1);
        largest = expecting(y, result[1]), winners = expecting(taps, result[2]);
        dpool = again(argument_of(
            make<T>("pool back", MAX_POOL_DX, pool, {dy, input_of(sizeof(Tap), result[2]), pixels}), 2));
    }
    check(make<T>("norm_relu_pool_forward", NORM_RELU_POOL_FORWARD, sizes,
                  {x, mean, var, beta, beta, largest, winners}, {0.1}));

    const Argument of_taps = pooled ? input_of(sizeof(Tap), winners.expected) : Argument{};
    const Argument dz =
        again(argument_of(make<T>("relu back", RELU_DX, {M * C}, {again(active), dpool, pixels}), 2));
    const auto gradients =
        result_of(make<T>("sums", BATCH_NORM_SUMS, rows, {x, dz, mean, var, sums, sums}, {0.1}), 1);
    check(make<T>(
        "norm_relu_pool_sums", NORM_RELU_POOL_SUMS, sizes,
        {x, dy, of_taps, mean, var, beta, beta, expecting(sums, gradients[4]), expecting(sums, gradients[5])},
        {0.1}));
    const Argument dgamma = again(gradients[4]), dbeta = again(gradients[5]);
    const Bytes dx = argument_of(
        make<T>("norm back", BATCH_NORM_DX, rows, {x, dz, mean, var, beta, dgamma, dbeta, pixels}, {0.1}), 7);
    check(make<T>("norm_relu_pool_dx", NORM_RELU_POOL_DX, sizes,
                  {x, dy, of_taps, mean, var, beta, beta, dgamma, dbeta, expecting(pixels, dx)}, {0.1}));
}

template <class T> void check_fused_images() {
    for (const int64_t stride : {1, 2}) {
        check_fused_convolution<T>(2, 5, 6, 3, 2, 3, BLOCK<T> + 1, stride);
        check_fused_convolution<T>(1, 6, 7, 20, 3, 20, 17, stride);  // by Winograd's algorithm
        check_fused_convolution<T>(2, 4, 13, LANES<T> + 1, 3, 1, LANES<T> + 1, stride);  // depthwise
        check_fused_convolution<T>(3, 7, 2 * LANES<T> + 3, 2, 4, 2, 3, stride);          // few outputs
        for (const int64_t C : {1, LANES<T> - 1, LANES<T> + 3}) {
            check_fused_pool<T>(3, 7, 9, C, 2, 2, stride);
            check_fused_pool<T>(2, 6, 11, C, 2, 1, stride);
        }
    }
    for (const int64_t O : {1, 5, LANES<T> + 3}) {  // images of 64 outputs, whose sums begin anew
        check_conv_pool<T>(IMAGE_CHUNKS + 1, 10, 10, 2, 1, O, 0, 2, 3);
        check_conv_pool<T>(IMAGE_CHUNKS, 4, 32, 2, 1, 2 * O, 1, 3, 5);
        check_conv_pool<T>(IMAGE_CHUNKS, 10, 18, 4, 2, 2 * O, 0, 8, 1);
        check_conv_pool<T>(IMAGE_CHUNKS + 1, 10, 10, 2, 1, O, 0, 3, 2);  // two columns: pooled by planes
        check_conv_pool<T>(IMAGE_CHUNKS, 66, 11, 1, 1, O, 0, 4, 2);
        check_conv_pool<T>(IMAGE_CHUNKS, 10, 10, 2, 1, O, 0, 9, 2);  // no window
        check_conv_pool<T>(IMAGE_CHUNKS + 1, 12, 12, 4, 1, LANES<T> + O, 0, 2, 2, 5);  // zeros are skipped
        check_conv_pool<T>(IMAGE_CHUNKS, 8, 8, 3, 1, LANES<T> + O, 2, 3, 2, 5);
        check_conv_pool<T>(IMAGE_CHUNKS, 12, 36, 1, 1, LANES<T> + O, 0, 2, 2, 5);
    }
    for (const int C : {1, LANES<T> + 3, CHANNEL_VECTORS * LANES<T> + 1})
        for (const bool pooled : {false, true}) {
            check_norm_relu_pool<T>(3, 5, 7, C, 2, 2, pooled);
            check_norm_relu_pool<T>(2, 7, 5, C, 3, 2, pooled);
            check_norm_relu_pool<T>(1, 3, 4, C, 4, 4, pooled);  // no window fits
            check_norm_relu_pool<T>(0, 3, 4, C, 1, 1, pooled);
        }
}

template <class T> void check_fused_kernels() {
    const int64_t edges[] = {0, 1, LANES<T> - 1, BLOCK<T> + 1};
    for (const int64_t M : edges)
        for (const int64_t K : edges)
            for (const int64_t N : edges) {
                check_fused_activations<T>(M, K, N);
                check_fused_updates<T>(M, K, N);
            }
    check_fused_images<T>();
    // Enough rows of weights that dy is packed, and the largest number of samples that may be fused.
    const int64_t rows = TALL * tile_rows(TILE_COLUMNS) + 1;
    check_fused_updates<T>(5, rows, BLOCK<T> + 1);
    check_fused_updates<T>(MOST_FUSED_ROWS, rows, (BLOCKS_TO_COPY - 1) * BLOCK<T> + 1);
    // Gradients in chunks: too few rows and enough, all kinds of rows of sums, the last vector in the last row.
    for (const int64_t samples : {2 * CHUNK_ROWS - 1, 2 * CHUNK_ROWS, MOST_FUSED_ROWS})
        for (const int64_t columns : {int64_t(1), LANES<T> - int64_t(1), BLOCK<T>, BLOCK<T> + 3})
            check_fused_updates<T>(samples, tile_rows(1) + 3, columns);
    // So few features that the blocks of columns are narrower.
    for (const int64_t features : {tile_rows(TILE_COLUMNS) + 1, tile_rows(TILE_COLUMNS - 1) + 1, tile_rows(1)})
        check_fused_updates<T>(2 * CHUNK_ROWS, features, BLOCK<T>);
    check_fused_activations<T>(rows, 5, BLOCK<T> + 1);
    check_fused_activations<T>(MANY_ROWS + 5, LANES<T> + 1, THIN<T>);
    check_fused_activations<T>(2 * LANES<T> + 1, FEATURES_TO_HALVE + 1, THIN<T> + 1);
}

}  // namespace
