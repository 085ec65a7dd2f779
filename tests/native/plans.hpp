// Tests whole plans.
#pragma once

#include <memory>

#include "cases.hpp"
#include "fusion/fusion.hpp"
#include "plan/plan.hpp"
#include "plan/population.hpp"

namespace {

thread_local int threads_of_plan = 1;

bool run_on_team(Call *call) { return execute_call(table, *call, threads_of_plan); }
bool run_alone(Call *call) { return execute_call(table, *call, 1); }

// A training step of x -> dropout -> linear -> relu -> linear -> cross-entropy on samples taken by index,
// with running moments of x. A plain one has neither dropout nor moments. `seed` determines the weights.
template <class T> class Net {
public:
    static constexpr int64_t SAMPLES = 12, M = 5, D = 19, H = 2 * LANES<T> + 3, C = 3;

    explicit Net(bool fused, bool plain = false, int64_t seed = 0) : seed(seed) {
        const std::vector<T> &first = plain ? x : dropped;
        add(CHECK_INDEX, {M, SAMPLES}, {index.data()});
        add(GATHER_DOUBLES, {M, D, SAMPLES}, {source.data(), index.data(), x.data()}, {1});
        add(GATHER_LABELS, {M, 1, SAMPLES}, {classes.data(), index.data(), label.data()});
        if (!plain) {
            add(BATCH_MOMENTS, {M, D}, {x.data(), mean.data(), var.data()});
            add(RUNNING_MOMENTS, {M, D},
                {mean.data(), var.data(), running_mean.data(), running_var.data(), before.data()}, {0.1});
            add(RANDOM_NEXT, {}, {state.data(), bits.data()});
            add(DROPOUT, {M * D}, {x.data(), bits.data(), dropped.data()}, {0.3});
        }
        add(CHECK_INDEX, {M, C}, {label.data()});
        add(DENSE_FORWARD, {1, M, D, H}, {first.data(), w1.data(), b1.data(), a1.data()});
        add(RELU_FORWARD, {M * H}, {a1.data(), h.data()});
        add(DENSE_FORWARD, {1, M, H, C}, {h.data(), w2.data(), b2.data(), z.data()});
        add(CROSS_ENTROPY_LABELS, {M, C, C}, {z.data(), label.data(), nullptr, losses.data(), dz.data()},
            {0, 1.0 / M});
        add(REDUCE_LOSS, {M}, {losses.data(), loss.data()}, {M});
        add(CHECK_FINITE, {}, {loss.data()});
        add(DENSE_DX, {1, M, H, C}, {dz.data(), w2.data(), dh.data()});
        add(RELU_DX, {M * H}, {h.data(), dh.data(), da1.data()});
        add(DENSE_DW, {1, M, H, C}, {h.data(), dz.data(), dw2.data()});
        add(DENSE_DB, {1, M, H, C}, {dz.data(), db2.data()});
        add(DENSE_DW, {1, M, D, H}, {first.data(), da1.data(), dw1.data()});
        add(DENSE_DB, {1, M, D, H}, {da1.data(), db1.data()});
        add(SGD, {D * H}, {dw1.data(), hyper.data(), nullptr, w1.data()});
        add(SGD, {H}, {db1.data(), hyper.data(), nullptr, b1.data()});
        add(SGD, {H * C}, {dw2.data(), hyper.data(), nullptr, w2.data()});
        add(SGD, {C}, {db2.data(), hyper.data(), nullptr, b2.data()});
        if (fused) fuse(plan_.calls, true);
        plan_.loss = loss.data();
        plan_.add_input(index.data());
    }

    // Runs one step per mini-batch of `order`; returns the number of completed steps and why the run ended.
    std::pair<int64_t, Outcome> run(std::vector<int64_t> order, int threads) {
        std::vector<double> found(order.size() / M);
        Outcome outcome = RAN;
        threads_of_plan = threads;
        plan_.bind(0, reinterpret_cast<char *>(order.data()), M * sizeof(int64_t));
        const bool opened = open_session(threads, 1e18);
        const int64_t done = plan_.run(run_on_team, threads > 1 ? run_alone : nullptr, int64_t(found.size()),
                                       found.data(), 1e9, nullptr, nullptr, outcome);
        if (opened) close_session();
        found_.insert(found_.end(), found.begin(), found.begin() + done);
        return {done, outcome};
    }

    // The same steps, call by call.
    void run_separately(const std::vector<int64_t> &order) {
        for (std::size_t begin = 0; begin < order.size(); begin += M) {
            std::copy_n(order.begin() + std::ptrdiff_t(begin), M, index.begin());
            for (Call call : plan_.calls)
                if (table.kernel[call.kernel][0] && !execute_call(table, call, 1)) fail("no scratch memory");
            found_.push_back(loss[0]);
        }
    }

    const Plan &plan() const { return plan_; }
    void add_losses(const std::vector<double> &losses) {
        found_.insert(found_.end(), losses.begin(), losses.end());
    }

    void mislabel(int64_t sample) { classes[std::size_t(sample)] = C; }

    // Everything that training changes, and the losses of all steps.
    std::vector<Bytes> state_bytes() const {
        return {bytes_of(w1),           bytes_of(b1),          bytes_of(w2),    bytes_of(b2),
                bytes_of(running_mean), bytes_of(running_var), bytes_of(state), bytes_of(found_)};
    }

    std::size_t calls() const { return plan_.calls.size(); }

private:
    const int64_t seed;  // before the arrays, which it determines

    void add(KernelId kernel, const std::vector<int64_t> &sizes, const std::vector<const void *> &arrays,
             const std::vector<double> &scalars = {}) {
        Call call;
        call.kernel = kernel;
        call.is_double = sizeof(T) == sizeof(double);
        call.work = 1e18;
        for (std::size_t i = 0; i < sizes.size(); ++i) call.size[i] = sizes[i];
        for (std::size_t i = 0; i < arrays.size(); ++i) call.array[i] = const_cast<void *>(arrays[i]);
        for (std::size_t i = 0; i < scalars.size(); ++i) call.scalar[i] = scalars[i];
        plan_.calls.push_back(call);
    }

    // Small values, the same for each net.
    template <class S = T> static std::vector<S> some(int64_t count, int64_t seed) {
        std::vector<S> values;
        for (int64_t i = 0; i < count; ++i) values.push_back(S((i * 37 + seed) % 41 - 20) / S(16));
        return values;
    }
    static std::vector<T> zeros(int64_t count) { return std::vector<T>(std::size_t(count)); }
    static std::vector<int64_t> labels() {
        std::vector<int64_t> values;
        for (int64_t i = 0; i < SAMPLES; ++i) values.push_back(i % C);
        return values;
    }

    std::vector<double> source = some<double>(SAMPLES * D, 1), loss{0}, hyper{0.1, 0, 0.01, 0}, found_;
    std::vector<int64_t> classes = labels(), index = std::vector<int64_t>(M), label = index;
    std::vector<std::uint64_t> state{11, 0}, bits{0};
    std::vector<T> x = zeros(M * D), dropped = x, a1 = zeros(M * H), h = a1, dh = a1, da1 = a1;
    std::vector<T> mean = zeros(D), var = mean, running_mean = mean, running_var = mean,
                   before = zeros(2 * D);
    std::vector<T> z = zeros(M * C), dz = z, losses = zeros(M);
    std::vector<T> w1 = some(D * H, 2 + seed), dw1 = w1, b1 = some(H, 3), db1 = b1;
    std::vector<T> w2 = some(H * C, 4 + seed), dw2 = w2, b2 = some(C, 5), db2 = b2;
    Plan plan_;
};

// Fused or not, on any number of threads, alone or next to others, a plan must give the bits of the separate
// calls. A step that fails must change nothing.
template <class T> void check_plans() {
    constexpr int64_t STEPS = 60;  // more than before the end of the first trial of one thread
    const std::vector<int64_t> order = indices(STEPS * Net<T>::M, Net<T>::SAMPLES);
    const std::vector<int64_t> batch(order.begin(), order.begin() + Net<T>::M);
    using Result = std::pair<int64_t, Outcome>;
    const auto trained = [&](bool fused, int threads) {
        Net<T> net(fused);
        if (net.run(order, threads) != Result(STEPS, RAN)) fail("a plan did not run");
        const std::vector<Bytes> result = net.state_bytes();
        std::vector<int64_t> beyond = batch;
        beyond.back() = Net<T>::SAMPLES;
        if (net.run(beyond, threads) != Result(0, CHECK_FAILED)) fail("a plan took an index out of range");
        net.mislabel(batch.back());
        if (net.run(batch, threads) != Result(0, CHECK_FAILED)) fail("a plan took a label out of range");
        if (net.state_bytes() != result) fail("a step that failed changed something");
        return result;
    };
    Net<T> separate(false);
    separate.run_separately(order);
    const std::vector<Bytes> expected = separate.state_bytes();
    if (Net<T>(true).calls() + 6 != separate.calls()) fail("not all that can be fused is");
    for (const bool fused : {false, true})
        for (int threads = 1; threads <= MAX_THREADS; ++threads)
            if (trained(fused, threads) != expected) fail("a plan has other bits than its separate calls");
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 8; ++caller)
        callers.emplace_back([&trained, &expected, caller] {
            if (trained(true, 1 + caller % MAX_THREADS) != expected)
                fail("a plan has other bits beside others");
        });
    for (std::thread &caller : callers) caller.join();
}

