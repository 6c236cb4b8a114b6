// Loss, hits and gradients of a network over a batch, in one pass over its pictures.
#include <cmath>
#include <memory>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "convolution.hpp"
#include "dense.hpp"

constexpr int CHUNK = 256;  // pictures whose activations are kept at a time

enum Head { CROSS_ENTROPY, SIGMOID_CROSS_ENTROPY, SIGMOID_SQUARED_ERROR };

// What enters a dense layer or leaves the last one, a row a picture, and its gradients.
struct Rows {
  int width;
  Buffer values, gradients;

  float* value(int row) { return values.at((size_t)row * width); }
  float* gradient(int row) { return gradients.at((size_t)row * width); }
};

// Pictures of a call, of which `size` from `first` on are the chunk that is worked on.
struct Batch {
  const float* images;
  const int64_t* labels;
  int count, first, size;
  bool trains;
};

struct Network {
  int head, num_classes;
  std::vector<Convolution> convs;
  std::vector<Dense> denses;
  std::vector<Rows> rows;
  Buffer pixels[SHARES], slopes[SHARES][2];  // of a convolution's input; their gradients, in turn
  double losses[CHUNK];
  int hits[CHUNK];

  int shares;  // of a batch: without convolutions nothing is summed by them, so one a thread, which
               // reads the weights once for all of its pictures

  int start(int size, int share) const { return size * share / shares; }

  View output_of(size_t layer, int slot, int row) {
    Convolution& conv = convs[layer];
    if (layer + 1 == convs.size()) return {rows[0].value(row), conv.out_plane(), conv.out_rows, 1};
    Convolution& next = convs[layer + 1];
    float* base = next.planes.at(slot * next.input_size());
    return {base + next.pad * (next.width + 1), next.plane(), next.width, 1};
  }

  void forward_convs(const float* image, int slot, int row) {
    Convolution& first = convs[0];
    int side = first.width - 2 * first.pad;
    float* to = first.planes.at(slot * first.input_size()) + first.pad * (first.width + 1);
    for (int y = 0; y < side; y++)
      memcpy(to + y * first.width, image + y * side, side * sizeof(float));
    for (size_t l = 0; l < convs.size(); l++) convs[l].forward(slot, output_of(l, slot, row));
  }

  void backward_convs(int row, int share) {
    Convolution& last = convs.back();
    View gradient{rows[0].gradient(row), last.out_plane(), last.out_rows, 1};
    for (size_t l = convs.size(); l-- > 0;) {
      Convolution& conv = convs[l];
      float* below = l ? slopes[share][l % 2].at(0) : nullptr;
      if (l) std::fill_n(below, conv.pixels_size(), 0.0f);
      conv.backward(row, share, output_of(l, row, row), gradient, pixels[share], below);
      int inner = conv.pad * (conv.width + 1) * conv.pixel;
      gradient = {below + inner, 1, conv.width * conv.pixel, conv.pixel};
    }
  }

  void cross_entropy(const Batch& batch, int row) {
    int n = denses.back().outputs, label = batch.labels[batch.first + row];
    float *z = rows.back().value(row), *g = rows.back().gradient(row);
    bool squashed = head == SIGMOID_CROSS_ENTROPY;
    for (int i = 0; squashed && i < n; i += LANES) store(z + i, sigmoid(load(z + i)));
    float most = *std::max_element(z, z + n), total = 0;
    for (int i = 0; i < n; i += LANES) store(g + i, exp(load(z + i) - most));
    for (int i = 0; i < n; i++) total += g[i];
    losses[row] = std::log(total) + most - z[label];
    hits[row] = std::max_element(z, z + num_classes) - z == label;
    for (int i = 0; i < rows.back().width; i++) {
      float slope = i < n ? (g[i] / total - (i == label)) / batch.count : 0;
      g[i] = squashed ? slope * z[i] * (1 - z[i]) : slope;
    }
  }

  void squared_error(const Batch& batch, int row) {
    int n = denses.back().outputs;
    float *z = rows.back().value(row), *g = rows.back().gradient(row), *target = rows[0].value(row);
    float scale = 2.0f / ((float)n * batch.count);
    Floats total = {};
    for (int i = 0; i < n; i += LANES) {  // n is that of the pixels: whole registers
      Floats y = sigmoid(load(z + i)), difference = y - load(target + i);
      total += difference * difference;
      store(g + i, difference * scale * y * (1.0f - y));
    }
    losses[row] = sum(total) / n, hits[row] = 0;
  }

  void forward(const Batch& batch, int share) {
    int first = start(batch.size, share), last = start(batch.size, share + 1);
    size_t pixels = convs.empty() ? denses[0].inputs : 28 * 28;
    for (int row = first; row < last; row++) {
      const float* image = batch.images + (batch.first + row) * pixels;
      if (convs.empty()) memcpy(rows[0].value(row), image, pixels * sizeof(float));
      else forward_convs(image, batch.trains ? row : share, row);
    }
    for (size_t d = 0; d < denses.size(); d++)
      denses[d].forward(rows[d].value(first), rows[d + 1].value(first), last - first,
                        d + 1 < denses.size());
    for (int row = first; row < last; row++)
      head == SIGMOID_SQUARED_ERROR ? squared_error(batch, row) : cross_entropy(batch, row);
  }

