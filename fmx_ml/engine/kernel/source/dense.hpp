// Dense layers over some rows of a batch; rows are filled up with 0 to whole registers.
#pragma once
#include <algorithm>
#include <vector>

#include "vectors.hpp"

// A matrix whose element (r, c) is base[r * row + c * column].
struct Matrix {
  const float* base;
  int row, column;
};

// to[m][n] (+)= sum over k of a(m, k) * b[k][n], for M rows and N registers of columns.
template <int M, int N>
void multiply_tile(Matrix a, const float* b, int b_row, int depth, float* to, int to_row, int columns, bool adds) {
  Floats sums[M][N] = {};
  for (int k = 0; k < depth; k++, b += b_row) {
    Floats v[N];
    for (int j = 0; j < N; j++) v[j] = load(b + j * LANES);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) sums[i][j] += v[j] * a.base[(ptrdiff_t)i * a.row + (ptrdiff_t)k * a.column];
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < N; j++) {
      float* at = to + (ptrdiff_t)i * to_row + j * LANES;
      int count = columns - j * LANES;
      store(at, adds ? sums[i][j] + load(at, count) : sums[i][j], count);
    }
}

template <int N>
void multiply_rows(int rows, Matrix a, const float* b, int b_row, int depth, float* to, int to_row, int columns, bool adds) {
  constexpr decltype(&multiply_tile<1, N>) TILES[] = {multiply_tile<1, N>, multiply_tile<2, N>, multiply_tile<3, N>, multiply_tile<4, N>, multiply_tile<5, N>, multiply_tile<6, N>};
  for (int m = 0, size; m < rows; m += size) {
    size = block_size(rows - m);
    Matrix part{a.base + (ptrdiff_t)m * a.row, a.row, a.column};
    TILES[size - 1](part, b, b_row, depth, to + (ptrdiff_t)m * to_row, to_row, columns, adds);
  }
}

inline void multiply(int rows, Matrix a, const float* b, int b_row, int depth, float* to, int to_row, int columns, bool adds) {
  for (int n = 0; n < columns; n += 2 * LANES) {
    auto part = columns - n > LANES ? multiply_rows<2> : multiply_rows<1>;
    part(rows, a, b + n, b_row, depth, to + n, to_row, columns - n, adds);
  }
}

struct Dense {
  int inputs, outputs;
  const float* weight;            // [outputs][inputs], then [outputs] biases
  float* weight_gradient;         // the same
  Buffer by_outputs;  // weights [outputs][in_row]
  Buffer by_inputs;   // weights [inputs][out_row]

  int num_weights() const { return outputs * inputs; }
  int in_row() const { return round_up(inputs); }
  int out_row() const { return round_up(outputs); }

  void pack() {
    by_outputs.resize(outputs * in_row());
    by_inputs.resize(in_row() * out_row());
    for (int o = 0; o < outputs; o++) memcpy(&by_outputs[o * in_row()], weight + o * inputs, inputs * sizeof(float));
    for (int o = 0; o < outputs; o += LANES)
      for (int i = 0; i < inputs; i += LANES)
        transpose(&by_outputs[o * in_row() + i], in_row(), outputs - o, &by_inputs[i * out_row() + o], out_row());
  }

  void forward(const float* x, float* y, int first, int last, bool ends_in_relu) const {
    float* to = y + (ptrdiff_t)first * out_row();
    const float* bias = weight + num_weights();
    for (int r = first; r < last; r++) memcpy(y + (ptrdiff_t)r * out_row(), bias, outputs * sizeof(float));
    multiply(last - first, {x + (ptrdiff_t)first * in_row(), in_row(), 1}, by_inputs.data(), out_row(), inputs, to, out_row(), out_row(), true);
    if (!ends_in_relu) return;
    for (ptrdiff_t i = 0; i < (ptrdiff_t)(last - first) * out_row(); i += LANES) store(to + i, relu(load(to + i)));
  }

  // The inputs' gradients, given the outputs': 0 where `x` is given and was cut by a relu.
  void backward_input(const float* gradient, const float* x, float* to, int first, int last) const {
    multiply(last - first, {gradient + (ptrdiff_t)first * out_row(), out_row(), 1}, by_outputs.data(), in_row(), outputs, to + (ptrdiff_t)first * in_row(), in_row(), in_row(), false);
    if (!x) return;
    for (ptrdiff_t i = (ptrdiff_t)first * in_row(); i < (ptrdiff_t)last * in_row(); i += LANES)
      store(to + i, load(x + i) <= 0.0f ? Floats{} : load(to + i));
  }

  // The gradients of the weights of outputs first to last, over all rows of the batch.
  void backward_weight(const float* gradient, const float* x, int count, int first, int last, bool adds) const {
    multiply(last - first, {gradient + first, 1, out_row()}, x, in_row(), count, weight_gradient + (ptrdiff_t)first * inputs, inputs, inputs, adds);
    float* bias_gradient = weight_gradient + num_weights();
    for (int o = first; o < last; o++) {
      float total = adds ? bias_gradient[o] : 0;
      for (int r = 0; r < count; r++) total += gradient[(ptrdiff_t)r * out_row() + o];
      bias_gradient[o] = total;
    }
  }
};
