// A case of the driver: a kernel call with its arrays, each with its expected contents after the call.
//
// Everything here is private to the single file that includes it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "plan/executor.hpp"
#include "plan/serial.hpp"
#include "isa/table.hpp"
#include "system.hpp"

namespace {

using namespace fastnn;
using std::int64_t;

Table all_kernels() {
    Table all = make_table("native driver");
#if defined(__AVX512BF16__)
    add_kernels(all, make_bf16_table("native driver"));
#endif
    return all;
}

const Table table = all_kernels();

constexpr int MAX_THREADS = 4;

bool verbose = false;

// --- cases: a call and the contents of its arrays ---

using Bytes = std::vector<char>;

// The value of every byte of an output before the call: nan in both float types.
constexpr char POISON = char(0xff);

struct Argument {
    enum Role { ABSENT, INPUT, OUTPUT, UPDATED } role = ABSENT;
    std::size_t element = 1;  // bytes
    Bytes before;
    Bytes expected;  // after the call; empty if not known
};

struct Case {
    std::string name;
    Call call;
    std::vector<Argument> arguments;
};

template <class S> Bytes bytes_of(const std::vector<S> &values) {
    Bytes bytes(values.size() * sizeof(S));
    if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

template <class S> Argument input(const std::vector<S> &values) {
    return {Argument::INPUT, sizeof(S), bytes_of(values), {}};
}

// An argument that a kernel changes in place; `expected` may be empty.
template <class S> Argument updated(const std::vector<S> &values, const std::vector<S> &expected = {}) {
    return {Argument::UPDATED, sizeof(S), bytes_of(values), bytes_of(expected)};
}

template <class S> Argument output(int64_t count) {
    return {Argument::OUTPUT, sizeof(S), Bytes(std::size_t(count) * sizeof(S), POISON), {}};
}

// An output that must hold exactly these values after the call.
template <class S> Argument output(const std::vector<S> &expected) {
    Argument argument = output<S>(int64_t(expected.size()));
    argument.expected = bytes_of(expected);
    return argument;
}

template <class T>
Case make(std::string name, KernelId kernel, const std::vector<int64_t> &sizes,
          std::vector<Argument> arguments, const std::vector<double> &scalars = {}) {
    Call call;
    call.kernel = kernel;
    call.is_double = sizeof(T) == sizeof(double);
    call.work = 1e18;  // worth any number of threads
    name += call.is_double ? ", double, sizes" : ", float, sizes";
    for (std::size_t i = 0; i < sizes.size(); ++i) name += " " + std::to_string(call.size[i] = sizes[i]);
    for (std::size_t i = 0; i < scalars.size(); ++i) call.scalar[i] = scalars[i];
    return {name, call, std::move(arguments)};
}

// A kernel that always runs as one part.
Case serial(Case c) {
    c.call.work = 0;
    return c;
}

// --- running a case ---

// The memory of an array: a heap block of exactly its size, or memory that ends at a protected page. In the
// second case the array is aligned to its elements, and to more only if its size happens to be a multiple of
// that.
enum Place { HEAP, BEFORE_GUARD };

class Block {
public:
    Block(const Bytes &contents, Place place) : size_(contents.size()), place_(place) {
        data_ = place == HEAP ? new char[size_] : GuardedPages::allocate(size_);
        if (size_) std::memcpy(data_, contents.data(), size_);
    }
    ~Block() {
        if (place_ == HEAP)
            delete[] data_;
        else
            GuardedPages::release(data_, size_);
    }
    Block(const Block &) = delete;
    Block &operator=(const Block &) = delete;

    char *data() const { return data_; }
    Bytes contents() const { return Bytes(data_, data_ + size_); }

private:
    std::size_t size_;
    Place place_;
    char *data_;
};

// The arrays of a case in memory, ready to run. With `in_place` = {i, j}, argument j is the same array as i.
class Prepared {
public:
    explicit Prepared(const Case &c, Place place = HEAP, std::pair<int, int> in_place = {-1, -1})
        : call_(c.call) {
        for (std::size_t i = 0; i < c.arguments.size(); ++i) {
            if (int(i) == in_place.second)
                blocks_.push_back(blocks_[std::size_t(in_place.first)]);
            else
                blocks_.push_back(std::make_shared<Block>(c.arguments[i].before, place));
            call_.array[i] = c.arguments[i].role == Argument::ABSENT ? nullptr : blocks_[i]->data();
        }
    }

    // Allocates nothing after a thread's first call of this size.
    bool run(int threads) const {
        Call call = call_;
        return execute_call(table, call, threads);
    }

    Bytes contents(std::size_t i) const { return blocks_[i]->contents(); }

    std::vector<Bytes> contents() const {
        std::vector<Bytes> all;
        for (const auto &block : blocks_) all.push_back(block->contents());
        return all;
    }

private:
    Call call_;
    std::vector<std::shared_ptr<Block>> blocks_;
};

// The contents of all arrays after a run.
std::vector<Bytes> result_of(const Case &c, int threads, Place place = HEAP) {
    const Prepared prepared(c, place);
    if (!prepared.run(threads)) fail(c.name + ": no scratch memory");
    return prepared.contents();
}

// Whether an element of an output is unchanged since before the call.
bool has_poisoned_element(const Argument &argument, const Bytes &bytes) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += argument.element) {
        bool whole = true;
        for (std::size_t i = 0; i < argument.element; ++i) whole = whole && bytes[begin + i] == POISON;
        if (whole) return true;
    }
    return false;
}