// Steps of which one takes a microsecond alone and `together` on several threads: the number of those that
// ran alone.
int64_t steps_alone(ThreadChoice &choice, double together, int64_t steps) {
    int64_t count = 0;
    for (int64_t step = 0; step < steps; ++step) {
        const bool alone = choice.alone();
        if (choice.alike(1) != 1 || choice.alike(100000) > 16000) fail("no number of steps that are alike");
        count += alone;
        choice.count(choice.in_trial() ? alone ? 1.0 : together : 0);
    }
    return count;
}

// A plan must find the faster way within a few steps, keep to it, and notice when it changes.
void check_thread_choice() {
    ThreadChoice choice;
    if (steps_alone(choice, 0.6, 30) != 0) fail("a plan runs alone before a trial");
    if (steps_alone(choice, 0.6, 100000) > 100) fail("a plan runs alone though it is slower");
    if (steps_alone(choice, 2.0, 200000) < 180000) fail("a plan runs on several threads though it is slower");
    if (steps_alone(choice, 2.0, 200000) < 199000) fail("a plan tries several threads too often");
    for (int phase = 0; phase < 9; ++phase) {
        const bool alone = choice.alone();
        for (int64_t left = choice.alike(100000); left > 0; --left) {
            if (choice.alone() != alone) fail("steps that are not alike");
            choice.count(choice.in_trial() ? alone ? 1.0 : 2.0 : 0);
        }
    }
    if (steps_alone(choice, 0.6, 200000) > 20000) fail("a plan does not come back to several threads");
}

