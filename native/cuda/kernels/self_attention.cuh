// Multi-head self-attention (Vaswani et al. 2017) and its gradient, as FlashAttention (Dao et al. 2022) orders them: a block has 64
// queries, or 64 keys, of one head and meets the others 64 at a time; no matrix of T x T exists, and the gradient computes the
// probabilities again. Channels go in chunks of 64: of wider heads each block writes one chunk and adds the scores over all of them.
#pragma once

#include <type_traits>

#include "cuda/kernels/lane_group.cuh"
#include "cuda/kernels/shared_tile.cuh"

namespace kw::cuda::device {

constexpr int kAttentionThreads = 256;  // 16 x 16
constexpr int kAttentionTile = 64;      // queries, keys and channels at a time

/** [tokens][channels] of a head, or [queries][keys]; reads of 16 bytes meet no bank conflicts. */
using HeadTile = SharedTile<float, kAttentionTile, kAttentionTile, Major::k, 4>;

/** The block's tile with that number in dynamic shared memory. */
__device__ __forceinline__ HeadTile head_tile(int number) {
  return HeadTile(reinterpret_cast<float*>(dynamic_shared()) + number * HeadTile::kElements);
}

/** [N, T, D] as heads; head h of a sample owns the channels from h * width. */
struct AttentionHeads {
  int tokens, heads, width;
  float scale;  // of the products, 1 / sqrt(width)
  bool packed;  // rows of every head start at multiples of 16 bytes and are whole packs long

  __device__ __forceinline__ long long row_stride() const { return static_cast<long long>(heads) * width; }
  __device__ __forceinline__ long long offset(unsigned head) const {
    return static_cast<long long>(head / heads) * tokens * row_stride() + static_cast<long long>(head % heads) * width;
  }
  __device__ __forceinline__ int chunks() const { return ceil_divide(width, kAttentionTile); }
};

/** Starts to copy a tile, 64 tokens by 64 channels; `head` is the head's first element. Zeros beyond the tokens and the head's channels. */
__device__ __forceinline__ void start_tile(HeadTile tile, const float* head, const AttentionHeads& heads, int first_token, int chunk) {
  const int first_channel = chunk * kAttentionTile;
  const auto copy_rows = [&]<int kCount>(std::integral_constant<int, kCount>) {
    constexpr int kCopies = kAttentionTile / kCount;  // of a token
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kAttentionTile * kCopies; i += kAttentionThreads) {
      const int row = i / kCopies, channel = i % kCopies * kCount;
      const bool valid = first_token + row < heads.tokens && first_channel + channel < heads.width;
      const long long at = (first_token + row) * heads.row_stride() + first_channel + channel;
      copy_elements<kCount>(tile.at(row, channel), head + (valid ? at : 0), valid);
    }
  };
  heads.packed ? copy_rows(std::integral_constant<int, 4>()) : copy_rows(std::integral_constant<int, 1>());
}

/** What a thread has of a 64 x 64 matrix: four neighbouring rows, and in add_products four columns 16 apart, in add_outer_products four
 * neighbours. */
struct AttentionThread {
  int row = static_cast<int>(threadIdx.x) / 16 * 4, column = static_cast<int>(threadIdx.x) % 16;

