// Embeddings.
#include "families/embedding.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(EMBEDDING_FORWARD, embedding_forward<T>);
    set(EMBEDDING_DW, embedding_dw<T>);
}

}  // namespace

void fill_embedding(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
