// Dense layers over some rows of a batch; rows are filled up with 0 to whole registers.
#pragma once
#include "vectors.hpp"

constexpr int PANEL = 2 * LANES;  // columns of a tile

// A matrix whose element (r, c) is base[r * row + c * column]; or, to the right of a product, whose
// panel that begins with column c is at base + c * column.
struct Matrix {
  const float* base;
  int row, column;

  const float* at(int r) const { return base + (size_t)r * row; }
};

// to[m][n] (+)= sum over k of a(m, k) * b(k, n), for M rows and N registers of a panel.
template <int M, int N>
void multiply_tile(Matrix a, Matrix b, int depth, float* to, int to_row, int columns, bool adds) {
  Floats sums[M][N] = {};
  for (int k = 0; k < depth; k++) {
    Floats v[N];
    for (int j = 0; j < N; j++) v[j] = load(b.at(k) + j * LANES);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) sums[i][j] += v[j] * a.at(i)[(size_t)k * a.column];
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < N; j++) {
      float* at = to + (size_t)i * to_row + j * LANES;
      int count = columns - j * LANES;
      store(at, adds ? sums[i][j] + load(at, count) : sums[i][j], count);
    }
}

inline void multiply(int rows, Matrix a, Matrix b, int depth, float* to, int to_row, int columns,
                     bool adds) {
  for (int n = 0; n < columns; n += PANEL)
    for (int m = 0, size; m < rows; m += size) {
      size = tile_size(rows - m);
      Matrix left{a.at(m), a.row, a.column}, right{b.base + (size_t)n * b.column, b.row, 1};
      float* part = to + (size_t)m * to_row + n;
      with_constant<MOST_ROWS>(size, [&](auto M) {
        auto tile = columns - n > LANES ? multiply_tile<M, 2> : multiply_tile<M, 1>;
        tile(left, right, depth, part, to_row, columns - n, adds);
      });
    }
}

struct Dense {
  int inputs, outputs;
  const float* weight;     // [outputs][inputs], then [outputs] biases
  float* weight_gradient;  // the same
  const float* by_outputs;  // weights [outputs][in_row]: a copy where the two are not the same
  Buffer copy;
  Buffer by_inputs;  // weights [panels of outputs][in_row][PANEL]

  int num_weights() const { return outputs * inputs; }
  int in_row() const { return round_up(inputs); }
  int out_row() const { return round_up(outputs); }

  void pack() {
    by_outputs = weight;
    if (inputs % LANES) {
      copy.grow(outputs * in_row());
      for (int o = 0; o < outputs; o++)
        memcpy(copy.at(o * in_row()), weight + o * inputs, inputs * sizeof(float));
      by_outputs = copy.at(0);
    }
    by_inputs.grow(in_row() * (out_row() + LANES));
    for (int i = 0; i < inputs; i += LANES)
      for (int o = 0; o < outputs; o += LANES)
        transpose(by_outputs + o * in_row() + i, in_row(), outputs - o,
                  by_inputs.at((o / PANEL * in_row() + i) * PANEL + o % PANEL), PANEL);
  }

  void forward(const float* x, float* y, int rows, bool ends_in_relu) const {
    for (int r = 0; r < rows; r++)
      memcpy(y + (size_t)r * out_row(), weight + num_weights(), outputs * sizeof(float));
    multiply(rows, {x, in_row(), 1}, {by_inputs.at(0), PANEL, in_row()}, inputs, y, out_row(),
             out_row(), true);
    for (size_t i = 0; ends_in_relu && i < (size_t)rows * out_row(); i += LANES)
      store(y + i, relu(load(y + i)));
  }

  // The inputs' gradients from the outputs': 0 where x, if given, was cut by a relu.
  void backward(const float* gradient, const float* x, float* to, int rows) const {
    multiply(rows, {gradient, out_row(), 1}, {by_outputs, in_row(), 1}, outputs, to,
             in_row(), in_row(), false);
    for (size_t i = 0; x && i < (size_t)rows * in_row(); i += LANES)
      store(to + i, load(x + i) <= 0.0f ? Floats{} : load(to + i));
  }

  // The gradients of the weights of outputs first to last, over `rows` rows.
  void add_up(const float* gradient, const float* x, int rows, int first, int last, bool adds) {
    multiply(last - first, {gradient + first, 1, out_row()}, {x, in_row(), 1}, rows,
             weight_gradient + (size_t)first * inputs, inputs, inputs, adds);
    float* bias_gradient = weight_gradient + num_weights();
    for (int o = first; o < last; o++) {
      float total = adds ? bias_gradient[o] : 0;
      for (int r = 0; r < rows; r++) total += gradient[(size_t)r * out_row() + o];
      bias_gradient[o] = total;
    }
  }
};
