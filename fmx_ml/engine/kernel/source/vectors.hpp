// Eight floats a register, by the vector extensions that GCC and Clang share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

constexpr int LANES = 8;
constexpr int MOST_ROWS = 6;  // by two registers: twelve sums, which fit into sixteen registers

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

inline int round_up(int count) { return (count + LANES - 1) / LANES * LANES; }

// A tile's rows, of `left` that are to be done: nearly equal numbers, at most six.
inline int block_size(int left) {
  int blocks = (left + MOST_ROWS - 1) / MOST_ROWS;
  return (left + blocks - 1) / blocks;
}

inline Floats load(const float* from) {
  Floats v;
  memcpy(&v, from, sizeof v);
  return v;
}

// The first `count` lanes; 0 behind them.
inline Floats load(const float* from, int count) {
  if (count >= LANES) return load(from);
  Floats v = {};
  for (int i = 0; i < count; i++) v[i] = from[i];
  return v;
}

inline void store(float* to, Floats v) { memcpy(to, &v, sizeof v); }

// The first `count` lanes only, so that what lies behind a row stays as it is.
inline void store(float* to, Floats v, int count) {
  if (count >= LANES) return store(to, v);
  for (int i = 0; i < count; i++) to[i] = v[i];
}

inline Floats splat(float x) { return Floats{} + x; }

inline float sum(Floats v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

// NaN stays NaN, as in torch: a training that diverges must be seen.
inline Floats relu(Floats v) { return v < 0.0f ? Floats{} : v; }

// e^x to about 2 units in the last place (Cephes' expf): x = n ln 2 + r, a polynomial in r.
inline Floats exp(Floats x) {
  x = x > 88.0f ? splat(88.0f) : x;
  x = x < -87.0f ? splat(-87.0f) : x;
  constexpr float SHIFT = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  Floats shifted = x * 1.44269504f + SHIFT;
  Floats n = shifted - SHIFT;
  Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  Ints power = ((Ints)shifted << 23) + (127 << 23);  // 2^n: n lies in shifted's low bits
  return (p * r * r + r + 1.0f) * (Floats)power;
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// Floats that begin at a cache line, so that whole registers never straddle two.
template <typename T>
struct Aligned {
  using value_type = T;
  template <typename U>
  struct rebind { using other = Aligned<U>; };
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const Aligned&) const { return true; }
  bool operator!=(const Aligned&) const { return false; }
};
using Buffer = std::vector<float, Aligned<float>>;

// Rows of eight floats become columns; of the eight rows only `rows` are read, 0 stands for others.
inline void transpose(const float* from, ptrdiff_t from_row, int rows, float* to, ptrdiff_t to_row) {
  Floats a[LANES], b[LANES];
  for (int i = 0; i < LANES; i++) a[i] = i < rows ? load(from + i * from_row) : Floats{};
  for (int i = 0; i < LANES; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < LANES; i += 4)
    for (int j = i; j < i + 2; j++) {
      a[j] = __builtin_shufflevector(b[j], b[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      a[j + 2] = __builtin_shufflevector(b[j], b[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < LANES / 2; i++) {
    store(to + i * to_row, __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(to + (i + 4) * to_row, __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}
