// Loss, hits and gradients of a network over a batch, in one pass (see README of this folder's
// Python side, `fmx_ml/engine/kernel/__init__.py`).
#include <cmath>
#include <memory>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "convolution.hpp"
#include "dense.hpp"

namespace {

constexpr int SHARES = 4;   // of a batch: sums are made share by share, whatever the threads
constexpr int CHUNK = 256;  // pictures whose activations are kept at a time

enum Head { CROSS_ENTROPY = 0, SIGMOID_CROSS_ENTROPY = 1, SIGMOID_SQUARED_ERROR = 2 };

struct Network {
  std::vector<Convolution> convs;
  std::vector<Dense> denses;
  int head = 0, num_classes = 0;
  std::vector<Buffer> inputs;       // of each convolution, a slot a picture
  std::vector<std::vector<int32_t>> winners;    // of each convolution
  std::vector<Buffer> values;       // of each dense layer's inputs, and the outputs
  std::vector<Buffer> gradients;    // of the same
  std::vector<Buffer> shares[SHARES];  // gradient sums of each convolution
  Buffer pixels[SHARES], slopes[SHARES][2];     // of a convolution's input; their gradients, in turn
  double losses[CHUNK];
  int64_t hits[CHUNK];
};

// What one call works on.
struct Batch {
  const float* images;
  const int64_t* labels;
  int count, first, size;  // of the whole; of the chunk
  bool trains;
};

int share_start(int size, int share) { return size * share / SHARES; }

View output_of(Network& net, size_t layer, int slot, int row) {
  if (layer + 1 == net.convs.size()) {
    const Convolution& conv = net.convs[layer];
    return {&net.values[0][(size_t)row * net.denses[0].in_row()], conv.out_plane(), conv.out_rows, 1};
  }
  const Convolution& next = net.convs[layer + 1];
  float* base = &net.inputs[layer + 1][(size_t)slot * next.input_size()];
  return {base + next.pad * (next.width + 1), next.plane(), next.width, 1};
}

void forward_convs(Network& net, const Batch& batch, int slot, int row) {
  const Convolution& first = net.convs[0];
  int side = first.width - 2 * first.pad;
  float* to = &net.inputs[0][(size_t)slot * first.input_size()];
  const float* image = batch.images + (size_t)(batch.first + row) * first.inputs * side * side;
  for (int c = 0; c < first.inputs; c++)
    for (int y = 0; y < side; y++)
      memcpy(to + c * first.plane() + (y + first.pad) * first.width + first.pad,
             image + (c * side + y) * side, side * sizeof(float));
  for (size_t l = 0; l < net.convs.size(); l++) {
    const Convolution& conv = net.convs[l];
    const float* input = &net.inputs[l][(size_t)slot * conv.input_size()];
    conv.forward(input, output_of(net, l, slot, row), &net.winners[l][(size_t)slot * conv.outputs * conv.out_plane()]);
  }
}

void backward_convs(Network& net, int row, int share) {
  const Convolution& last = net.convs.back();
  View gradient{&net.gradients[0][(size_t)row * net.denses[0].in_row()], last.out_plane(), last.out_rows, 1};
  for (size_t l = net.convs.size(); l-- > 0;) {
    const Convolution& conv = net.convs[l];
    const float* pixels = &net.inputs[l][(size_t)row * conv.input_size()];
    if (conv.pixel > 1) conv.interleave(pixels, net.pixels[share].data()), pixels = net.pixels[share].data();
    Buffer& below = net.slopes[share][l % 2];
    if (l) std::fill_n(below.begin(), conv.pixels_size(), 0.0f);
    conv.backward(pixels, output_of(net, l, row, row), gradient, &net.winners[l][(size_t)row * conv.outputs * conv.out_plane()],
                  net.shares[share][l].data(), l ? below.data() : nullptr);
    int inner = conv.pad * (conv.width + 1) * conv.pixel;
    gradient = {below.data() + inner, 1, conv.width * conv.pixel, conv.pixel};
  }
}

// Loss and hit of one picture from its outputs, which give way to their gradients' terms.
void cross_entropy(Network& net, const Batch& batch, int row) {
  int n = net.denses.back().outputs, width = round_up(n);
  float* z = &net.values.back()[(size_t)row * width];
  float* g = &net.gradients.back()[(size_t)row * width];
  bool squashed = net.head == SIGMOID_CROSS_ENTROPY;
  if (squashed)
    for (int i = 0; i < width; i += LANES) store(z + i, sigmoid(load(z + i)));
  int64_t label = batch.labels[batch.first + row];
  float most = *std::max_element(z, z + n), total = 0;
  for (int i = 0; i < width; i += LANES) store(g + i, exp(load(z + i) - most));
  for (int i = 0; i < n; i++) total += g[i];
  net.losses[row] = std::log(total) + most - z[label];
  net.hits[row] = std::max_element(z, z + net.num_classes) - z == label;
  for (int i = 0; i < width; i++) {
    float slope = (g[i] / total - (i == label)) / batch.count;
    g[i] = i >= n ? 0 : squashed ? slope * z[i] * (1 - z[i]) : slope;
  }
}

void squared_error(Network& net, const Batch& batch, int row) {
  int n = net.denses.back().outputs, width = round_up(n);
  float* z = &net.values.back()[(size_t)row * width];
  float* g = &net.gradients.back()[(size_t)row * width];
  const float* target = &net.values[0][(size_t)row * width];
  float scale = 2.0f / ((float)n * batch.count);
  Floats total = {};
  for (int i = 0; i < width; i += LANES) {
    Floats y = sigmoid(load(z + i)), difference = y - load(target + i);
    if (i + LANES > n)
      for (int l = n - i; l < LANES; l++) difference[l] = 0;
    total += difference * difference;
    store(g + i, difference * scale * y * (1.0f - y));
  }
  net.losses[row] = sum(total) / n;
  net.hits[row] = 0;
}

void forward_rows(Network& net, const Batch& batch, int first, int last, int share) {
  size_t depth = net.denses.size();
  int width = net.denses[0].inputs, padded = net.denses[0].in_row();
  for (int row = first; row < last; row++)
    if (net.convs.empty())
      memcpy(&net.values[0][(size_t)row * padded], batch.images + (size_t)(batch.first + row) * width, width * sizeof(float));
    else
      forward_convs(net, batch, batch.trains ? row : share, row);
  for (size_t d = 0; d < depth; d++)
    net.denses[d].forward(net.values[d].data(), net.values[d + 1].data(), first, last, d + 1 < depth);
  for (int row = first; row < last; row++)
    net.head == SIGMOID_SQUARED_ERROR ? squared_error(net, batch, row) : cross_entropy(net, batch, row);
}

void backward_rows(Network& net, int first, int last, int share) {
  for (size_t d = net.denses.size(); d-- > 0;) {
    if (d == 0 && net.convs.empty()) return;  // pictures need no gradient
    const float* x = d ? net.values[d].data() : nullptr;
    net.denses[d].backward_input(net.gradients[d + 1].data(), x, net.gradients[d].data(), first, last);
  }
  for (int row = first; row < last; row++) backward_convs(net, row, share);
}

// One share of all outputs, over all rows.
void backward_denses(Network& net, const Batch& batch, int share) {
  for (size_t d = 0; d < net.denses.size(); d++) {
    Dense& dense = net.denses[d];
    int first = share_start(dense.outputs, share), last = share_start(dense.outputs, share + 1);
    dense.backward_weight(net.gradients[d + 1].data(), net.values[d].data(), batch.size, first, last, batch.first > 0);
  }
}

void run_chunk(Network& net, const Batch& batch, int threads) {
#if defined(__SSE__)
  unsigned mode = _mm_getcsr();  // whether denormals are flushed, for every thread
#endif
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int share = 0; share < SHARES; share++) {
#if defined(__SSE__)
    _mm_setcsr(mode);
#endif
    int first = share_start(batch.size, share), last = share_start(batch.size, share + 1);
    forward_rows(net, batch, first, last, share);
    if (batch.trains) backward_rows(net, first, last, share);
  }
  if (!batch.trains) return;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int share = 0; share < SHARES; share++)
    backward_denses(net, batch, share);
}

