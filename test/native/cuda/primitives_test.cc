// What primitives.cuh promises, one by one, against plain arithmetic. On a device the same cases check the other bodies.
#include <cstring>
#include <limits>

#include "kernel_test.h"

namespace kw::cuda::test {
namespace {

using namespace device;

__global__ void round_numbers(const float* in, std::uint16_t* bfloat16s, std::uint32_t* pairs, std::uint32_t* tf32s) {
  const float value = in[threadIdx.x];
  bfloat16s[threadIdx.x] = to_bfloat16(value).bits;
  pairs[threadIdx.x] = pack_bfloat16(value, 1.0f);
  tf32s[threadIdx.x] = to_tf32(value);
}

TEST_CASE("Numbers are rounded to bfloat16 to nearest, ties to even, and to tf32 to nearest, ties away") {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::uint32_t> in = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf818000, 0x7f7fffff, float_to_bits(infinity),
                                         0x7fc00001, 0xff800001, 0x00000000, 0x80000000, 0x3f801000, 0x3f800fff, 0x00008000};
  const std::vector<std::uint16_t> bfloat16s = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf82, 0x7f80, 0x7f80,
                                                0x7fff, 0x7fff, 0x0000, 0x8000, 0x3f80, 0x3f80, 0x0000};
  const std::vector<std::uint32_t> tf32s = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808000, 0xbf818000, 0x7f800000, 0x7f800000};
  std::vector<float> values;
  for (const std::uint32_t bits : in) values.push_back(bits_to_float(bits));
  const DeviceArray<float> on_device(values);
  DeviceArray<std::uint16_t> rounded(in.size());
  DeviceArray<std::uint32_t> pairs(in.size());
  DeviceArray<std::uint32_t> tf32(in.size());
  launch(round_numbers, 1, static_cast<unsigned>(in.size()), 0, nullptr, on_device.data(), rounded.data(), pairs.data(), tf32.data());
  const auto pair_values = pairs.values();
  const auto tf32_values = tf32.values();
  CHECK(rounded.values() == bfloat16s);
  for (std::size_t i = 0; i < in.size(); ++i) {
    CAPTURE(i);
    CHECK((pair_values[i] & 0xffff) == bfloat16s[i]);
    CHECK(high_bfloat16(pair_values[i]) == 1.0f);
    CHECK(to_bfloat16(values[i]).bits == bfloat16s[i]);  // on the host
    if (i < tf32s.size()) CHECK(tf32_values[i] == tf32s[i]);
  }
  CHECK(tf32_values[11] == 0x3f802000);
  CHECK(tf32_values[12] == 0x3f800000);
  CHECK(low_bfloat16(0x3f804000) == 2.0f);
}

struct WarpResults {
  int from_lane_5, from_neighbour, from_below, from_above;
  unsigned odd;
  int any_large, all_small, all_odd;
  float sum, largest;
};

__global__ void use_warp(WarpResults* out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  WarpResults& result = out[threadIdx.x];
  result.from_lane_5 = shuffle(lane * 3, 5);
  result.from_neighbour = shuffle_xor(lane, 1);
  result.from_below = shuffle_down(lane, 4);
  result.from_above = shuffle_up(lane, 4);
  result.odd = ballot(lane % 2 == 1);
  result.any_large = any(lane > 30);
  result.all_small = all(lane < 32);
  result.all_odd = all(lane % 2 == 1);
  result.sum = warp_sum(static_cast<float>(lane));
  result.largest = warp_max(static_cast<float>(lane ^ 21));
}

TEST_CASE("Warps shuffle, vote and sum") {
  in_every_schedule([] {
    DeviceArray<WarpResults> out(64);
    launch(use_warp, 1, 64, 0, nullptr, out.data());
    const auto results = out.values();
    for (int thread = 0; thread < 64; ++thread) {
      const int lane = thread % 32;
      const WarpResults& result = results[static_cast<std::size_t>(thread)];
      CAPTURE(thread);
      CHECK(result.from_lane_5 == 15);
      CHECK(result.from_neighbour == (lane ^ 1));
      CHECK(result.from_below == (lane < 28 ? lane + 4 : lane));
      CHECK(result.from_above == (lane >= 4 ? lane - 4 : lane));
      CHECK(result.odd == 0xaaaaaaaa);
      CHECK(result.any_large == 1);
      CHECK(result.all_small == 1);
      CHECK(result.all_odd == 0);
      CHECK(result.sum == 496.0f);
      CHECK(result.largest == 31.0f);
    }
  });
}

