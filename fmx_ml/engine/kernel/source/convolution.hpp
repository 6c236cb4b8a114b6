// A convolution, its bias, 2 x 2 max pooling if any and relu, of one picture at a time.
//
// Planes are [channel][row][column], the padding around them included. Outputs are made eight
// columns of two rows of up to six channels at a time: twelve sums that stay in registers.
// Behind pooling and relu most gradients are 0; the others are listed with the place of the window
// that they belong to, and only these windows are worked on.
#pragma once
#include <algorithm>
#include <vector>

#include "vectors.hpp"

constexpr int SLACK = 4 * LANES;  // floats behind the last row, read or added to as whole registers
constexpr int MOST_SIDE = 7;      // of a filter
constexpr int MOST_OUTPUTS = 28 * 28;  // of a channel

// Gradients that are not 0, and where the windows lie that made these outputs. The lists are used
// a register at a time: zeros follow the last entry.
struct Entries {
  int count;
  int32_t offsets[MOST_OUTPUTS + LANES];
  float gradients[MOST_OUTPUTS + LANES];
};

// Where outputs go or gradients come from: element (channel, row, column) of strided floats.
struct View {
  float* base;
  int channel, row, column;

  float* at(int c, int y, int x) const {
    return base + (ptrdiff_t)c * channel + (ptrdiff_t)y * row + (ptrdiff_t)x * column;
  }
};

struct Convolution {
  int inputs, outputs, side, pad, pooled;  // side: of a filter
  int width, rows, out_rows;               // of the padded input, the convolution, what leaves it
  const float* weight;                     // [outputs][inputs][side][side], then [outputs] biases
  float* weight_gradient;                  // the same
  int pixel, window_row;                   // floats of a pixel with all its inputs; of a window's row
  Buffer blocks;                           // weights as the forward pass reads them
  Buffer windows;                          // [outputs][side][window_row]: rows of pixels
  std::vector<int> places;                 // of each weight among windows

  int num_weights() const { return outputs * inputs * side * side; }
  int plane() const { return width * width; }
  int input_size() const { return inputs * plane() + SLACK; }
  int out_plane() const { return out_rows * out_rows; }
  int pixels_size() const { return round_up(plane()) * pixel + SLACK; }
  int window_size() const { return side * window_row; }
  int gradient_size() const { return outputs * (window_size() + 1); }

  void pack() {
    int taps = inputs * side * side;
    blocks.resize(taps * outputs);
    float* to = blocks.data();
    for (int first = 0, n; first < outputs; first += n) {
      n = block_size(outputs - first);
      for (int tap = 0; tap < taps; tap++)
        for (int o = first; o < first + n; o++) *to++ = weight[o * taps + tap];
    }
    windows.resize(outputs * window_size());
    for (int i = 0; i < outputs * taps; i++) windows[places[i]] = weight[i];
  }

  void find_places() {
    for (int i = 0; i < num_weights(); i++) {
      int column = i % side, row = i / side % side, c = i / (side * side) % inputs, o = i / (side * side * inputs);
      places.push_back(o * window_size() + row * window_row + column * pixel + c);
    }
  }

  // `winners` [outputs][out_rows][out_rows] gets the place of each pooled output's window.
  void forward(const float* input, View out, int32_t* winners) const {
    const float *packed = blocks.data(), *bias = weight + num_weights();
    for (int first = 0, n; first < outputs; first += n) {
      n = block_size(outputs - first);
      View part{out.at(first, 0, 0), out.channel, out.row, out.column};
      int32_t* won = winners + first * out_plane();
      switch (n) {
        case 1: forward_block<1>(input, packed, bias + first, part, won); break;
        case 2: forward_block<2>(input, packed, bias + first, part, won); break;
        case 3: forward_block<3>(input, packed, bias + first, part, won); break;
        case 4: forward_block<4>(input, packed, bias + first, part, won); break;
        case 5: forward_block<5>(input, packed, bias + first, part, won); break;
        case 6: forward_block<6>(input, packed, bias + first, part, won); break;
      }
      packed += n * inputs * side * side;
    }
  }

