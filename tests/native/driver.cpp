// Tests the native core without Python, under sanitizers: sanitize.py compiles and runs this file.
//
// Part one calls every kernel with edge-case sizes in both float types, on 1 to 4 threads. A kernel must
// write all of its outputs, leave its inputs unchanged, and give the same bits on any number of threads and
// at any alignment; the dense kernels must agree with a plain triple loop on integers, for which both are
// exact. Every array is a heap block of exactly its size, so that AddressSanitizer detects accesses beyond
// it. GCC's AddressSanitizer does not check masked loads and stores, so every array is also placed directly
// before a protected page.
//
// Part two exercises the thread team: several callers at once, a different number of threads in each call,
// workers that fall asleep, fork, and out-of-memory. It also runs plans, alone and concurrently.
//
//     driver [no-fork] [verbose]
//
// "no-fork" skips the fork tests, which ThreadSanitizer does not support and Windows does not have. "verbose"
// prints the name of each case before it runs, to show in which case a sanitizer or a guard page ends the run.
// The exit code is 0, or 1 after a message that names the failing case.

#include "augment.hpp"
#include "bf16.hpp"
#include "cases.hpp"
#include "fused.hpp"
#include "images.hpp"
#include "indices.hpp"
#include "plans.hpp"
#include "products.hpp"
#include "tables.hpp"

