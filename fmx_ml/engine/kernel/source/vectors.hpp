// Eight floats a register, by the vector extensions that GCC and Clang share.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

constexpr int LANES = 8;
constexpr int MOST_ROWS = 6;  // of a tile, by two registers: twelve sums, of sixteen registers

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

inline int round_up(int count) { return (count + LANES - 1) / LANES * LANES; }

// Rows of the next tile where `left` are to be done: tiles of nearly equal size.
inline int tile_size(int left) {
  int tiles = (left + MOST_ROWS - 1) / MOST_ROWS;
  return (left + tiles - 1) / tiles;
}

// Calls f with n, which is 1 to MOST, as a constant of the program.
template <int MOST, typename F>
void with_constant(int n, F f) {
  if (n == MOST) return f(std::integral_constant<int, MOST>{});
  if constexpr (MOST > 1) with_constant<MOST - 1>(n, f);
}

// Floats that begin at whole registers, at first all 0.
struct Buffer {
  std::vector<Floats> registers;

  void grow(size_t count) {
    if (count > registers.size() * LANES) registers.resize((count + LANES - 1) / LANES);
  }
  float* at(size_t place) { return reinterpret_cast<float*>(registers.data()) + place; }
  const float* at(size_t place) const { return const_cast<Buffer*>(this)->at(place); }
};

inline Floats load(const float* from) {
  Floats v;
  memcpy(&v, from, sizeof v);
  return v;
}

// Only the first `count` lanes: what lies behind a row stays as it is, or is taken for 0.
inline Floats load(const float* from, int count) {
  if (count >= LANES) return load(from);
  Floats v = {};
  for (int i = 0; i < count; i++) v[i] = from[i];
  return v;
}

template <typename T, typename V>
void store(T* to, V v, int count = LANES) {
  if (count >= LANES) memcpy(to, &v, sizeof v);
  else if (count == LANES / 2) memcpy(to, &v, sizeof v / 2);
  else for (int i = 0; i < count; i++) to[i] = v[i];
}

inline void add(float* to, Floats v) { store(to, load(to) + v); }

inline Floats splat(float x) { return Floats{} + x; }

inline float sum(Floats v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

// NaN stays NaN, as in torch: a training that diverges must be seen.
inline Floats relu(Floats v) { return v < 0.0f ? Floats{} : v; }

// e^x to about two units in the last place (Cephes' expf): x = n ln 2 + r, a polynomial of r.
inline Floats exp(Floats x) {
  x = x > 88.0f ? splat(88.0f) : x < -87.0f ? splat(-87.0f) : x;
  constexpr float SHIFT = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  Floats shifted = x * 1.44269504f + SHIFT, n = shifted - SHIFT;
  Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f, p = splat(1.9875691500e-4f);
  for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                     5.0000001201e-1f})
    p = p * r + next;
  Ints power = ((Ints)shifted << 23) + (127 << 23);  // 2^n: n lies in shifted's low bits
  return (p * r * r + r + 1.0f) * (Floats)power;
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// Eight rows of eight floats as columns; only `rows` of them are read, the others are 0.
inline void transpose(const float* from, int from_row, int rows, float* to, int to_row) {
  Floats a[LANES], b[LANES];
  for (int i = 0; i < LANES; i++) a[i] = i < rows ? load(from + i * from_row) : Floats{};
  for (int i = 0; i < LANES; i += 2) {
    b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i : {0, 1, 4, 5}) {
    a[i] = __builtin_shufflevector(b[i], b[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    a[i + 2] = __builtin_shufflevector(b[i], b[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < LANES / 2; i++) {
    store(to + i * to_row, __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(to + (i + 4) * to_row,
          __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}