  /** sums[i][j] += <x[row + i], y[column + 16 j]> over `depth` channels, which may be read up to the next multiple of 4. */
  __device__ __forceinline__ void add_products(float (&sums)[4][4], HeadTile x, HeadTile y, int depth) const {
    for (int c = 0; c < depth; c += 4) {
      float4 left[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) left[i] = load_vector<float4>(x.at(row + i, c));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float4 right = load_vector<float4>(y.at(column + 16 * j, c));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[i][j] = fmaf(left[i].x, right.x, sums[i][j]);
          sums[i][j] = fmaf(left[i].y, right.y, sums[i][j]);
          sums[i][j] = fmaf(left[i].z, right.z, sums[i][j]);
          sums[i][j] = fmaf(left[i].w, right.w, sums[i][j]);
        }
      }
    }
  }

  /** sums[i][j] += sum over the 64 rows r of x[r][row + i] * y[r][4 column + j]. */
  __device__ __forceinline__ void add_outer_products(float (&sums)[4][4], HeadTile x, HeadTile y) const {
#pragma unroll 2
    for (int r = 0; r < kAttentionTile; ++r) {
      const float4 fours[2] = {load_vector<float4>(x.at(r, row)), load_vector<float4>(y.at(r, 4 * column))};
      const float left[4] = {fours[0].x, fours[0].y, fours[0].z, fours[0].w}, right[4] = {fours[1].x, fours[1].y, fours[1].z, fours[1].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
      }
    }
  }

  /** Writes sums of add_products as matrix[row][column], or as its transpose. */
  __device__ __forceinline__ void keep(const float (&sums)[4][4], HeadTile matrix, bool transposed) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int across = column + 16 * j;
        *(transposed ? matrix.at(across, row + i) : matrix.at(row + i, across)) = sums[i][j];
      }
    }
  }

  /** Writes sums of add_outer_products, times `factors` of their rows, to a chunk of [tokens, width] of a head. */
  __device__ __forceinline__ void store(const float (&sums)[4][4], const float (&factors)[4], float* head, const AttentionHeads& heads,
                                        int first_token, int chunk) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = first_token + row + i;
      if (token >= heads.tokens) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int channel = chunk * kAttentionTile + 4 * column + j;
        if (channel < heads.width) head[token * heads.row_stride() + channel] = sums[i][j] * factors[i];
      }
    }
  }

  /** The sum, or the largest value, over the 16 threads that have the same rows. */
  template <class Join>
  __device__ __forceinline__ static float over_row(float value, const Join& join) {
#pragma unroll
    for (int distance = 8; distance > 0; distance /= 2) value = join(value, shuffle_xor(value, distance));
    return value;
  }
};

/** Tiles in shared memory: of queries and keys; of dy or nothing; of values; and one of probabilities. */
constexpr int kAttentionForwardBytes = 4 * HeadTile::kElements * static_cast<int>(sizeof(float));
constexpr int kAttentionBackwardBytes = 5 * HeadTile::kElements * static_cast<int>(sizeof(float));

/** The softmax of a thread's rows as their scores arrive, key tile by key tile ("online"): relative to the largest score so far. */
struct OnlineSoftmax {
  float largest[4], sum[4] = {};

  __device__ __forceinline__ OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < 4; ++i) largest[i] = lowest();
  }
  static __device__ __forceinline__ float lowest() { return bits_to_float(0xff800000u); }  // minus infinity

  /** Turns scores into exponentials, zero in columns that are not valid, and rescales what was added to `out` before. */
  __device__ __forceinline__ void add(float (&scores)[4][4], const bool (&valid)[4], float scale, float (&out)[4][4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float top = lowest();
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = valid[j] ? scores[i][j] * scale : lowest();
        top = fmaxf(top, scores[i][j]);
      }
      top = fmaxf(largest[i], AttentionThread::over_row(top, [](float a, float b) { return fmaxf(a, b); }));
      const float from = top == lowest() ? 0.0f : top;  // all minus infinity so far: no probability, rather than NaN
      float added = 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        scores[i][j] = expf(scores[i][j] - from);
        added += scores[i][j];
      }
      const float rescale = expf(largest[i] - from);
      sum[i] = sum[i] * rescale + AttentionThread::over_row(added, [](float a, float b) { return a + b; });
      largest[i] = top;
#pragma unroll
      for (int j = 0; j < 4; ++j) out[i][j] *= rescale;
    }
  }
};