__global__ void sum_block(const float* in, float* out) {
  const int thread = thread_number();
  const float first = block_sum(in[thread]);
  out[thread] = first + block_sum(1.0f);
}

TEST_CASE("A block's sum is in every thread, also twice in turn, with the same bits in every schedule") {
  const std::vector<float> values = random_floats(192, 3);
  double expected = 192;
  for (const float value : values) expected += value;
  const auto sums = same_in_every_schedule<float>([&] {
    const DeviceArray<float> in(values);
    DeviceArray<float> out(values.size());
    launch(sum_block, 1, dim3(8, 12, 2), 0, nullptr, in.data(), out.data());
    return out.values();
  });
  for (const float sum : sums) CHECK(sum == sums[0]);
  CHECK(sums[0] == doctest::Approx(expected).epsilon(1e-6));
}

__global__ void use_named_barriers(int* out) {
  auto* values = reinterpret_cast<int*>(dynamic_shared());
  const int thread = static_cast<int>(threadIdx.x);
  const int pair = thread / 64;
  for (int round = 0; round <= pair; ++round) {  // the pairs of warps do not do the same
    values[thread] = thread * 10 + round;
    named_barrier(1 + pair, 64);
    out[thread] = values[thread ^ 63];
    named_barrier(1 + pair, 64);
  }
}

TEST_CASE("Named barriers keep parts of a block together") {
  in_every_schedule([] {
    DeviceArray<int> out(192);
    launch(use_named_barriers, 1, 192, 192 * sizeof(int), nullptr, out.data());
    const auto values = out.values();
    for (int thread = 0; thread < 192; ++thread) CHECK(values[static_cast<std::size_t>(thread)] == (thread ^ 63) * 10 + thread / 64);
  });
}

__global__ void copy_through_shared(const unsigned char* in, unsigned char* out) {
  unsigned char* shared = dynamic_shared();
  const unsigned thread = threadIdx.x;
  copy_async_16(shared + thread * 16, in + thread * 16, thread != 1);
  commit_copies();
  copy_async_8(shared + 512 + thread * 8, in + 512 + thread * 8, thread != 2);
  commit_copies();
  copy_async_4(shared + 768 + thread * 4, in + 768 + thread * 4, thread != 3);
  commit_copies();
  wait_copies<1>();
  wait_copies<0>();
  syncthreads();
  for (unsigned i = thread; i < 896; i += 32) out[i] = shared[i];
}

TEST_CASE("Copies bring their bytes, or zeros where they are not valid") {
  std::vector<unsigned char> values(896);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<unsigned char>(1 + i % 250);
  std::vector<unsigned char> expected = values;
  std::memset(&expected[16], 0, 16);
  std::memset(&expected[512 + 16], 0, 8);
  std::memset(&expected[768 + 12], 0, 4);
  in_every_schedule([&] {
    const DeviceArray<unsigned char> in(values);
    DeviceArray<unsigned char> out(values.size());
    launch(copy_through_shared, 1, 32, 896, nullptr, in.data(), out.data());
    CHECK(out.values() == expected);
  });
}