// Several models together must have the bits of each alone, and nothing changes in a step that fails for one.
template <class T> void check_populations() {
    const std::vector<int64_t> order = indices(20 * Net<T>::M, Net<T>::SAMPLES);
    for (const bool fused : {false, true})
        for (const int count : {1, 2, LANES<T>}) {
            std::vector<std::unique_ptr<Net<T>>> nets;
            std::vector<std::vector<double>> losses(std::size_t(count), std::vector<double>(20));
            std::vector<Bytes> alone, together;
            const auto add_states = [&nets](std::vector<Bytes> &states) {
                for (const auto &net : nets)
                    for (const Bytes &bytes : net->state_bytes()) states.push_back(bytes);
            };
            const auto renew = [&] {
                nets.clear();
                for (int i = 0; i < count; ++i) nets.push_back(std::make_unique<Net<T>>(fused, true, 7 * i));
            };
            renew();
            for (const auto &net : nets) net->run(order, 1);
            add_states(alone);
            renew();
            std::vector<Individual> individuals;
            for (std::size_t i = 0; i < nets.size(); ++i)
                individuals.push_back({&nets[i]->plan(), order.data(), nullptr, losses[i].data()});
            Population population(table, individuals);
            if (!population.prepare()) fail("a population cannot run");
            if (population.run(20, Net<T>::M, 1e9) != 20) fail("a population did not run");
            for (std::size_t i = 0; i < nets.size(); ++i) nets[i]->add_losses(losses[i]);
            add_states(together);
            if (together != alone) fail("models together have other bits than alone");
            nets.back()->mislabel(order[0]);
            if (Population again(table, individuals); !again.prepare() || again.run(20, Net<T>::M, 1e9))
                fail("a population took a label out of range");
            std::vector<Bytes> after;
            add_states(after);
            if (after != alone) fail("a step that failed for one model changed another");
        }
    const Net<T> net(true), plain(true, true);
    const Individual odd{&net.plan(), order.data(), nullptr, nullptr};
    if (Population(table, {odd}).prepare()) fail("a population takes a plan with dropout");
    if (Population(table, {odd, {&plain.plan(), order.data(), nullptr, nullptr}}).prepare())
        fail("a population takes plans that differ");
}

}  // namespace
