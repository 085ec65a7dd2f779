// The gradient of filters from dy that is mostly 0 (sparse.hpp). For each output, the patches of the pixels
// whose dy is not 0, times dy, are added to sums that stay in registers.
//
// Letters as in conv_ref.py. The order of the sums is that of FilterGradient (correlation.hpp): over the
// pixels of an image, then over the images.
#pragma once

#include <algorithm>
#include <cstring>

#include "families/correlation.hpp"
#include "families/sparse.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// The gradients of the outputs of a convolution, image by image. Those of a max pool are made when they are
// needed (conv_pool.hpp).
template <class T> struct StoredGradients {
    const T *dy;
    std::int64_t elements;  // of an image

    const T *image(std::int64_t n) const { return dy + n * elements; }
    // The first one of some images tells enough, as nothing but speed depends on it.
    bool are_sparse(Range images) const { return is_sparse(image(images.begin), elements); }
    // Where to write the sums over chunks of pixels, if they are needed; and the image after that is done.
    T *chunk_sums(std::int64_t) const { return nullptr; }
    const T *summed_image(std::int64_t n) const { return image(n); }
};

// The pixels of an output: dy of each, with zeros behind the last one up to a multiple of CHUNK_ROWS, and
// where in `image` their patches start.
template <class T> struct SparsePixels {
    const T *dy;
    std::int64_t count;
    const std::int64_t *starts;
    const T *image;
};

// The vectors of a patch, `step` elements apart; or each of two rows of half a vector. If the number of rows
// is odd, the last vector has the last row twice.
template <class T, int VECTORS, bool HALVES> struct PatchVectors {
    std::int64_t step, rows;

    INLINED Vec<T> load(const T *patch, int v) const {
        if constexpr (HALVES) {
            const T *const upper = patch + 2 * v * step;
            return load_halves(upper, 2 * v + 1 < rows ? upper + step : upper);
        } else {
            return fastnn::load(patch + v * step);
        }
    }
};

// sums += dy patch over the pixels whose dy is not 0; without `adds`, sums = that. The sums of dy over chunks
// of CHUNK_ROWS pixels go to db, `db_row` apart, unless it is null.
template <class T, int VECTORS, bool HALVES>
[[gnu::noinline]] void add_patches(const SparsePixels<T> &pixels, PatchVectors<T, VECTORS, HALVES> vectors,
                                   bool adds, T *sums, T *db, std::int64_t db_row) {
    static_assert(CHUNK_ROWS == 64, "a bit for each pixel of a chunk");
    Vec<T> sum[VECTORS] = {};
    for (std::int64_t first = 0; first < pixels.count; first += CHUNK_ROWS) {
        const T *const dy = pixels.dy + first;
        std::uint64_t others = 0;
#pragma GCC unroll 16
        for (int i = 0; i < CHUNK_ROWS; i += LANES<T>)
            others |= std::uint64_t(nonzero_lanes(load(dy + i))) << i;
        T total = 0;
        while (others) {
            const int own = take_lowest(others);
            const Vec<T> factor = broadcast(dy[own]);
            const T *const patch = pixels.image + pixels.starts[first + own];
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; ++v) sum[v] = fma(factor, vectors.load(patch, v), sum[v]);
            total += dy[own];
        }
        if (db) *db = total, db += db_row;
    }
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v)
        store(sums + v * LANES<T>, adds ? load(sums + v * LANES<T>) + sum[v] : sum[v]);
}