  void backward(const Batch& batch, int share) {
    int first = start(batch.size, share), last = start(batch.size, share + 1);
    for (size_t d = denses.size(); d-- > convs.empty();)  // pictures need no gradients
      denses[d].backward(rows[d + 1].gradient(first), d ? rows[d].value(first) : nullptr,
                         rows[d].gradient(first), last - first);
    for (int row = first; row < last && !convs.empty(); row++) backward_convs(row, share);
  }

  // One share of the outputs of each dense layer, over all rows of the chunk.
  void add_up(const Batch& batch, int share) {
    for (size_t d = 0; d < denses.size(); d++) {
      int first = start(denses[d].outputs, share), last = start(denses[d].outputs, share + 1);
      denses[d].add_up(rows[d + 1].gradient(0), rows[d].value(0), batch.size, first, last,
                       batch.first > 0);
    }
  }

  void run(const Batch& batch, int threads) {
    shares = convs.empty() ? threads : SHARES;
#if defined(__SSE__)
    unsigned mode = _mm_getcsr();  // whether denormals are flushed: every thread does as this one
#endif
#pragma omp parallel num_threads(threads)
    {
#if defined(__SSE__)
      _mm_setcsr(mode);
#endif
#pragma omp for schedule(static)
      for (int share = 0; share < shares; share++) {
        forward(batch, share);
        if (batch.trains) backward(batch, share);
      }
#pragma omp for schedule(static)
      for (int share = 0; share < shares; share++)
        if (batch.trains) add_up(batch, share);
    }
  }

  // Tells each layer where its weights lie and where its gradients go.
  void place(const float* weights, float* gradients) {
    auto take = [&](auto& layer) {
      int count = layer.num_weights() + layer.outputs;
      layer.weight = weights, layer.weight_gradient = gradients;
      weights += count, gradients += gradients ? count : 0;
      layer.pack();
    };
    for (Convolution& conv : convs) take(conv);
    for (Dense& dense : denses) take(dense);
  }

  void make_room(int size, bool trains) {
    size_t slots = trains ? size : SHARES;
    for (Convolution& conv : convs) {
      conv.planes.grow(slots * conv.input_size());
      conv.winners.resize(std::max(conv.winners.size(), slots * conv.outputs * conv.out_plane()));
      for (int share = 0; share < SHARES; share++) {
        conv.sums[share].grow(conv.gradient_size());
        std::fill_n(conv.sums[share].at(0), conv.gradient_size(), 0.0f);
        for (Buffer* buffer : {&pixels[share], &slopes[share][0], &slopes[share][1]})
          buffer->grow(conv.pixels_size());
      }
    }
    for (Rows& part : rows)
      part.values.grow((size_t)size * part.width), part.gradients.grow((size_t)size * part.width);
  }
};

extern "C" {

// The instructions that this library was built for.
const char* fmx_target() {
#if defined(__AVX512F__)
  return "avx512";
#elif defined(__AVX2__)
  return "avx2";
#else
  return "generic";
#endif
}

// layout: head, classes, numbers of convolutions and of dense layers, side of a picture; of each
// convolution inputs, outputs, side, padding, pooled; of each dense layer inputs, outputs.
Network* fmx_network(const int32_t* layout) {
  auto net = std::make_unique<Network>();
  net->head = *layout++, net->num_classes = *layout++;
  net->convs.resize(*layout++), net->denses.resize(*layout++);
  int size = *layout++;
  for (Convolution& conv : net->convs) {
    for (int* fact : {&conv.inputs, &conv.outputs, &conv.side, &conv.pad, &conv.pooled})
      *fact = *layout++;
    size = conv.measure(size);
  }
  for (Dense& dense : net->denses) dense.inputs = *layout++, dense.outputs = *layout++;
  net->rows.push_back({net->denses[0].in_row(), {}, {}});
  for (Dense& dense : net->denses) net->rows.push_back({dense.out_row(), {}, {}});
  return net.release();
}

void fmx_free(Network* net) { delete net; }

// weights, gradients: each layer's weights and biases, one behind the other; without gradients
// there is no backward pass. Gives the sum of losses, the hits, and whether all labels are outputs.
bool fmx_run(Network* net, const float* images, const int64_t* labels, int count,
             const float* weights, float* gradients, int threads, double* loss, int64_t* hits) {
  auto is_wrong = [&](int64_t label) { return label < 0 || label >= net->denses.back().outputs; };
  if (net->head != SIGMOID_SQUARED_ERROR && std::any_of(labels, labels + count, is_wrong))
    return false;
  net->place(weights, gradients);
  net->make_room(std::min(count, CHUNK), gradients);
  *loss = 0, *hits = 0;
  for (int first = 0; first < count; first += CHUNK) {
    Batch batch{images, labels, count, first, std::min(CHUNK, count - first), gradients != nullptr};
    net->run(batch, threads);
    for (int row = 0; row < batch.size; row++) *loss += net->losses[row], *hits += net->hits[row];
  }
  for (Convolution& conv : net->convs)
    if (gradients) conv.collect();
  return true;
}
}