  template <int N>
  void forward_block(const float* input, const float* packed, const float* biases, View out,
                     int32_t* winners) const {
    int used = pooled ? 2 * out_rows : rows;
    for (int y = 0; y < used; y += 2)
      for (int x = 0; x < used; x += LANES) {
        int second = y + 1 < used ? width : 0;  // the last of an odd number of rows, twice
        Floats sums[N][2];
        for (int n = 0; n < N; n++) sums[n][0] = sums[n][1] = splat(biases[n]);
        const float* weights = packed;
        for (int c = 0; c < inputs; c++)
          for (int ky = 0; ky < side; ky++) {
            const float* from = input + c * plane() + (y + ky) * width + x;
            for (int kx = 0; kx < side; kx++, weights += N) {
              Floats upper = load(from + kx), lower = load(from + second + kx);
              for (int n = 0; n < N; n++) {
                sums[n][0] += upper * weights[n];
                sums[n][1] += lower * weights[n];
              }
            }
          }
        if (pooled) {
#pragma GCC unroll 3
          for (int n = 0; n < N; n += 2) pool(sums[n], sums[std::min(n + 1, N - 1)], n, std::min(n + 1, N - 1), y, x, out, winners);
        } else {
          for (int n = 0; n < N; n++) {
            store(out.at(n, y, x), relu(sums[n][0]), used - x);
            if (second) store(out.at(n, y + 1, x), relu(sums[n][1]), used - x);
          }
        }
      }
  }

  // Two rows of two channels; of equal values the first wins, as in torch.
  void pool(const Floats* a, const Floats* b, int channel_a, int channel_b, int y, int x, View out,
            int32_t* winners) const {
    Floats even[2], odd[2], best[2];
    Ints place[2];
    for (int r = 0; r < 2; r++) {
      even[r] = __builtin_shufflevector(a[r], b[r], 0, 2, 8, 10, 4, 6, 12, 14);
      odd[r] = __builtin_shufflevector(a[r], b[r], 1, 3, 9, 11, 5, 7, 13, 15);
      Ints later = odd[r] > even[r];
      best[r] = later ? odd[r] : even[r];
      place[r] = -later + r * width;
    }
    Ints lower = best[1] > best[0];
    Floats top = relu(lower ? best[1] : best[0]);
    Ints corner = Ints{0, 2, 0, 2, 4, 6, 4, 6} + (y * width + x);
    Ints won = (lower ? place[1] : place[0]) + corner;
    top = __builtin_shufflevector(top, top, 0, 1, 4, 5, 2, 3, 6, 7);
    won = __builtin_shufflevector(won, won, 0, 1, 4, 5, 2, 3, 6, 7);
    int count = std::min(out_rows - x / 2, LANES / 2);
    for (int half = 0; half < 2; half++) {
      int channel = half ? channel_b : channel_a;
      float* to = out.at(channel, y / 2, x / 2);
      int32_t* to_winners = winners + channel * out_plane() + y / 2 * out_rows + x / 2;
      if (count == LANES / 2) {
        memcpy(to, (float*)&top + half * 4, 16);
        memcpy(to_winners, (int32_t*)&won + half * 4, 16);
      } else {
        for (int i = 0; i < count; i++) to[i] = top[half * 4 + i], to_winners[i] = won[half * 4 + i];
      }
    }
  }

  // All inputs of a pixel side by side, filled up to whole registers with 0.
  void interleave(const float* input, float* pixels) const {
    for (int c = 0; c < inputs; c += LANES)
      for (int i = 0; i < plane(); i += LANES)
        transpose(input + c * plane() + i, plane(), inputs - c, pixels + i * pixel + c, pixel);
  }

  // Adds one picture's gradients: to `sums`, those of windows and then of biases, and to those of
  // its pixels, where they are not null.
  void backward(const float* pixels, View out, View gradient, const int32_t* winners, float* sums, float* to_pixels) const {
    Entries entries;
    for (int o = 0; o < outputs; o++) {
      list(o, out, gradient, winners, entries);
      Floats total = {};
      for (int i = 0; i < entries.count; i += LANES) total += load(entries.gradients + i);
      sums[outputs * window_size() + o] += sum(total);
      add_windows(entries, pixels, sums + o * window_size());
      if (to_pixels) add_pixels(entries, windows.data() + o * window_size(), to_pixels);
    }
  }