// Without memory, it only tells how much a part needs.
template <class T> class SparseFilterGradient {
public:
    // Whether patches consist of runs, what is read of an image stays in a cache, and finding the pixels
    // costs less than is saved if a quarter of them have gradients.
    static bool suits(const Geometry &g) {
        constexpr std::int64_t FIND = 8;  // multiplications of vectors that finding a pixel takes
        constexpr double BYTES = 1 << 17;
        const SparseFilterGradient<T> own(g);
        const std::int64_t taps = g.R * g.S * g.C, outputs = (g.O + LANES<T> - 1) / LANES<T>;
        const std::int64_t loads = own.vectors() * (own.is_copied ? 1 : 2);
        const double rows = double(own.c.rows(g.P)), width = double(own.c.width()) * double(g.C);
        const double elements = rows * std::max(width, double(g.Q) * double(own.pitch()));
        return taps > 0 && g.O > 0 && g.P * g.Q > 0 && own.c.rows_are_runs() &&
               (g.dilation[0] == 1 || g.R == 1) && chunks_of_lines(g).count == 1 &&
               (own.is_copied || own.vectors() <= MOST_VECTORS) && elements * double(sizeof(T)) <= BYTES &&
               g.O * (loads + FIND) <= 4 * taps * outputs;
    }

    explicit SparseFilterGradient(const Geometry &g, T *memory = nullptr)
        : g(g), c(g), run(g.S * g.C), is_copied(run >= LANES<T>), by_halves(run <= HALF<T>), memory(memory) {}

    // What follows its memory.
    T *end() const { return canvas() + canvas_elements(); }
    std::int64_t bytes() const {
        return start_bytes() +
               (g.O * (apart() + sum_row()) + copy_elements() + canvas_elements()) * std::int64_t(sizeof(T));
    }

    // dw[r, s, c, o] = sum over these images and their pixels. `gradients` as StoredGradients.
    template <class Gradients> void sum(const T *x, const Gradients &gradients, Range images, T *dw) {
        prepare();
        const Tiles blocks(vectors(), MOST_VECTORS);
        for (std::int64_t n = images.begin; n < images.end; ++n) {
            split_channels(gradients.image(n), g.O, g.P * g.Q, g.O, plane(0), apart());
            const T *const image = patches_of(x + n * g.H * g.W * g.C);
            T *const db = gradients.chunk_sums(n);
            for (std::int64_t block = 0; block < blocks.count; ++block) {
                const std::int64_t e = blocks.begin(block) * LANES<T>;
                with_constant<MOST_VECTORS>(blocks.length(block), [&](auto count) {
                    const auto add = [&](auto vectors) {
                        for (std::int64_t o = 0; o < g.O; ++o)
                            add_patches({plane(o), g.P * g.Q, starts(), image + e}, vectors, n > images.begin,
                                        sums() + o * sum_row() + e, db && block == 0 ? db + o : nullptr, g.O);
                    };
                    const std::int64_t row = c.width() * g.C;
                    if (by_halves)
                        add(PatchVectors<T, count, true>{row, g.R});
                    else
                        add(PatchVectors<T, count, false>{is_copied ? LANES<T> : row, g.R});
                });
            }
        }
        for (std::int64_t r = 0; r < g.R; ++r)
            transpose<T, false>(sums() + r * pitch(), sum_row(), g.O, run, dw + r * run * g.O, g.O);
    }

private:
    static constexpr int MOST_VECTORS = 12;  // sums that fit into the registers, beside a factor

    // Writes what stays the same for all images.
    void prepare() {
        if (is_prepared) return;
        is_prepared = true;
        for (std::int64_t p = 0, at = 0; p < g.P; ++p)
            for (std::int64_t q = 0; q < g.Q; ++q, ++at)
                starts()[at] = is_copied ? (q * c.rows(g.P) + p * g.stride[0]) * pitch()
                                         : (p * g.stride[0] * c.width() + q * g.stride[1]) * g.C;
        for (std::int64_t o = 0; o < g.O; ++o) std::fill(plane(o) + g.P * g.Q, plane(o + 1), T(0));
        std::fill(canvas() + c.elements(g.P), canvas() + c.elements(g.P) + LANES<T>, T(0));
    }

    // Between the rows of the sums, and of a copied image.
    std::int64_t pitch() const { return by_halves ? HALF<T> : (run + LANES<T> - 1) / LANES<T> * LANES<T>; }

    // What `starts` refer to. Rows of patches that are shorter than a vector are read from the image, or a
    // copy that has zeros around it and memory behind it. Longer ones are copied by columns of outputs: the
    // S C elements that they read of each row. So the rows of a patch follow each other, from a whole vector
    // on. (Vectors that begin anywhere take twice as long to load.)
    const T *patches_of(const T *image) const {
        const std::int64_t rows = c.rows(g.P);
        if (!is_copied) {
            Canvas<T>{canvas(), c.width(), g.C}.draw(image, g.H, g.W, PIXEL_STEP, g.padding[0], g.padding[1],
                                                     0, rows);
            return canvas();
        }
        const Canvas<T> seen = seen_by(g, c, image, {0, g.P}, canvas());
        T *to = copy();
        for (std::int64_t q = 0; q < g.Q; ++q)
            for (std::int64_t row = 0; row < rows; ++row, to += pitch()) {
                const T *const from = seen.pixel(row, q * g.stride[1]);
                for_vectors<T>(0, run, [=](std::int64_t e, int n) { store(to + e, load_n(from + e, n)); });
            }
        return copy();
    }

    std::int64_t vectors() const { return (g.R * pitch() + LANES<T> - 1) / LANES<T>; }
    std::int64_t sum_row() const { return vectors() * LANES<T>; }
    std::int64_t apart() const { return (g.P * g.Q + CHUNK_ROWS - 1) / CHUNK_ROWS * CHUNK_ROWS; }
    std::int64_t copy_elements() const { return is_copied ? g.Q * c.rows(g.P) * pitch() : 0; }
    std::int64_t canvas_elements() const {
        return (c.elements(g.P) + LANES<T> - 1) / LANES<T> * LANES<T> + LANES<T>;
    }
    std::int64_t start_bytes() const { return whole_lines(g.P * g.Q * std::int64_t(sizeof(std::int64_t))); }

    std::int64_t *starts() const { return reinterpret_cast<std::int64_t *>(memory); }
    T *plane(std::int64_t o) const { return memory + start_bytes() / std::int64_t(sizeof(T)) + o * apart(); }
    T *sums() const { return plane(g.O); }
    T *copy() const { return sums() + g.O * sum_row(); }
    T *canvas() const { return copy() + copy_elements(); }

    const Geometry g;
    const Correlation<T> c;
    const std::int64_t run;
    const bool is_copied, by_halves;  // images; whether a vector has two rows of a patch
    T *const memory;
    bool is_prepared = false;
};

}  // namespace fastnn
