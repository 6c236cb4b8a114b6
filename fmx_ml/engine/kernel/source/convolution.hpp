// A convolution, its bias, 2 x 2 max pooling if any and relu, of one picture at a time.
//
// Forward, planes are [channel][row][column], padding included, and a tile is eight columns of two
// rows of up to six channels, summed in registers. Behind pooling and relu most gradients are 0:
// backward, the others are listed with the places of their windows, and only these windows are
// worked on. For that all inputs of a pixel lie side by side, so that a window's rows are whole
// registers.
#pragma once
#include "vectors.hpp"

constexpr int SHARES = 4;              // of a batch: sums are made by share, whatever the threads
constexpr int SLACK = 4 * LANES;       // floats behind a plane that whole registers reach
constexpr int MOST_SIDE = 7;           // of a filter: its row lies in one register
constexpr int MOST_SUMS = 10;          // registers of a window that are summed at a time
constexpr int MOST_OUTPUTS = 28 * 28;  // of a channel

// Gradients that are not 0 and where the windows lie that made these outputs; zeros follow.
struct Entries {
  int count;
  int32_t offsets[MOST_OUTPUTS + LANES];
  float gradients[MOST_OUTPUTS + LANES];
};

// Strided floats: outputs, or gradients of them.
struct View {
  float* base;
  int channel, row, column;

  float* at(int c, int y, int x) const { return base + c * channel + y * row + x * column; }
};

struct Convolution {
  int inputs, outputs, side, pad, pooled;  // side: of a filter
  int width, rows, out_rows;               // of the padded input, the convolution, what leaves it
  int pixel, window_row;                   // floats of a pixel's inputs; of a window's row
  const float* weight;                     // [outputs][inputs][side][side], then biases
  float* weight_gradient;                  // the same
  Buffer tiles;                            // weights as the forward pass reads them
  Buffer windows;                          // weights [outputs][side][window_row]
  std::vector<int> places;                 // of each weight among windows
  Buffer planes;                           // inputs, a slot a picture
  std::vector<int32_t> winners;            // windows of pooled outputs, a slot a picture
  Buffer sums[SHARES];                     // gradients of windows, then of biases

  int num_weights() const { return outputs * taps(); }
  int taps() const { return inputs * side * side; }
  int plane() const { return width * width; }
  int out_plane() const { return out_rows * out_rows; }
  int window_size() const { return side * window_row; }
  int gradient_size() const { return outputs * (window_size() + 1); }
  size_t input_size() const { return inputs * plane() + SLACK; }
  size_t pixels_size() const { return round_up(plane()) * pixel + SLACK; }
  int32_t* winners_at(int slot) { return &winners[(size_t)slot * outputs * out_plane()]; }

  // For pictures of `size` rows; gives the rows of what leaves it.
  int measure(int size) {
    width = size + 2 * pad, rows = width - side + 1, out_rows = pooled ? rows / 2 : rows;
    pixel = inputs == 1 ? 1 : round_up(inputs), window_row = round_up(side * pixel);
    for (int o = 0; o < outputs; o++)
      for (int c = 0; c < inputs; c++)
        for (int k = 0; k < side * side; k++)
          places.push_back(o * window_size() + k / side * window_row + k % side * pixel + c);
    return out_rows;
  }

  void pack() {
    tiles.grow(num_weights()), windows.grow(outputs * window_size());
    float* to = tiles.at(0);
    for (int first = 0, n; first < outputs; first += n) {
      n = tile_size(outputs - first);
      for (int tap = 0; tap < taps(); tap++)
        for (int o = first; o < first + n; o++) *to++ = weight[o * taps() + tap];
    }
    for (int i = 0; i < num_weights(); i++) *windows.at(places[i]) = weight[i];
  }

  void forward(int slot, View out) {
    for (int first = 0, n; first < outputs; first += n) {
      n = tile_size(outputs - first);
      with_constant<MOST_ROWS>(n, [&](auto N) { forward_channels<N>(slot, first, out); });
    }
  }

  template <int N>
  void forward_channels(int slot, int first, View out) {
    const float *input = planes.at(slot * input_size()), *bias = weight + num_weights() + first;
    int used = pooled ? 2 * out_rows : rows;
    for (int y = 0; y < used; y += 2)
      for (int x = 0; x < used; x += LANES) {
        int second = y + 1 < used ? width : 0;  // the last of an odd number of rows comes twice
        Floats upper[N], lower[N];
        for (int n = 0; n < N; n++) upper[n] = lower[n] = splat(bias[n]);
        const float* tap = tiles.at(first * taps());
        for (int c = 0; c < inputs; c++)
          for (int ky = 0; ky < side; ky++) {
            const float* from = input + c * plane() + (y + ky) * width + x;
            for (int kx = 0; kx < side; kx++, tap += N) {
              Floats above = load(from + kx), below = load(from + second + kx);
              for (int n = 0; n < N; n++) upper[n] += above * tap[n], lower[n] += below * tap[n];
            }
          }
#pragma GCC unroll 6
        for (int n = 0; n < N; n++) {
          float* to = out.at(first + n, y >> pooled, x >> pooled);
          if (pooled) {
            if (n % 2) continue;
            int other = std::min(n + 1, N - 1);
            Floats rows_of_two[4] = {upper[n], upper[other], lower[n], lower[other]};
            int place = (first + n) * out_plane() + y / 2 * out_rows + x / 2;
            pool(rows_of_two, y * width + x, out_rows - x / 2, to, other > n ? out.channel : 0,
                 winners_at(slot) + place, other > n ? out_plane() : 0);
          } else {
            store(to, relu(upper[n]), used - x);
            if (second) store(to + out.row, relu(lower[n]), used - x);
          }
        }
      }
  }

