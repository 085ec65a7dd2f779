// Runs the same step of several small models at once: lane i of each vector belongs to model i.
//
// A net such as 16-16-2 leaves most lanes of a vector empty, and most of its step is spent between kernels.
// Here each array of a step is stored once for all models, element by element: element e of model i is at
// [e * lanes + i]. The kernels of lanes.hpp do for each lane what the kernels of a single model do for its
// arrays, in the same order, so that each model gets the bits that it gets alone.
//
// A run copies the arrays of all models into this form, makes its steps, and copies what they have changed
// back. Between two runs nothing is kept, so the models may be used in any other way.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <new>
#include <utility>

#include "plan/extents.hpp"
#include "plan/plan.hpp"

namespace fastnn {

// One model of a population, and the mini-batches of its next steps: the samples of step s begin at
// index[s * stride]. `rates` holds the learning rate of each step, or is null.
struct Individual {
    const Plan *plan;
    const std::int64_t *index;
    const double *rates;
    double *losses;
};

// Whether each call has a kernel for several models at once.
inline bool have_lanes(const std::vector<Call> &calls) {
    Extents extents;
    return std::all_of(calls.begin(), calls.end(), [&](const Call &call) { return describe(call, extents); });
}

class Population {
public:
    Population(const Table &table, std::vector<Individual> individuals)
        : table_(table), individuals_(std::move(individuals)), calls_(first().calls) {}

    // Prepares the steps. Returns false if the plans are not alike, if there are more models than lanes, or if
    // a call has no kernel for several models: then nothing can be run.
    bool prepare() {
        if (first().inputs.size() != 1 || !finds_type()) return false;
        for (const Individual &each : individuals_)
            if (each.plan->change || each.plan->calls.size() != calls_.size()) return false;
        for (std::size_t i = 0; i < calls_.size(); ++i)
            if (!add_call(i)) return false;
        return !arrays_overlap() && allocate() && find_numbers();
    }

    // Runs up to `steps` steps, and begins no further one after `seconds`. Returns the number of completed
    // steps. A step in which a check fails for any model ends the run, and has changed no model.
    std::int64_t run(std::int64_t steps, std::int64_t stride, double seconds) {
        const Clock::time_point begin = Clock::now();
        copy(false);
        std::int64_t step = 0;
        while (step < steps) {
            bind(step, stride);
            if (!run_step()) break;
            for (int model = 0; model < count(); ++model)
                individuals_[std::size_t(model)].losses[step] = loss_[model];
            ++step;
            if (std::chrono::duration<double>(Clock::now() - begin).count() > seconds) break;
        }
        if (step == 0) return 0;
        copy(true);
        for (const Individual &each : individuals_)  // as a step of a single model leaves them
            if (each.rates)
                for (const LearningRate &rate : each.plan->rates)
                    *rate.place = each.rates[step - 1] * rate.scale;
        return step;
    }

private:
    using Clock = std::chrono::steady_clock;

    // The arrays that have one role in the step, one of each model.
    struct Role {
        std::vector<char *> own;
        std::int64_t count;  // of elements
        int bytes;           // of an element; SHARED: each model reads its own array in place
        bool is_index, is_written;
        char *all;  // the arrays of all models, interleaved; of a SHARED role, their addresses
    };
    // A learning rate in the memory of the population.
    struct Rate {
        double *place, scale;
        int lane;
    };

    const Table &table_;
    std::vector<Individual> individuals_;
    std::vector<Call> calls_;
    std::vector<Kernel> kernels_;  // of each call; null for a check
    std::vector<Role> roles_;
    std::vector<std::array<int, MAX_OPERANDS>> role_of_;  // each operand of each call; -1 for none
    std::vector<Rate> rates_;
    std::unique_ptr<char[]> memory_;
    int is_double_ = -1, lanes_ = 0;
    double *loss_ = nullptr;

    const Plan &first() const { return *individuals_[0].plan; }
    int count() const { return int(individuals_.size()); }
    // The model whose data a lane holds: the lanes left over repeat the first one.
    int model_of(int lane) const { return lane < count() ? lane : 0; }

    // The float type of the dense layers, on which the number of lanes depends.
    bool finds_type() {
        for (const Call &call : calls_)
            if (call.kernel == DENSE_FORWARD) is_double_ = call.is_double;
        lanes_ = is_double_ < 0 ? 0 : table_.lane_count[is_double_];
        return count() <= lanes_;
    }