  void list(int o, View out, View gradient, const int32_t* winners, Entries& entries) const {
    int count = 0;
    const int32_t* won = winners + o * out_plane();
    for (int y = 0; y < out_rows; y++) {
      const float *lives = out.at(o, y, 0), *slopes = gradient.at(o, y, 0);
      for (int x = 0; x < out_rows; x++) {
        entries.offsets[count] = pooled ? won[y * out_rows + x] : y * width + x;
        entries.gradients[count] = slopes[x * gradient.column];
        count += !(lives[x] <= 0);
      }
    }
    store(entries.gradients + count, Floats{});
    for (int i = 0; i < LANES; i++) entries.offsets[count + i] = 0;
    entries.count = count;
  }

  void add_windows(const Entries& entries, const float* pixels, float* sums) const {
    using Add = void (*)(const Entries&, const float*, int, int, float*);
    static constexpr Add TALL[] = {add_registers<1, 1>, add_registers<2, 1>, add_registers<3, 1>, add_registers<4, 1>, add_registers<5, 1>, add_registers<6, 1>, add_registers<7, 1>};
    static constexpr Add WIDE[] = {add_registers<1, 1>, add_registers<1, 2>, add_registers<1, 3>, add_registers<1, 4>, add_registers<1, 5>, add_registers<1, 6>, add_registers<1, 7>, add_registers<1, 8>, add_registers<1, 9>, add_registers<1, 10>};
    int row = width * pixel;
    if (window_row == LANES) return TALL[side - 1](entries, pixels, row, pixel, sums);
    for (int ky = 0; ky < side; ky++)
      for (int k = 0, n; k < window_row; k += n * LANES) {
        n = std::min(10, (window_row - k) / LANES);
        WIDE[n - 1](entries, pixels + ky * row + k, row, pixel, sums + ky * window_row + k);
      }
  }

  // What some rows of registers of a window get, summed over all windows in registers.
  template <int ROWS, int N>
  static void add_registers(const Entries& entries, const float* pixels, int row, int pixel, float* sums) {
    constexpr int STREAMS = ROWS * N <= 6 ? 2 : 1;  // enough sums at a time to hide their latency
    Floats totals[STREAMS][ROWS][N] = {};
    for (int i = 0; i < entries.count; i += STREAMS)
      for (int s = 0; s < STREAMS; s++) {
        const float* from = pixels + entries.offsets[i + s] * pixel;
        for (int r = 0; r < ROWS; r++)
          for (int n = 0; n < N; n++)
            totals[s][r][n] += load(from + r * row + n * LANES) * entries.gradients[i + s];
      }
    for (int s = 0; s < STREAMS; s++)
      for (int r = 0; r < ROWS; r++)
        for (int n = 0; n < N; n++) {
          float* to = sums + (r * N + n) * LANES;
          store(to, load(to) + totals[s][r][n]);
        }
  }

  void add_pixels(const Entries& entries, const float* window, float* to_pixels) const {
    const int row = width * pixel, length = window_row, last = window_size(), step = pixel;
    for (int i = 0; i < entries.count; i++) {
      Floats gradient = splat(entries.gradients[i]);
      float* to = to_pixels + entries.offsets[i] * step;
      for (int k = 0; k < last; k += length, to += row)
        for (int j = 0; j < length; j += LANES) store(to + j, load(to + j) + load(window + k + j) * gradient);
    }
  }

  // The sums of several shares of a batch, in their order, as torch lays the gradients out.
  void collect(const std::vector<float*>& shares) const {
    for (int i = 0; i < num_weights(); i++) weight_gradient[i] = add_shares(shares, places[i]);
    for (int o = 0; o < outputs; o++)
      weight_gradient[num_weights() + o] = add_shares(shares, outputs * window_size() + o);
  }

  static float add_shares(const std::vector<float*>& shares, int i) {
    float total = 0;
    for (const float* share : shares) total += share[i];
    return total;
  }
};
