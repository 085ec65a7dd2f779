// Losses of each output alone, with their gradients, in one pass. scalar[0] is the parameter of the loss, if it
// has one, and scalar[1] the factor of the gradient (1 / divisor for a mean).
#pragma once

#include "plan/call.hpp"
#include "simd/vmath.hpp"

namespace fastnn {

// The losses of a vector of outputs, and their derivatives with respect to these outputs.
template <class T> struct PointLoss {
    Vec<T> loss, slope;
};

// losses and dy = slopes times the factor, of formula(y, target) -> PointLoss.
// y, target of any one shape -> losses and dy (or null) of that shape
template <class T, class Formula>
inline void pointwise_loss(const Call &call, int part, int parts, Formula formula) {
    using op = operands::SQUARED_ERROR;  // these kernels have the same operands
    const T *y = call.in<T>(op::y), *target = call.in<T>(op::target);
    T *losses = call.out<T>(op::losses), *dy = call.out<T>(op::dy);
    const T scale = T(call.scalar[1]);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        const PointLoss<T> found = formula(load_n(y + e, n), load_n(target + e, n));
        store_n(losses + e, found.loss, n);
        if (dy) store_n(dy + e, found.slope * scale, n);
    });
}

// (y - t)^2 / 2
template <class T> void squared_error(const Call &call, int part, int parts) {
    pointwise_loss<T>(call, part, parts, [](Vec<T> y, Vec<T> t) -> PointLoss<T> {
        const Vec<T> difference = y - t;
        return {T(0.5) * (difference * difference), difference};
    });
}

// |y - t|
template <class T> void absolute_error(const Call &call, int part, int parts) {
    pointwise_loss<T>(call, part, parts, [](Vec<T> y, Vec<T> t) -> PointLoss<T> {
        const Vec<T> zero{}, one = broadcast<T>(1), difference = y - t;
        const Vec<T> negative = select<T>(difference < zero, -one, difference);  // 0 and nan stay
        return {absolute<T>(difference), select<T>(difference > zero, one, negative)};
    });
}

// c (d - c / 2) with d = y - t and c = d clamped to [-delta, delta]; scalar[0] is delta
template <class T> void huber(const Call &call, int part, int parts) {
    const Vec<T> delta = broadcast(T(call.scalar[0]));
    pointwise_loss<T>(call, part, parts, [=](Vec<T> y, Vec<T> t) -> PointLoss<T> {
        const Vec<T> difference = y - t, slope = clamp<Vec<T>>(difference, -delta, delta);
        return {slope * (difference - slope * T(0.5)), slope};
    });
}

// exp(y) - t y and, if scalar[0] is not 0, + t log t - t
template <class T> void poisson(const Call &call, int part, int parts) {
    const bool deviance = call.scalar[0] != 0;
    pointwise_loss<T>(call, part, parts, [=](Vec<T> y, Vec<T> t) -> PointLoss<T> {
        const Vec<T> zero{}, mean = exp<T>(y), slope = mean - t;
        const Vec<T> terms = select<T>(t == zero, zero, t * (deviance ? log<T>(t) - y : -y));
        return {(deviance ? slope : mean) + terms, slope};
    });
}

// max(0, margin - (2 t - 1) y); scalar[0] is the margin
template <class T> void binary_hinge(const Call &call, int part, int parts) {
    const T margin = T(call.scalar[0]);
    pointwise_loss<T>(call, part, parts, [=](Vec<T> y, Vec<T> t) -> PointLoss<T> {
        const Vec<T> zero{}, sign = T(2) * t - T(1), gap = margin - sign * y;
        return {select<T>(gap <= zero, zero, gap), select<T>(gap <= zero, zero, -sign)};
    });
}

// Binary cross-entropy of a vector of logits, with the factors of focal loss: (1 - p)^gamma for target 1 and
// p^gamma for target 0, p = sigmoid(z). The gradients are written without a division by 1 - p, so they are
// finite for gamma < 1 too. gamma = 0 gives cross-entropy, bit for bit.
template <class T>
inline PointLoss<T> binary_cross_entropy_of(Vec<T> z, Vec<T> t, Vec<T> if_one, Vec<T> if_zero, T gamma) {
    const Vec<T> zero{}, one = broadcast<T>(1), e = exp<T>(-absolute<T>(z));
    const Vec<T> log_term = log1p_of_small<T>(e);
    const Vec<T> hit = larger(zero, -z) + log_term, miss = larger(zero, z) + log_term;  // -log p, -log(1 - p)
    const Vec<T> p = select<T>(z < zero, e, one) / (one + e), q = select<T>(z < zero, one, e) / (one + e);
    const Vec<T> ones = if_one * t, zeros = if_zero * (one - t);
    if (gamma == 0) return {ones * hit + zeros * miss, zeros * p - ones * q};
    const Vec<T> for_one = ones * exp<T>(miss * -gamma), for_zero = zeros * exp<T>(hit * -gamma);
    return {for_one * hit + for_zero * miss,
            for_zero * (gamma * q * miss + p) - for_one * (gamma * p * hit + q)};
}

// z, target (..., C), weight (2, C): for targets 1 and for targets 0, or null; scalar[0] is gamma
// -> losses and dz (or null) of z's shape
template <class T> void binary_cross_entropy(const Call &call, int part, int parts) {
    using op = operands::BINARY_CROSS_ENTROPY;
    const T *z = call.in<T>(op::z), *target = call.in<T>(op::target), *weight = call.in<T>(op::weight);
    T *losses = call.out<T>(op::losses), *dz = call.out<T>(op::dz);
    const T gamma = T(call.scalar[0]), scale = T(call.scalar[1]);
    const BinarySizes size = call.sizes<BinarySizes>();
    const std::int64_t C = size.C;
    const auto store = [=](std::int64_t e, int n, Vec<T> if_one, Vec<T> if_zero) {
        const PointLoss<T> found =
            binary_cross_entropy_of<T>(load_n(z + e, n), load_n(target + e, n), if_one, if_zero, gamma);
        store_n(losses + e, found.loss, n);
        if (dz) store_n(dz + e, found.slope * scale, n);
    };
    if (!weight || C == 1) {
        const Vec<T> if_one = broadcast(weight ? weight[0] : T(1)),
                     if_zero = broadcast(weight ? weight[1] : T(1));
        const Range range = share(size.count, part, parts, LANES<T>);
        for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) { store(e, n, if_one, if_zero); });
        return;
    }
    const Range rows = share(C ? size.count / C : 0, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m)
        for_vectors<T>(0, C, [=](std::int64_t c, int n) {
            store(m * C + c, n, load_n(weight + c, n), load_n(weight + C + c, n));
        });
}

}  // namespace fastnn