    bool add_call(std::size_t i) {
        const Call &call = calls_[i];
        Extents extents;
        if (!describe(call, extents)) return false;
        const auto &kernels = is_elementwise(call.kernel) ? table_.kernel : table_.lanes;
        kernels_.push_back(kernels[call.kernel][is_double_]);
        if (!kernels_.back() && !is_check(call.kernel)) return false;
        for (const Individual &each : individuals_)
            if (!is_alike(call, each.plan->calls[i])) return false;
        role_of_.push_back({});
        role_of_.back().fill(-1);
        for (int j = 0; operand_name(call.kernel, j); ++j) {
            if (extents.bytes[j] == Extents::REAL) {
                if (call.array[j] && call.is_double != is_double_) return false;
                extents.bytes[j] = is_double_ ? 8 : 4;
            }
            if (!add_operand(i, j, extents.count[j], extents.bytes[j])) return false;
        }
        return true;
    }

    static bool is_alike(const Call &a, const Call &b) {
        return a.kernel == b.kernel && a.is_double == b.is_double && a.activation == b.activation &&
               std::memcmp(a.size, b.size, sizeof a.size) == 0 &&
               std::memcmp(a.scalar, b.scalar, sizeof a.scalar) == 0;
    }

    // Finds the role of an operand, or adds a new one. Returns false if the models do not agree about it.
    bool add_operand(std::size_t i, int j, std::int64_t size, int bytes) {
        std::vector<char *> own;
        for (const Individual &each : individuals_) {
            own.push_back(static_cast<char *>(each.plan->calls[i].array[j]));
            if (bool(own.back()) != bool(own[0])) return false;
        }
        if (!own[0]) return true;
        const std::vector<InputBuffer::Place> &places = first().inputs[0].places;
        const bool is_index = std::any_of(places.begin(), places.end(), [=](const InputBuffer::Place &place) {
            return place.call == i && place.operand == j;
        });
        const bool is_written = is_output(calls_[i].kernel, j);
        std::size_t role = 0;
        while (role < roles_.size() &&
               !(is_index ? roles_[role].is_index : !roles_[role].is_index && roles_[role].own[0] == own[0]))
            ++role;
        role_of_[i][std::size_t(j)] = int(role);
        if (role == roles_.size()) {
            roles_.push_back({own, size, bytes, is_index, is_written, nullptr});
            return true;
        }
        Role &known = roles_[role];
        known.count = std::max(known.count, size);
        known.is_written |= is_written;
        return known.bytes == bytes && (is_index || known.own == own);
    }

    // Whether two arrays overlap, of the same or of different models: they cannot be interleaved.
    bool arrays_overlap() const {
        std::vector<std::pair<const char *, const char *>> spans;
        for (const Role &role : roles_)
            if (!role.is_index && role.bytes != Extents::SHARED)
                for (const char *begin : role.own) spans.push_back({begin, begin + role.count * role.bytes});
        std::sort(spans.begin(), spans.end());
        for (std::size_t i = 1; i < spans.size(); ++i)
            if (spans[i].first < spans[i - 1].second) return true;
        return false;
    }

    // Gives each role its memory, and the calls their operands there.
    bool allocate() {
        const auto bytes_of = [this](const Role &role) {
            const bool is_shared = role.bytes == Extents::SHARED;
            return whole_lines(lanes_ * (is_shared ? std::int64_t(sizeof(char *)) : role.count * role.bytes));
        };
        std::int64_t sums = 0;  // of a layer: the second halves of its outputs, or its gradient of some chunks
        for (const Call &call : calls_)
            if (const DenseSizes size = call.sizes<DenseSizes>(); call.kernel == DENSE_FORWARD)
                sums = std::max(sums, size.M * size.N);
            else if (is_weight_gradient(call.kernel) && updates_by_chunks(size))
                sums = std::max(sums, size.K * size.N);
        std::int64_t total = CACHE_LINE + whole_lines(sums * lanes_ * (is_double_ ? 8 : 4));
        for (const Role &role : roles_) total += bytes_of(role);
        memory_.reset(new (std::nothrow) char[std::size_t(total)]);
        if (!memory_) return false;
        char *next = memory_.get() + (CACHE_LINE - reinterpret_cast<std::uintptr_t>(memory_.get()) % CACHE_LINE);
        for (Role &role : roles_) {
            role.all = next;
            next += bytes_of(role);
        }
        for (std::size_t i = 0; i < calls_.size(); ++i) {
            Call &call = calls_[i];
            for (std::size_t j = 0; j < MAX_OPERANDS; ++j)
                if (role_of_[i][j] >= 0) call.array[j] = roles_[std::size_t(role_of_[i][j])].all;
            call.scratch = next;
            call.is_double = is_double_;
            if (is_elementwise(call.kernel) || call.kernel == CHECK_INDEX) call.size[0] *= lanes_;
        }
        return true;
    }