/** y [N, T, D] and log_sums [N, heads, T]. blockIdx: head of a sample, 64 queries, chunk of y's channels. */
__global__ void __launch_bounds__(kAttentionThreads, 2)
    self_attention(const float* query, const float* key, const float* value, AttentionHeads heads, float* y, float* log_sums) {
  const HeadTile queries = head_tile(0), keys = head_tile(1), values = head_tile(2), weights = head_tile(3);
  const long long head = heads.offset(blockIdx.x);
  const int first_query = static_cast<int>(blockIdx.y) * kAttentionTile, chunks = heads.chunks(), own = static_cast<int>(blockIdx.z);
  const AttentionThread thread;
  OnlineSoftmax softmax;
  float out[4][4] = {};
  for (int first_key = 0; first_key < heads.tokens; first_key += kAttentionTile) {
    float scores[4][4] = {};
    for (int i = 0; i < chunks; ++i) {
      const int chunk = (own + 1 + i) % chunks;
      syncthreads();  // nobody reads the tiles any more
      if (chunks > 1 || first_key == 0) start_tile(queries, query + head, heads, first_query, chunk);
      start_tile(keys, key + head, heads, first_key, chunk);
      if (i == 0) start_tile(values, value + head, heads, first_key, own);
      commit_copies();
      wait_copies<0>();
      syncthreads();
      thread.add_products(scores, queries, keys, min(kAttentionTile, heads.width - chunk * kAttentionTile));
    }
    bool valid[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) valid[j] = first_key + thread.column + 16 * j < heads.tokens;
    softmax.add(scores, valid, heads.scale, out);
    thread.keep(scores, weights, true);
    syncthreads();
    thread.add_outer_products(out, weights, values);
  }
  float inverse[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    inverse[i] = 1.0f / softmax.sum[i];
    const int token = first_query + thread.row + i;
    if (own == 0 && thread.column == 0 && token < heads.tokens) {
      log_sums[static_cast<long long>(blockIdx.x) * heads.tokens + token] = softmax.largest[i] + logf(softmax.sum[i]);
    }
  }
  thread.store(out, inverse, y + head, heads, first_query, own);
}

/** The operands of the gradient: [N, T, D], and [N, heads, T] for log_sums and dots, the sums of dy * y over each head's channels. */
struct AttentionGradient {
  const float* dy;
  const float* query;
  const float* key;
  const float* value;
  const float* log_sums;
  const float* dots;
  AttentionHeads heads;
  float* dquery;
  float* dkey;
  float* dvalue;
};

/** dots [N, heads, T]: a group of lanes has one row. */
__global__ void __launch_bounds__(kGroupThreads)
    attention_dots(const float* dy, const float* y, AttentionHeads heads, long long rows, int lanes, float* dots) {
  const LaneGroup group(lanes);
  const bool active = group.row < rows;
  float sum = 0;
  if (active) {
    const long long at = heads.offset(static_cast<unsigned>(group.row / heads.tokens)) + group.row % heads.tokens * heads.row_stride();
    for (int c = group.lane; c < heads.width; c += lanes) sum = fmaf(dy[at + c], y[at + c], sum);
  }
  sum = group.sum(sum);
  if (active && group.lane == 0) dots[group.row] = sum;
}

/** The tiles of one block of the gradient, and what it computes from them for 64 queries that meet 64 keys. */
struct AttentionGradientTiles {
  HeadTile queries = head_tile(0), gradients = head_tile(1), keys = head_tile(2), values = head_tile(3), matrix = head_tile(4);

