// How much a step changes the weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fastnn {

// Whether a step has changed the weights by at most `bound`: the Euclidean norm of the difference over all
// weights together, in double. Most steps change them by far more, which the first few weights show: such a
// step costs one copy of the weights and a look at a few of them.
class WeightChange {
public:
    double bound = 0, norm = 0;  // norm: of the last step, if it was still
    bool is_still = false;

    void add(const void *weights, std::int64_t count, bool is_double) {
        const std::int64_t bytes = count * std::int64_t(is_double ? sizeof(double) : sizeof(float));
        arrays_.push_back({weights, count, is_double, std::vector<char>(std::size_t(bytes))});
    }

    // To be called before a step.
    void remember() {
        is_still = false;
        for (Weights &each : arrays_) std::memcpy(each.before.data(), each.now, each.before.size());
    }

    // To be called after a step; returns `is_still`.
    bool look() {
        double total = 0;
        for (const Weights &each : arrays_)
            if (!(each.is_double ? add_squares<double>(each, total) : add_squares<float>(each, total)))
                return is_still = false;
        norm = std::sqrt(total);
        return is_still = true;
    }

private:
    struct Weights {
        const void *now;
        std::int64_t count;
        bool is_double;
        std::vector<char> before;
    };
    static constexpr std::int64_t BLOCK = 1024;  // weights between two looks at the sum

    // Adds the squares of the changes to `total`; false as soon as it is above the bound, or NaN.
    template <class T> bool add_squares(const Weights &weights, double &total) const {
        const T *const now = static_cast<const T *>(weights.now);
        const T *const before = reinterpret_cast<const T *>(weights.before.data());
        for (std::int64_t begin = 0; begin < weights.count; begin += BLOCK) {
            const std::int64_t end = std::min(begin + BLOCK, weights.count);
            for (std::int64_t i = begin; i < end; ++i) {
                const double change = double(now[i]) - double(before[i]);
                total += change * change;
            }
            if (!(total <= bound * bound)) return false;
        }
        return true;
    }

    std::vector<Weights> arrays_;
};

}  // namespace fastnn