/** One 16x16 by 16x8 product on bfloat16 and one 16x8 by 8x8 product on tf32, from row-major matrices. */
__global__ void multiply_once(const bfloat16* a, const bfloat16* b, const float* a32, const float* b32, float* out, float* out32) {
  auto* shared = reinterpret_cast<bfloat16*>(dynamic_shared());
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) shared[i] = a[i];
  for (int i = lane; i < 128; i += 32) shared[256 + i] = b[i];
  syncwarp();
  std::uint32_t fragment[1][4];
  load_matrix_x4(fragment[0], shared + lane % 16 * 16 + lane / 16 * 8);
  std::uint32_t columns[4];  // b has two 8x8 matrices; the others repeat them
  load_matrix_x4_transposed(columns, shared + 256 + lane % 16 * 8);
  const std::uint32_t both[1][2] = {{columns[0], columns[1]}};
  float sums[1][1][4] = {{{1, 1, 1, 1}}};
  multiply_tile(sums, fragment, both);
  const int row = lane / 4;
  const int place = lane % 4;
  const std::uint32_t wide[1][4] = {{to_tf32(a32[row * 8 + place]), to_tf32(a32[(row + 8) * 8 + place]), to_tf32(a32[row * 8 + place + 4]),
                                     to_tf32(a32[(row + 8) * 8 + place + 4])}};
  const std::uint32_t wide_b[1][2] = {{to_tf32(b32[place * 8 + row]), to_tf32(b32[(place + 4) * 8 + row])}};
  float sums32[1][1][4] = {};
  multiply_tile_tf32(sums32, wide, wide_b);
  for (int part = 0; part < 4; ++part) {
    const int to = (row + part / 2 * 8) * 8 + place * 2 + part % 2;
    out[to] = sums[0][0][part];
    out32[to] = sums32[0][0][part];
  }
}

TEST_CASE("Tiles hold the elements that their description says, and their products are right") {
  const auto a = to_bfloat16s(random_floats(256, 4));
  const auto b = to_bfloat16s(random_floats(128, 5));
  const auto a32 = random_floats(128, 6);
  const auto b32 = random_floats(64, 7);
  const DeviceArray<bfloat16> a_on_device(a);
  const DeviceArray<bfloat16> b_on_device(b);
  const DeviceArray<float> a32_on_device(a32);
  const DeviceArray<float> b32_on_device(b32);
  DeviceArray<float> out(128);
  DeviceArray<float> out32(128);
  launch(multiply_once, 1, 32, 768, nullptr, a_on_device.data(), b_on_device.data(), a32_on_device.data(), b32_on_device.data(), out.data(),
         out32.data());
  const auto product = [](const std::vector<float>& left, const std::vector<float>& right, std::size_t depth, double start) {
    std::vector<double> result(128, start);
    for (std::size_t i = 0; i < 16; ++i) {
      for (std::size_t k = 0; k < depth; ++k) {
        for (std::size_t j = 0; j < 8; ++j) result[i * 8 + j] += static_cast<double>(left[i * depth + k]) * right[k * 8 + j];
      }
    }
    return result;
  };
  CHECK(relative_error(out.values(), product(to_floats(a), to_floats(b), 16, 1)) < 1e-6);
  const double error = relative_error(out32.values(), product(a32, b32, 8, 0));
  CHECK(error < 1e-3);
  CHECK(error > 1e-6);  // tf32 has 10 bits
}

__global__ void count_blocks(int* signed_count, unsigned* count, int* was_last) {
  if (threadIdx.x != 0) return;
  atomic_add(signed_count, -1);
  thread_fence();
  was_last[blockIdx.x] = atomic_add(count, 1u) == gridDim.x - 1;
}

TEST_CASE("Atomic sums lose nothing, and one block is the last") {
  in_every_schedule([] {
    DeviceArray<int> signed_count(std::vector<int>{5});
    DeviceArray<unsigned> count(std::vector<unsigned>{0});
    DeviceArray<int> was_last(300);
    launch(count_blocks, 300, 32, 0, nullptr, signed_count.data(), count.data(), was_last.data());
    CHECK(signed_count.values()[0] == -295);
    CHECK(count.values()[0] == 300);
    int last = 0;
    for (const int value : was_last.values()) last += value;
    CHECK(last == 1);
  });
}

__global__ void note_indices(uint3* out) {
  const std::size_t block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const std::size_t threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + static_cast<std::size_t>(thread_number())] = threadIdx;
}

TEST_CASE("Every thread of every block runs once, with its index") {
  in_every_schedule([] {
    DeviceArray<uint3> out(2 * 3 * 5 * 42);
    launch(note_indices, dim3(2, 3, 5), dim3(7, 3, 2), 0, nullptr, out.data());
    const auto indices = out.values();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      const unsigned thread = static_cast<unsigned>(i % 42);
      REQUIRE(indices[i].x == thread % 7);
      REQUIRE(indices[i].y == thread / 7 % 3);
      REQUIRE(indices[i].z == thread / 21);
    }
  });
}

}  // namespace
}  // namespace kw::cuda::test