// Tells each layer where its weights lie and where its gradients go.
void place_weights(Network& net, const float* weights, float* gradients) {
  auto place = [&](auto& layer) {
    layer.weight = weights, layer.weight_gradient = gradients;
    weights += layer.num_weights() + layer.outputs;
    gradients += gradients ? layer.num_weights() + layer.outputs : 0;
    layer.pack();
  };
  for (Convolution& conv : net.convs) place(conv);
  for (Dense& dense : net.denses) place(dense);
}

void reserve(Network& net, int size, bool trains) {
  size_t slots = trains ? size : SHARES;
  for (size_t l = 0; l < net.convs.size(); l++) {
    const Convolution& conv = net.convs[l];
    net.inputs[l].resize(std::max(net.inputs[l].size(), slots * conv.input_size()));
    net.winners[l].resize(std::max(net.winners[l].size(), slots * conv.outputs * conv.out_plane()));
    for (int share = 0; share < SHARES; share++) {
      net.shares[share][l].assign(conv.gradient_size(), 0);
      for (Buffer* buffer : {&net.pixels[share], &net.slopes[share][0], &net.slopes[share][1]}) buffer->resize(std::max(buffer->size(), (size_t)conv.pixels_size()));
    }
  }
  for (size_t d = 0; d <= net.denses.size(); d++) {
    size_t row = d ? net.denses[d - 1].out_row() : net.denses[0].in_row();
    net.values[d].resize(std::max(net.values[d].size(), size * row));
    net.gradients[d].resize(net.values[d].size());
  }
}

}  // namespace

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