namespace {

// --- part one: every kernel ---

// Elementwise functions of a user.
template <class T> void negate(const T *x, T *y, int64_t n) {
    for (int64_t e = 0; e < n; ++e) y[e] = -x[e];
}
template <class T> void multiply_each(const T *x, const T *dy, T *dx, int64_t n) {
    for (int64_t e = 0; e < n; ++e) dx[e] = x[e] * dy[e];
}

template <class T> void check_elementwise_kernels(int64_t count) {
    const auto x = numbers<T>(count), dy = numbers<T>(count), target = numbers<T>(count);
    const std::pair<const char *, KernelId> forward[] = {{"relu_forward", RELU_FORWARD},
                                                         {"sigmoid_forward", SIGMOID_FORWARD},
                                                         {"tanh_forward", TANH_FORWARD},
                                                         {"exp_forward", EXP_FORWARD},
                                                         {"log_forward", LOG_FORWARD}};
    for (const auto &[name, kernel] : forward)
        check_elementwise(make<T>(name, kernel, {count}, {input(x), output<T>(count)}), 1);
    const std::pair<const char *, KernelId> backward[] = {
        {"relu_dx", RELU_DX}, {"sigmoid_dx", SIGMOID_DX}, {"tanh_dx", TANH_DX}, {"add", ADD}};
    for (const auto &[name, kernel] : backward)
        check_elementwise(make<T>(name, kernel, {count}, {input(x), input(dy), output<T>(count)}), 2);

    Case forward_by_user =
        make<T>("elementwise_forward", ELEMENTWISE_FORWARD, {count}, {input(x), output<T>(count)});
    forward_by_user.call["function"] = reinterpret_cast<void *>(negate<T>);
    check_elementwise(forward_by_user, 1);
    Case dx_by_user =
        make<T>("elementwise_dx", ELEMENTWISE_DX, {count}, {input(x), input(dy), output<T>(count)});
    dx_by_user.call["function"] = reinterpret_cast<void *>(multiply_each<T>);
    check_elementwise(dx_by_user, 2);

    const std::vector<std::uint64_t> bits{random_bits()};
    for (const double rate : {0.0, 0.3, 1.0})
        check_elementwise(
            make<T>("dropout", DROPOUT, {count}, {input(x), input(bits), output<T>(count)}, {rate}), 1);

    for (const double number : {0.0, 0.3}) {
        const std::pair<const char *, KernelId> with_number[] = {{"leaky_relu_forward", LEAKY_RELU_FORWARD},
                                                                 {"elu_forward", ELU_FORWARD},
                                                                 {"gelu_forward", GELU_FORWARD},
                                                                 {"silu_forward", SILU_FORWARD}};
        for (const auto &[name, kernel] : with_number)
            check_elementwise(make<T>(name, kernel, {count}, {input(x), output<T>(count)}, {number}), 1);
        const std::pair<const char *, KernelId> their_gradients[] = {
            {"leaky_relu_dx", LEAKY_RELU_DX}, {"elu_dx", ELU_DX}, {"gelu_dx", GELU_DX}, {"silu_dx", SILU_DX}};
        for (const auto &[name, kernel] : their_gradients)
            check_elementwise(
                make<T>(name, kernel, {count}, {input(x), input(dy), output<T>(count)}, {number}), 2);
        for (const bool weighted : {false, true})
            for (const bool gradient : {false, true})
                check(make<T>("binary_cross_entropy", BINARY_CROSS_ENTROPY, {count, weighted ? 1 : count},
                              {input(x), input(target), weighted ? input(numbers<T>(2)) : Argument{},
                               output<T>(count), gradient ? output<T>(count) : Argument{}},
                              {number, 0.5}));
        check(make<T>("dice of one class", DICE, {1, count, 1},
                      {input(x), input(target), {}, output<T>(1), output<T>(count)}, {number, 0.5}));
    }
    int64_t correct = 5;
    for (int64_t i = 0; i < count; ++i)
        correct += !(target[i] < 0) && (x[i] > 0 ? target[i] > T(0.5) : !(target[i] > T(0.5)));
    check(serial(make<T>("count_correct_binary", COUNT_CORRECT_BINARY, {count},
                         {input(x), input(target), updated<int64_t>({5}, {correct})})));
    for (const KernelId kernel : {SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, POISSON, BINARY_HINGE})
        for (const bool gradient : {false, true})
            check(make<T>(kernel_name(kernel), kernel, {count},
                          {input(x), input(target), output<T>(count), gradient ? output<T>(count) : Argument{}},
                          {1, 0.5}));

    const int64_t nonfinite =
        std::count_if(x.begin(), x.end(), [](T value) { return !std::isfinite(value); });
    check(serial(make<T>("count_nonfinite", COUNT_NONFINITE, {count},
                         {input(x), output(std::vector<int64_t>{nonfinite})})));
    const int64_t outside = std::count_if(x.begin(), x.end(), [](T value) { return value < 0 || value > 1; });
    check(serial(make<T>("count_outside", COUNT_OUTSIDE, {count},
                         {input(x), output(std::vector<int64_t>{outside})}, {0, 1})));

    const std::vector<double> sgd{0.1, 0.9, 0.01, 1}, adam{0.01, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, 0};
    check(make<T>("sgd", SGD, {count}, {input(dy), input(sgd), updated(x), updated(target)}));
    check(make<T>("sgd without momentum", SGD, {count}, {input(dy), input(sgd), {}, updated(target)}));
    check(make<T>("adam", ADAM, {count},
                  {input(dy), input(adam), updated(x), updated(numbers<T>(count)), updated(target)}));

    const std::vector<double> rmsprop{0.1, 0.9, 1e-8, 0.01, 0.5}, bound{0.3};
    check(make<T>(
        "rmsprop", RMSPROP, {count},
        {input(dy), input(rmsprop), updated(whole<T>(count)), updated(x), updated(target), updated(x)}));
    check(make<T>("rmsprop alone", RMSPROP, {count},
                  {input(dy), input(rmsprop), updated(whole<T>(count)), {}, {}, updated(x)}));
    check(make<T>("sum_squares", SUM_SQUARES, {count}, {input(dy), output<double>(1)}));
    check(serial(make<T>("clip_factor", CLIP_FACTOR, {1},
                         {input(bound), input(bound), output<double>(1), output<double>(1)})));
    check(make<T>("multiply", MULTIPLY, {count}, {input(bound), updated(x)}));
    check(make<T>("clamp", CLAMP, {count}, {input(bound), updated(x)}));
    check(make<T>("hold", HOLD, {count}, {input(dy), input(target), updated(x)}));
    check(make<T>("hold zero", HOLD, {count}, {input(dy), {}, updated(x)}));
    check(
        make<T>("ema", EMA, {count}, {input(target), input(std::vector<int64_t>{5}), updated(x)}, {0.9, 1}));

    check(make<T>("probe_fma", PROBE_FMA, {1, 3}, {updated(whole<T>(1))}));
    if (count) check(make<T>("probe_read", PROBE_READ, {count, 3}, {updated(whole<T>(count))}));
    check(make<T>("probe_update", PROBE_UPDATE, {count, 3}, {updated(x)}));
}

template <class T> void check_kernels_on_rows(int64_t M, int64_t C) {
    const std::vector<int64_t> sizes{M, C};
    const auto z = numbers<T>(M * C), other = numbers<T>(M * C);
    check(make<T>("softmax_forward", SOFTMAX_FORWARD, sizes, {input(z), output<T>(M * C)}));
    check(make<T>("softmax_dx", SOFTMAX_DX, sizes, {input(z), input(other), output<T>(M * C)}));
    for (const bool weighted : {false, true})
        for (const double smoothing : {0.0, 0.1})
            for (const bool gradient : {false, true}) {
                const Argument weight = weighted ? input(numbers<T>(C)) : Argument{};
                const Argument dz = gradient ? output<T>(M * C) : Argument{};
                const std::vector<double> scalars{smoothing, 0.5};
                for (const KernelId kernel : {CROSS_ENTROPY_LABELS, FOCAL_LABELS, HINGE_LABELS}) {
                    if (C)  // there is no label in an empty range
                        check(make<T>(kernel_name(kernel), kernel, {M, C, C},
                                      {input(z), input(indices(M, C)), weight, output<T>(M), dz}, scalars));
                    check(make<T>(kernel_name(kernel) + " with ignored rows", kernel, {M, C, C + 1},
                                  {input(z), input(indices(M, C + 1)), input(whole<T>(C + 1)), output<T>(M), dz},
                                  scalars));
                }
                check(make<T>("cross_entropy_soft", CROSS_ENTROPY_SOFT, sizes,
                              {input(z), input(other), weight, output<T>(M), dz}, scalars));
                check(make<T>("focal_soft", FOCAL_SOFT, sizes,
                              {input(z), input(other), weight, output<T>(M), dz}, scalars));
                check(make<T>("dice", DICE, {2, M, C},
                              {input(numbers<T>(2 * M * C)), input(numbers<T>(2 * M * C)), weight,
                               output<T>(2 * C), gradient ? output<T>(2 * M * C) : Argument{}},
                              scalars));
                check(make<T>("binary_cross_entropy by rows", BINARY_CROSS_ENTROPY, {M * C, C},
                              {input(z), input(other), weighted ? input(numbers<T>(2 * C)) : Argument{},
                               output<T>(M * C), gradient ? output<T>(M * C) : Argument{}},
                              scalars));
            }
}

template <class T, class S> void check_gather(KernelId kernel, int64_t M, int64_t D) {
    constexpr int64_t ROWS = 7;
    std::vector<S> source;
    for (int64_t i = 0; i < ROWS * D; ++i) source.push_back(S(random_below(256)));
    for (const double scale : {1.0, 0.5}) {
        const std::vector<int64_t> index = indices(M, ROWS);
        std::vector<T> expected;
        for (const int64_t row : index)
            for (int64_t d = 0; d < D; ++d)
                expected.push_back(T(double(source[std::size_t(row * D + d)]) * scale));
        check(make<T>("gather", kernel, {M, D, ROWS}, {input(source), input(index), output(expected)},
                      {scale}));
    }
}

template <class T> void check_weighted_losses() {
    for (const int64_t M : {0, 1, 5, 300})
        for (const bool gradient : {false, true})
            for (const Argument &factors : {Argument{}, input(std::vector<double>{2, 0.5})})
                check(make<T>("weigh_loss", WEIGH_LOSS, {M, 3, 19},
                              {input(numbers<T>(M)), factors, updated(numbers<T>(3 * M)),
                               gradient ? updated(numbers<T>(19 * M)) : Argument{}}));
}

// Cases that run on one thread, whatever the number of threads.
template <class T> void check_serial_kernels() {
    const std::vector<int64_t> labels{0, 2, 1, 2};
    if (!in_range(labels.data(), 4, 3) || in_range(labels.data(), 4, 2) || !in_range(nullptr, 0, 0))
        fail("in_range");
    const std::vector<T> weight{1, 2, 4}, losses{1, 2, 4}, y{1, 3, 2, 1, 2, 3, 4, 4, 4, 0, 1, 0};
    const std::vector<double> factors{11, 1 / 11.0};
    check(make<T>("label_divisor", LABEL_DIVISOR, {4, 3},
                  {input(weight), input(labels), {}, output(factors)}, {1}));
    check(make<T>("label_divisor of nothing", LABEL_DIVISOR, {0, 3},
                  {input(weight), input(indices(0, 3)), {}, output<double>(2)}, {1}));
    const std::vector<T> sample_weight{3, 0, 1, 2};
    check(make<T>("label_divisor of samples and labels", LABEL_DIVISOR, {4, 3},
                  {input(weight), input(labels), input(sample_weight),
                   output(std::vector<double>{13, 1 / 13.0})},
                  {1}));
    check(make<T>("label_divisor of samples", LABEL_DIVISOR, {4, 0},
                  {{}, {}, input(sample_weight), output(std::vector<double>{12, 1 / 12.0})}, {2}));
    check(
        make<T>("reduce_loss", REDUCE_LOSS, {3}, {input(losses), output(std::vector<double>{3.5}), {}}, {2}));
    check(make<T>("reduce_loss by weights", REDUCE_LOSS, {3},
                  {input(losses), output(std::vector<double>{7 / 11.0}), input(factors)}, {2}));
    const std::vector<int64_t> before{5}, after{6};
    check(make<T>("count_correct of labels", COUNT_CORRECT, {4, 3},
                  {input(y), input(labels), {}, updated(before, after)}));
    check(make<T>("count_correct of targets", COUNT_CORRECT, {1, 12},
                  {input(y), {}, input(y), updated(before, after)}));
    check(make<T>("advance", ADVANCE, {}, {updated(before, after)}));
    check(make<T>("adam_corrections", ADAM_CORRECTIONS, {},
                  {input(std::vector<int64_t>{2}),
                   updated<double>({0.1, 0.5, 0.25, 0, 0, 0, 0}, {0.1, 0.5, 0.25, 0, 0, 0.75, 0.9375})}));
    const std::uint64_t key = random_bits();
    check(make<T>("random_next", RANDOM_NEXT, {},
                  {updated<std::uint64_t>({key, 7}, {key, 8}), output<std::uint64_t>(1)}));
    for (const int64_t M : {0, 1, 5}) {
        const std::vector<int64_t> index = indices(M, 4);
        std::vector<int64_t> gathered;
        for (const int64_t i : index) gathered.push_back(labels[std::size_t(i)]);
        check(make<T>("gather_labels", GATHER_LABELS, {M, 1, 4},
                      {input(labels), input(index), output(gathered)}));
        const std::vector<int64_t> pair(std::size_t(M), 1);
        std::vector<int64_t> pairs;
        for (int64_t m = 0; m < M; ++m) pairs.insert(pairs.end(), {1, 2});
        check(make<T>("gather_labels of pixels", GATHER_LABELS, {M, 2, 2},
                      {input(labels), input(pair), output(pairs)}));
    }
}

template <class T> void check_every_kernel() {
    check_dense<T>();
    check_conv<T>();
    check_pool<T>();
    check_augmentation<T>();
    check_norms<T>();
    check_tables<T>();
    for (int64_t count = 0; count <= 2 * LANES<T> + 1; ++count) check_elementwise_kernels<T>(count);
    check_elementwise_kernels<T>(1003);
    for (const int64_t M : {0, 1, 5})
        for (int64_t C = 0; C <= 2 * LANES<T> + 1; ++C) check_kernels_on_rows<T>(M, C);
    for (const int64_t M : {0, 1, 5})
        for (const int64_t D : {0, 1, 3, 64, 67}) {
            check_gather<T, std::uint8_t>(GATHER_BYTES, M, D);
            check_gather<T, float>(GATHER_FLOATS, M, D);
            check_gather<T, double>(GATHER_DOUBLES, M, D);
        }
    check_serial_kernels<T>();
    check_weighted_losses<T>();
    check_invalid_indices<T>();
    check_fused_kernels<T>();
    if constexpr (sizeof(T) == sizeof(float)) check_bf16();
    constexpr int type = sizeof(T) == sizeof(double);
    for (int kernel = 0; kernel < KERNEL_COUNT; ++kernel)
        if (table.kernel[kernel][type] && !has_run[kernel][type])
            fail(std::string("no case for ") + kernel_name(KernelId(kernel)));
}

// --- part two: the thread team ---

// Some cases with and without scratch memory, and their results.
struct Expected {
    Case c;
    std::vector<Bytes> result;
};

std::vector<Expected> some_cases() {
    std::vector<Expected> some;
    const auto add = [&some](const Case &c) { some.push_back({c, result_of(c, 1)}); };
    for (const int64_t size : {5, 40, 130}) {
        const int64_t area = size * size;
        const std::vector<int64_t> sizes{1, size, size, size};
        add(make<float>("dense_forward", DENSE_FORWARD, sizes,
                        {input(whole<float>(area)), input(whole<float>(area)), {}, output<float>(area)}));
        add(make<double>("dense_dx", DENSE_DX, sizes,
                         {input(whole<double>(area)), input(whole<double>(area)), output<double>(area)}));
        add(make<float>("softmax_forward", SOFTMAX_FORWARD, {size, size},
                        {input(numbers<float>(area)), output<float>(area)}));
    }
    return some;
}

void check_again(const Expected &expected, int threads) {
    if (result_of(expected.c, threads) != expected.result)
        fail(expected.c.name + ": wrong beside other callers, or in a child");
}

// Longer than a worker spins before it sleeps.
void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

// Four callers at once: one uses the team, the others run their parts alone. All of them change the number of
// threads from call to call, and pause now and then, so that the workers fall asleep and are woken.
void check_callers(const std::vector<Expected> &some) {
    constexpr int ROUNDS = 200;
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller)
        callers.emplace_back([&some, caller] {
            for (int round = 0; round < ROUNDS; ++round) {
                const bool in_session = (caller + round) % 4 == 0;
                if (in_session) open_session(MAX_THREADS, 1e18);
                check_again(some[std::size_t(caller + round) % some.size()],
                            1 + (caller + round) % (MAX_THREADS + 2));
                if (in_session) close_session();
                if (round % 20 == 0) pause();
            }
        });
    for (std::thread &caller : callers) caller.join();
}