    static bool is_weight_gradient(KernelId kernel) {
        return kernel == DENSE_DW || kernel == DENSE_DW_SGD || kernel == DENSE_DW_ADAM;
    }

    // The role of an array of one model, or null.
    const Role *role_of_array(int model, const void *array) const {
        for (const Role &role : roles_)
            if (!role.is_index && role.own[std::size_t(model)] == array) return &role;
        return nullptr;
    }

    // Finds where the loss and the learning rates are. Returns false if they have no place in the step.
    bool find_numbers() {
        const Role *const loss = role_of_array(0, first().loss);
        if (!loss) return false;
        loss_ = reinterpret_cast<double *>(loss->all);
        for (int lane = 0; lane < lanes_; ++lane) {
            const Individual &individual = individuals_[std::size_t(model_of(lane))];
            if (!individual.rates) continue;
            for (const LearningRate &rate : individual.plan->rates) {
                const Role *const role = role_of_array(model_of(lane), rate.place);
                if (!role) return false;
                rates_.push_back({reinterpret_cast<double *>(role->all) + lane, rate.scale, lane});
            }
        }
        return true;
    }

    // Interleaves the arrays of the models, or with `back` copies what the steps have written to them.
    void copy(bool back) {
        for (const Role &role : roles_) {
            if (role.is_index || (back && !role.is_written)) continue;
            if (role.bytes == Extents::SHARED)
                for (int lane = 0; lane < lanes_; ++lane)
                    reinterpret_cast<char **>(role.all)[lane] = role.own[std::size_t(model_of(lane))];
            else if (role.bytes == 4)
                copy<std::uint32_t>(role, back);
            else
                copy<std::uint64_t>(role, back);
        }
    }
    template <class Element> void copy(const Role &role, bool back) {
        constexpr std::int64_t SIZE = sizeof(Element);
        const int lanes = back ? count() : lanes_;
        std::vector<char *> own;
        for (int lane = 0; lane < lanes; ++lane) own.push_back(role.own[std::size_t(model_of(lane))]);
        char *all = role.all;
        for (std::int64_t e = 0; e < role.count; ++e, all += lanes_ * SIZE)
            for (int lane = 0; lane < lanes; ++lane) {
                char *const together = all + lane * SIZE, *const alone = own[std::size_t(lane)] + e * SIZE;
                back ? std::memcpy(alone, together, SIZE) : std::memcpy(together, alone, SIZE);
            }
    }

    // Provides the indices of the samples and the learning rates of a step.
    void bind(std::int64_t step, std::int64_t stride) {
        for (const Role &role : roles_) {
            if (!role.is_index) continue;
            std::int64_t *const all = reinterpret_cast<std::int64_t *>(role.all);
            for (int lane = 0; lane < lanes_; ++lane) {
                const std::int64_t *const own = individuals_[std::size_t(model_of(lane))].index + step * stride;
                for (std::int64_t m = 0; m < role.count; ++m) all[m * lanes_ + lane] = own[m];
            }
        }
        for (const Rate &rate : rates_)
            *rate.place = individuals_[std::size_t(model_of(rate.lane))].rates[step] * rate.scale;
    }

    bool run_step() {
        for (std::size_t i = 0; i < calls_.size(); ++i) {
            if (kernels_[i])
                kernels_[i](calls_[i], 0, 1);
            else if (calls_[i].kernel == CHECK_INDEX ? !passes(calls_[i]) : !all_finite(calls_[i]))
                return false;
        }
        return true;
    }

    bool all_finite(const Call &check) const {
        const double *const loss = check.in<double>(operands::CHECK_FINITE::loss);
        return std::all_of(loss, loss + lanes_, [](double each) { return std::isfinite(each); });
    }
};

}  // namespace fastnn