  /** The probabilities p and dscores = p (dp - dot) scale. The tiles of chunk `own` stay in shared memory: where there is no other
   * chunk, queries or keys that the block has met before are not read again. */
  __device__ __forceinline__ void meet(const AttentionGradient& gradient, const AttentionThread& thread, int first_query, int first_key,
                                       int own, bool has_queries, bool has_keys, float (&p)[4][4], float (&dscores)[4][4]) const {
    const AttentionHeads& heads = gradient.heads;
    const long long head = heads.offset(blockIdx.x);
    const int chunks = heads.chunks();
    for (int i = 0; i < chunks; ++i) {
      const int chunk = (own + 1 + i) % chunks;
      syncthreads();  // nobody reads the tiles any more
      if (chunks > 1 || !has_queries) {
        start_tile(queries, gradient.query + head, heads, first_query, chunk);
        start_tile(gradients, gradient.dy + head, heads, first_query, chunk);
      }
      if (chunks > 1 || !has_keys) {
        start_tile(keys, gradient.key + head, heads, first_key, chunk);
        start_tile(values, gradient.value + head, heads, first_key, chunk);
      }
      commit_copies();
      wait_copies<0>();
      syncthreads();
      const int depth = min(kAttentionTile, heads.width - chunk * kAttentionTile);
      thread.add_products(p, queries, keys, depth);
      thread.add_products(dscores, gradients, values, depth);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = first_query + thread.row + i;
      const bool is_query = token < heads.tokens;
      const long long at = static_cast<long long>(blockIdx.x) * heads.tokens + token;
      const float log_sum = is_query ? gradient.log_sums[at] : 0.0f, dot = is_query ? gradient.dots[at] : 0.0f;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool valid = is_query && first_key + thread.column + 16 * j < heads.tokens;
        p[i][j] = valid ? expf(p[i][j] * heads.scale - log_sum) : 0.0f;
        dscores[i][j] = valid ? p[i][j] * (dscores[i][j] - dot) * heads.scale : 0.0f;
      }
    }
  }
};

/** dkey and dvalue of 64 keys. blockIdx: head of a sample, 64 keys, chunk of channels. */
__global__ void __launch_bounds__(kAttentionThreads, 2) attention_key_gradient(AttentionGradient gradient) {
  const AttentionGradientTiles tiles;
  const AttentionHeads& heads = gradient.heads;
  const AttentionThread thread;
  const int first_key = static_cast<int>(blockIdx.y) * kAttentionTile, own = static_cast<int>(blockIdx.z);
  float dkey[4][4] = {}, dvalue[4][4] = {};
  for (int first_query = 0; first_query < heads.tokens; first_query += kAttentionTile) {
    float p[4][4] = {}, dscores[4][4] = {};
    tiles.meet(gradient, thread, first_query, first_key, own, false, first_query > 0, p, dscores);
    thread.keep(p, tiles.matrix, false);
    syncthreads();
    thread.add_outer_products(dvalue, tiles.matrix, tiles.gradients);
    syncthreads();
    thread.keep(dscores, tiles.matrix, false);
    syncthreads();
    thread.add_outer_products(dkey, tiles.matrix, tiles.queries);
  }
  const float ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  const long long head = heads.offset(blockIdx.x);
  thread.store(dkey, ones, gradient.dkey + head, heads, first_key, own);
  thread.store(dvalue, ones, gradient.dvalue + head, heads, first_key, own);
}

/** dquery of 64 queries. blockIdx: head of a sample, 64 queries, chunk of channels. */
__global__ void __launch_bounds__(kAttentionThreads, 2) attention_query_gradient(AttentionGradient gradient) {
  const AttentionGradientTiles tiles;
  const AttentionHeads& heads = gradient.heads;
  const AttentionThread thread;
  const int first_query = static_cast<int>(blockIdx.y) * kAttentionTile, own = static_cast<int>(blockIdx.z);
  float dquery[4][4] = {};
  for (int first_key = 0; first_key < heads.tokens; first_key += kAttentionTile) {
    float p[4][4] = {}, dscores[4][4] = {};
    tiles.meet(gradient, thread, first_query, first_key, own, first_key > 0, false, p, dscores);
    thread.keep(dscores, tiles.matrix, true);
    syncthreads();
    thread.add_outer_products(dquery, tiles.matrix, tiles.keys);
  }
  const float ones[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  thread.store(dquery, ones, gradient.dquery + heads.offset(blockIdx.x), heads, first_query, own);
}

}  // namespace kw::cuda::device