bool has_run[KERNEL_COUNT][2];

void check_on_this_thread(const Case &c) {
    has_run[c.call.kernel][c.call.is_double] = true;
    const std::vector<Bytes> result = result_of(c, 1);
    for (std::size_t i = 0; i < c.arguments.size(); ++i) {
        const Argument &argument = c.arguments[i];
        const std::string where = c.name + ": argument " + std::to_string(i);
        if (argument.role == Argument::INPUT && result[i] != argument.before)
            fail(where + " is an input, but changed");
        if (argument.role == Argument::OUTPUT && has_poisoned_element(argument, result[i]))
            fail(where + " is not written everywhere");
        if (!argument.expected.empty() && result[i] != argument.expected) fail(where + " is wrong");
    }
    for (int threads = 2; threads <= MAX_THREADS; ++threads)
        for (const Place place : {HEAP, BEFORE_GUARD})
            if (result_of(c, threads, place) != result)
                fail(c.name + ": other bits on " + std::to_string(threads) +
                     " threads, or at another alignment");
}

// Runs on a thread of its own: a thread's scratch memory only grows, and here it must be no larger than this
// case needs.
void check(const Case &c) {
    if (verbose) std::fprintf(stderr, "%s\n", c.name.c_str());
    std::thread([&c] { check_on_this_thread(c); }).join();
}

// The same for an elementwise kernel, which may also write its last argument over any of its `inputs`.
void check_elementwise(const Case &c, int inputs) {
    check(c);
    const int last = int(c.arguments.size()) - 1;
    const Bytes expected = result_of(c, 1).back();
    for (int i = 0; i < inputs; ++i) {
        const Prepared prepared(c, HEAP, {i, last});
        prepared.run(2);
        if (prepared.contents(std::size_t(last)) != expected)
            fail(c.name + ": wrong in place of argument " + std::to_string(i));
    }
}

// --- values ---

std::mt19937_64 random_bits(0);

int64_t random_below(int64_t limit) { return int64_t(random_bits() % std::uint64_t(limit)); }

// Integers of magnitude at most 100, whose sums of products are exact below 2^24 / 100^2 terms; or at most
// `most`.
template <class T> std::vector<T> whole(int64_t count, int64_t most = 100) {
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T &value : values) value = T(random_below(2 * most + 1) - most);
    return values;
}

// Positive and negative values around 1, and occasionally a special value.
template <class T> std::vector<T> numbers(int64_t count) {
    using Limits = std::numeric_limits<T>;
    const T special[] = {0,
                         -T(0),
                         Limits::max(),
                         Limits::lowest(),
                         Limits::min(),
                         Limits::denorm_min(),
                         Limits::infinity(),
                         -Limits::infinity(),
                         Limits::quiet_NaN()};
    std::vector<T> values(static_cast<std::size_t>(count));
    for (T &value : values)
        value =
            random_below(10) ? T(random_below(4001) - 2000) / 500 : special[random_below(std::size(special))];
    return values;
}

std::vector<int64_t> indices(int64_t count, int64_t limit) {
    std::vector<int64_t> values(static_cast<std::size_t>(count));
    for (int64_t &value : values) value = random_below(limit);
    if (count) values.back() = limit - 1;
    return values;
}

}  // namespace