// layout: head, classes, number of convolutions, of dense layers; of each convolution inputs,
// outputs, side, padding, pooled; side of the picture; of each dense layer inputs and outputs.
void* fmx_network(const int32_t* layout) {
  auto net = std::make_unique<Network>();
  net->head = *layout++, net->num_classes = *layout++;
  net->convs.resize(*layout++), net->denses.resize(*layout++);
  int side = *layout++;
  for (Convolution& conv : net->convs) {
    conv.inputs = *layout++, conv.outputs = *layout++, conv.side = *layout++;
    conv.pad = *layout++, conv.pooled = *layout++;
    conv.width = side + 2 * conv.pad;
    conv.rows = conv.width - conv.side + 1;
    conv.pixel = conv.inputs == 1 ? 1 : round_up(conv.inputs);
    conv.window_row = round_up(conv.side * conv.pixel);
    conv.find_places();
    side = conv.out_rows = conv.pooled ? conv.rows / 2 : conv.rows;
  }
  for (Dense& dense : net->denses) dense.inputs = *layout++, dense.outputs = *layout++;
  net->inputs.resize(net->convs.size()), net->winners.resize(net->convs.size());
  for (auto& share : net->shares) share.resize(net->convs.size());
  net->values.resize(net->denses.size() + 1), net->gradients.resize(net->denses.size() + 1);
  return net.release();
}

void fmx_free(void* network) { delete static_cast<Network*>(network); }

// weights, gradients: each layer's weight and bias, in their order, one behind the other; without
// gradients there is no backward pass. Gives the sum of the losses and the number of hits, and
// whether all labels are classes.
bool fmx_run(void* network, const float* images, const int64_t* labels, int count, const float* weights,
             float* gradients, int threads, double* loss, int64_t* hits) {
  Network& net = *static_cast<Network*>(network);
  for (int i = 0; i < count && net.head != SIGMOID_SQUARED_ERROR; i++)
    if (labels[i] < 0 || labels[i] >= net.denses.back().outputs) return false;
  place_weights(net, weights, gradients);
  reserve(net, std::min(count, CHUNK), gradients);
  *loss = 0, *hits = 0;
  for (int first = 0; first < count; first += CHUNK) {
    Batch batch{images, labels, count, first, std::min(CHUNK, count - first), gradients != nullptr};
    run_chunk(net, batch, threads);
    for (int row = 0; row < batch.size; row++) *loss += net.losses[row], *hits += net.hits[row];
  }
  for (size_t l = 0; gradients && l < net.convs.size(); l++) {
    std::vector<float*> sums;
    for (auto& share : net.shares) sums.push_back(share[l].data());
    net.convs[l].collect(sums);
  }
  return true;
}
}