// A child process has the team's memory but not its threads.
void check_fork(const std::vector<Expected> &some) {
    const auto check_all = [&some] {
        for (const Expected &expected : some) check_again(expected, MAX_THREADS);
    };
    in_child([&] {
        check_all();
        in_child(check_all);  // and so has the child of a child
        check_callers(some);
    });
    check_all();

    // The same while another thread uses the team, which therefore looks busy forever in the child.
    std::atomic<bool> started{false}, stop{false};
    std::thread busy([&] {
        const Prepared prepared(some.back().c);
        while (!stop) {
            prepared.run(MAX_THREADS);
            started = true;
        }
    });
    while (!started) pause();
    for (int i = 0; i < 10; ++i) in_child(check_all);
    stop = true;
    busy.join();
    check_all();
}

// A call whose scratch memory cannot be allocated runs nothing, and the next call runs normally.
void check_out_of_memory(const std::vector<Expected> &some) {
    Case huge = some[1].c;  // dense_dx, which needs memory for each of the N
    huge.call.size[3] = int64_t(1) << 50;
    const Prepared prepared(huge);
    if (prepared.run(MAX_THREADS)) fail("a petabyte of scratch memory was found");
    if (prepared.contents().back() != huge.arguments.back().before)
        fail("a call without scratch memory was run");
    check_again(some.front(), MAX_THREADS);
}

}  // namespace

int main(int argc, char **argv) {
    bool with_fork = HAS_FORK;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument == "no-fork")
            with_fork = false;
        else if (argument == "verbose")
            verbose = true;
        else
            fail("unknown argument " + argument);
    }
    check_every_kernel<float>();
    check_every_kernel<double>();
    const std::vector<Expected> some = some_cases();
    check_callers(some);
    check_thread_choice();
    check_plans<float>();
    check_populations<float>();
    check_plans<double>();
    check_populations<double>();
    if (with_fork) check_fork(some);
    check_out_of_memory(some);
    return 0;
}