  // Two rows of two channels, upper and lower; of equal values the first wins, as in torch.
  void pool(const Floats* two, int place, int left, float* to, int to_other, int32_t* to_winners,
            int winners_other) const {
    Floats best[2];
    Ints won[2];
    for (int r = 0; r < 2; r++) {
      Floats a = two[2 * r], b = two[2 * r + 1];
      Floats even = __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14);
      Floats odd = __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
      Ints later = odd > even;
      best[r] = later ? odd : even;
      won[r] = (Ints{0, 2, 0, 2, 4, 6, 4, 6} + (place + r * width)) - later;
    }
    Ints below = best[1] > best[0];
    Floats top = relu(below ? best[1] : best[0]);
    Ints winner = below ? won[1] : won[0];
    int count = std::min(left, LANES / 2);
    store(to + to_other, __builtin_shufflevector(top, top, 2, 3, 6, 7, 0, 1, 4, 5), count);
    store(to, __builtin_shufflevector(top, top, 0, 1, 4, 5, 2, 3, 6, 7), count);
    winner = __builtin_shufflevector(winner, winner, 0, 1, 4, 5, 2, 3, 6, 7);
    store(to_winners + winners_other,
          __builtin_shufflevector(winner, winner, 4, 5, 6, 7, 0, 1, 2, 3), count);
    store(to_winners, winner, count);
  }

  // All inputs of a pixel side by side, filled up to whole registers with 0.
  const float* interleave(int slot, Buffer& pixels) const {
    const float* input = planes.at(slot * input_size());
    if (pixel == 1) return input;
    for (int c = 0; c < inputs; c += LANES)
      for (int i = 0; i < plane(); i += LANES)
        transpose(input + c * plane() + i, plane(), inputs - c, pixels.at(i * pixel + c), pixel);
    return pixels.at(0);
  }

  // Adds a picture's gradients to the share's sums and, where they are wanted, to its pixels'.
  void backward(int slot, int share, View out, View gradient, Buffer& pixels, float* to_pixels) {
    const float* from = interleave(slot, pixels);
    Entries entries;
    for (int o = 0; o < outputs; o++) {
      list(o, out, gradient, winners_at(slot) + o * out_plane(), entries);
      Floats total = {};
      for (int i = 0; i < entries.count; i += LANES) total += load(entries.gradients + i);
      *sums[share].at(outputs * window_size() + o) += sum(total);
      add_windows(entries, from, sums[share].at(o * window_size()));
      if (to_pixels) add_pixels(entries, windows.at(o * window_size()), to_pixels);
    }
  }

  void list(int o, View out, View gradient, const int32_t* won, Entries& entries) const {
    int count = 0;
    for (int y = 0; y < out_rows; y++) {
      const float *lives = out.at(o, y, 0), *slopes = gradient.at(o, y, 0);
      for (int x = 0; x < out_rows; x++, won++) {
        entries.offsets[count] = pooled ? *won : y * width + x;
        entries.gradients[count] = slopes[x * gradient.column];
        count += !(lives[x] <= 0);
      }
    }
    store(entries.offsets + count, Ints{}), store(entries.gradients + count, Floats{});
    entries.count = count;
  }

  void add_windows(const Entries& entries, const float* pixels, float* to) const {
    int row = width * pixel, registers = window_row / LANES;
    if (registers == 1)
      return with_constant<MOST_SIDE>(side, [&](auto ROWS) {
        add_registers<ROWS, 1, 2>(entries, pixels, row, pixel, to);
      });
    for (int ky = 0; ky < side; ky++)
      for (int j = 0, n; j < registers; j += n) {
        n = std::min(MOST_SUMS, registers - j);
        int at = j * LANES;
        with_constant<MOST_SUMS>(n, [&](auto N) {
          add_registers<1, N, N <= 5 ? 2 : 1>(entries, pixels + ky * row + at, row, pixel,
                                              to + ky * window_row + at);
        });
      }
  }

  // Some registers of all listed windows, AT_ONCE windows at a time to hide the sums' latency.
  template <int ROWS, int N, int AT_ONCE>
  static void add_registers(const Entries& entries, const float* pixels, int row, int pixel,
                            float* to) {
    Floats totals[AT_ONCE][ROWS][N] = {};
    for (int i = 0; i < entries.count; i += AT_ONCE)
      for (int t = 0; t < AT_ONCE; t++) {
        const float* from = pixels + entries.offsets[i + t] * pixel;
        for (int r = 0; r < ROWS; r++)
          for (int n = 0; n < N; n++)
            totals[t][r][n] += load(from + r * row + n * LANES) * entries.gradients[i + t];
      }
    for (int t = 0; t < AT_ONCE; t++)
      for (int r = 0; r < ROWS; r++)
        for (int n = 0; n < N; n++) add(to + (r * N + n) * LANES, totals[t][r][n]);
  }

  void add_pixels(const Entries& entries, const float* window, float* to_pixels) const {
    const int row = width * pixel, length = window_row, size = window_size(), step = pixel;
    for (int i = 0; i < entries.count; i++) {
      Floats gradient = splat(entries.gradients[i]);
      float* to = to_pixels + entries.offsets[i] * step;
      for (int k = 0; k < size; k += length, to += row)
        for (int j = 0; j < length; j += LANES) add(to + j, load(window + k + j) * gradient);
    }
  }

  // The shares' sums, always in the same order, laid out as torch has the gradients.
  void collect() {
    for (int i = 0; i < num_weights() + outputs; i++) {
      int place = i < num_weights() ? places[i] : outputs * window_size() + i - num_weights();
      weight_gradient[i] = 0;
      for (Buffer& share : sums) weight_gradient[i] += *share.at(place);
    }
  }
};
