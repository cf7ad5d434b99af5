// Kernels with one mistake each, and what the emulator says of them.
#include <atomic>

#include "cuda/kernel_test.h"
#include "cuda/sample_mixing.cuh"

namespace kw::cuda::test {
namespace {

using namespace device;

/** The message of the error that `body` throws; afterwards the device is as new. */
std::string message_of(const std::function<void()>& body) {
  std::string message = "no error";
  try {
    body();
    check(cudaDeviceSynchronize(), "waiting");
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(cudaDeviceReset() == cudaSuccess);
  cudaGetLastError();
  return message;
}

void check_mentions(const std::string& message, const std::vector<std::string>& parts) {
  CAPTURE(message);
  for (const std::string& part : parts) {
    INFO("expected in the message: ", part);
    CHECK(message.find(part) != std::string::npos);
  }
}

/** The results of a kernel in every schedule: how many distinct ones there are, NaN being equal to NaN. */
template <class Body>
std::size_t count_results(const Body& body) {
  std::vector<std::vector<std::uint32_t>> found;
  in_every_schedule([&] {
    std::vector<std::uint32_t> bits;
    for (const auto value : body()) bits.push_back(float_to_bits(static_cast<float>(value)));
    if (std::find(found.begin(), found.end(), bits) == found.end()) found.push_back(bits);
  });
  return found.size();
}

template <Mistake kMistake>
std::vector<float> mix() {
  constexpr int kSize = 64;
  const DeviceArray<bfloat16> attention(to_bfloat16s(random_floats(kSize * kSize, 1)));
  const DeviceArray<bfloat16> cells(to_bfloat16s(random_floats(kSize * kSize, 2)));
  DeviceArray<float> weights(kSize * kSize);
  launch(sample_mixing<kMistake>, dim3(1, 2), kSampleThreads, kSampleSharedBytes, nullptr,
         SampleMixing{attention.data(), cells.data(), weights.data(), kSize, kSize, kSize, kSize});
  return weights.values();
}

TEST_CASE("A missing wait for copies changes the result with the schedule") {
  CHECK(count_results(mix<Mistake::none>) == 1);
  CHECK(count_results(mix<Mistake::no_wait>) > 1);
}

TEST_CASE("A missing barrier changes the result with the schedule") { CHECK(count_results(mix<Mistake::no_barrier>) > 1); }

__global__ void exchange_in_warp(int* out, bool waits) {
  auto* values = reinterpret_cast<int*>(dynamic_shared());
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (waits) syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 31];
}

TEST_CASE("A missing syncwarp changes the result with the schedule") {
  const auto run = [](bool waits) {
    DeviceArray<int> out(32);
    launch(exchange_in_warp, 1, 32, 32 * sizeof(int), nullptr, out.data(), waits);
    return out.values();
  };
  CHECK(count_results([&] { return run(true); }) == 1);
  CHECK(count_results([&] { return run(false); }) > 1);
}

__global__ void read_without_commit(int* out, const int* in) {
  auto* values = reinterpret_cast<int*>(dynamic_shared());
  copy_async_4(values + threadIdx.x, in + threadIdx.x);
  wait_copies<0>();
  out[threadIdx.x] = values[threadIdx.x];
}

TEST_CASE("A copy that was not committed is not waited for") {
  CHECK(count_results([] {
          const DeviceArray<int> in(std::vector<int>(32, 7));
          DeviceArray<int> out(32);
          launch(read_without_commit, 1, 32, 32 * sizeof(int), nullptr, out.data(), in.data());
          return out.values();
        }) > 1);
}

__global__ void diverge() {
  if (threadIdx.x < 40) syncthreads();
  if (threadIdx.x >= 40) syncthreads();
}

TEST_CASE("A divergent barrier is reported with both lines, block and thread") {
  const std::string message = message_of([] { launch(diverge, 2, 64, 0, nullptr); });
  check_mentions(message,
                 {"cudaErrorLaunchFailure", "divergent barrier", "planted_mistakes_test.cc:", "block (", "thread (40,0,0)", "diverge()"});
}

__global__ void wait_for_nobody() {
  if (threadIdx.x < 40) {
    syncthreads();
  } else {
    named_barrier(3, 64);
  }
}

TEST_CASE("A block in which nobody can go on is reported with who waits where") {
  const std::string message = message_of([] { launch(wait_for_nobody, 1, 64, 0, nullptr); });
  check_mentions(message, {"no thread of the block can go on",
                           "threads 0-39 wait in syncthreads at planted_mistakes_test.cc:", "40-63 wait in named_barrier"});
}

__global__ void return_before_barrier(int* out) {
  if (threadIdx.x >= 40) return;
  syncthreads();
  out[threadIdx.x] = 1;
}

TEST_CASE("Threads that have returned are not waited for") {
  DeviceArray<int> out(40);
  launch(return_before_barrier, 1, 64, 0, nullptr, out.data());
  CHECK(out.values() == std::vector<int>(40, 1));
}

__global__ void meet_in_different_operations(float* out) {
  const float value = static_cast<float>(threadIdx.x);
  out[threadIdx.x] = threadIdx.x < 16 ? warp_sum(value) : shuffle(value, 0);
}

TEST_CASE("Lanes of a warp in different operations are reported") {
  const std::string message = message_of([] {
    DeviceArray<float> out(32);
    launch(meet_in_different_operations, 1, 32, 0, nullptr, out.data());
    out.values();
  });
  check_mentions(
      message, {"lanes of a warp meet in different operations", "shuffle_xor at primitives.cuh:", "shuffle at planted_mistakes_test.cc:"});
}

__global__ void shuffle_from_nobody(float* out) {
  if (threadIdx.x >= 20) return;
  out[threadIdx.x] = warp_sum(1.0f);
}

TEST_CASE("Reading from a lane that has returned is reported") {
  const std::string message = message_of([] {
    DeviceArray<float> out(32);
    launch(shuffle_from_nobody, 1, 32, 0, nullptr, out.data());
    out.values();
  });
  check_mentions(message, {"which does not take part", "shuffle_from_nobody"});
}

__global__ void multiply_with_half_a_warp() {
  if (threadIdx.x >= 16) return;
  float sums[1][1][4] = {};
  const std::uint32_t a[1][4] = {};
  const std::uint32_t b[1][2] = {};
  multiply_tile(sums, a, b);
}

TEST_CASE("A tile needs a whole warp") {
  check_mentions(message_of([] { launch(multiply_with_half_a_warp, 1, 32, 0, nullptr); }),
                 {"multiply_tile at planted_mistakes_test.cc:", "all 32 lanes"});
}

__global__ void write_at(float* out, std::ptrdiff_t index) {
  if (threadIdx.x == 3) out[index] = 1;
}

__global__ void read_at(float* out, const float* in, std::ptrdiff_t index) {
  if (threadIdx.x == 3) out[0] = in[index];
}

TEST_CASE("A write outside of an allocation is reported, whichever end touches its guard") {
  for (const std::ptrdiff_t index : {std::ptrdiff_t{100}, std::ptrdiff_t{-1}, std::ptrdiff_t{5000}, std::ptrdiff_t{-5000}}) {
    for (int side = 0; side < 2; ++side) {
      CAPTURE(index);
      CAPTURE(side);
      const std::string message = message_of([&] {
        const DeviceArray<float> other(1);
        const DeviceArray<float> unused(static_cast<std::size_t>(side));
        DeviceArray<float> out(100);
        launch(write_at, 2, 32, 0, nullptr, out.data(), index);
        out.values();
      });
      check_mentions(message, {"cudaErrorIllegalAddress", "write_at"});
    }
  }
}

TEST_CASE("A write far outside names the allocation, the block and the thread") {
  const std::string message = message_of([] {
    DeviceArray<float> out(1024);
    launch(write_at, 1, 32, 0, nullptr, out.data(), std::ptrdiff_t{1024 + 1024});
    out.values();
  });
  check_mentions(message, {"4096 bytes past the end of an allocation of 4096 bytes", "block (0,0,0)", "thread (3,0,0)", "write_at"});
}

TEST_CASE("A read outside of an allocation faults or finds what is no number") {
  for (const std::ptrdiff_t index : {std::ptrdiff_t{64}, std::ptrdiff_t{-1}, std::ptrdiff_t{3000}}) {
    bool is_found[2] = {};
    for (bool& found : is_found) {
      const std::string message = message_of([&] {
        const DeviceArray<float> in(std::vector<float>(64, 1.0f));
        DeviceArray<float> out(1);
        const DeviceArray<float> third(1);  // so that the next round's array is at the other side
        launch(read_at, 1, 32, 0, nullptr, out.data(), in.data(), index);
        out.values();
      });
      found = message.find("cudaErrorIllegalAddress") != std::string::npos;
    }
    CAPTURE(index);
    CHECK((is_found[0] || is_found[1]));  // an end that touches its guard
  }
}

TEST_CASE("A use of memory that has been freed is reported") {
  const std::string message = message_of([] {
    float* freed = nullptr;
    check(cudaMalloc(&freed, 4096), "allocating");
    check(cudaFree(freed), "freeing");
    launch(write_at, 1, 32, 0, nullptr, freed, std::ptrdiff_t{0});
    check(cudaStreamSynchronize(nullptr), "waiting");
  });
  check_mentions(message, {"an allocation of 4096 bytes that has been freed"});
}

__global__ void write_shared_at(std::ptrdiff_t offset) { dynamic_shared()[offset] = 1; }

TEST_CASE("A write outside of shared memory is reported, even by one byte") {
  for (const std::ptrdiff_t offset : {std::ptrdiff_t{1000}, std::ptrdiff_t{1024}, std::ptrdiff_t{5000}, std::ptrdiff_t{-1}}) {
    CAPTURE(offset);
    check_mentions(message_of([&] { launch(write_shared_at, 1, 1, 1000, nullptr, offset); }),
                   {"shared memory (1000 bytes)", "write_shared_at"});
  }
}

__global__ void read_shared_at(float* out, int index) { out[0] = reinterpret_cast<const float*>(dynamic_shared())[index]; }

TEST_CASE("Shared memory is undefined at the start, and ends where it ends") {
  DeviceArray<float> out(1);
  launch(read_shared_at, 1, 1, 128, nullptr, out.data(), 31);
  CHECK(std::isnan(out.values()[0]));
  check_mentions(message_of([] {
                   DeviceArray<float> result(1);
                   launch(read_shared_at, 1, 1, 128, nullptr, result.data(), 32);
                   result.values();
                 }),
                 {"access outside of the block's shared memory (128 bytes)"});
}

__global__ void copy_past_shared(const int* in) { copy_async_16(dynamic_shared() + 1024, in); }
__global__ void load_past_shared() {
  std::uint32_t fragment[4];
  load_matrix_x4(fragment, dynamic_shared() + 16 * threadIdx.x);
}

TEST_CASE("Copies and matrices outside of shared memory are reported before they are done") {
  check_mentions(message_of([] {
                   const DeviceArray<int> in(4);
                   launch(copy_past_shared, 1, 1, 1024, nullptr, in.data());
                   check(cudaStreamSynchronize(nullptr), "waiting");
                 }),
                 {"copy_async_16 at planted_mistakes_test.cc:", "not in the block's shared memory"});
  check_mentions(message_of([] { launch(load_past_shared, 1, 32, 31 * 16, nullptr); }),
                 {"load_matrix_x4 at", "not in the block's shared memory", "(31,0,0)"});
}

__global__ void copy_too_far(const int* in) {
  copy_async_16(dynamic_shared(), in + 4);
  commit_copies();
  wait_copies<0>();
}

TEST_CASE("A copy from outside of an allocation is reported with the line that started it") {
  bool is_found[2] = {};
  for (bool& found : is_found) {
    const std::string message = message_of([] {
      const DeviceArray<int> other(1);
      const DeviceArray<int> in(64 * 1024 / 4 - 4 + 4);
      const DeviceArray<int> third(1);
      launch(copy_too_far, 1, 1, 16, nullptr, in.data() + in.size() - 4);
      check(cudaStreamSynchronize(nullptr), "waiting");
    });
    found = message.find("past the end of an allocation of 65536 bytes (after or in copy_async at planted_mistakes_test.cc:") !=
            std::string::npos;
    CAPTURE(message);
  }
  CHECK((is_found[0] || is_found[1]));
}

__global__ void load_misaligned(float4* out, const char* in) { *out = load_vector<float4>(in); }
__global__ void store_misaligned(char* out) { store_vector(out, make_uint2(1, 2)); }
__global__ void copy_misaligned(const char* in) { copy_async_8(dynamic_shared() + 4, in); }

TEST_CASE("Misaligned vectors are reported") {
  const auto message = [](const auto& body) {
    return message_of([&] {
      DeviceArray<char> in(64);
      DeviceArray<float4> out(1);
      body(in.data(), out.data());
      out.values();
    });
  };
  check_mentions(message([](char* in, float4* out) { launch(load_misaligned, 1, 1, 0, nullptr, out, in + 8); }),
                 {"cudaErrorMisalignedAddress", "load_vector at planted_mistakes_test.cc:", "8 past a multiple of 16 bytes"});
  check_mentions(message([](char* in, float4*) { launch(store_misaligned, 1, 1, 0, nullptr, in + 4); }),
                 {"cudaErrorMisalignedAddress", "store_vector", "4 past a multiple of 8 bytes"});
  check_mentions(message([](char* in, float4*) { launch(copy_misaligned, 1, 1, 64, nullptr, in); }),
                 {"cudaErrorMisalignedAddress", "copy_async_8", "4 past a multiple of 8 bytes"});
}

__global__ void do_nothing() {}
__global__ void use_arrays() { shared_array<struct Large, char, 49 * 1024>(); }

TEST_CASE("More shared memory than the target has is refused") {
  struct Target {
    int number;
    std::size_t kilobytes;
  };
  for (const Target target : {Target{80, 163}, Target{90, 227}}) {
    emulator::options().target = target.number;
    CAPTURE(target.number);
    CHECK(message_of([&] { launch(do_nothing, 1, 1, target.kilobytes * 1024, nullptr); }) == "no error");
    check_mentions(message_of([&] { launch(do_nothing, 1, 1, target.kilobytes * 1024 + 1, nullptr); }),
                   {"starting kw::cuda::test", "do_nothing", "1x1x1 blocks of 1x1x1 threads", std::to_string(target.kilobytes * 1024 + 1)});
  }
  emulator::options() = {};
  check_mentions(message_of([] { launch(use_arrays, 1, 1, 0, nullptr); }), {"too much shared memory", "50176", "49152"});
}

TEST_CASE("Sizes that no launch can have are refused") {
  struct Size {
    dim3 grid;
    dim3 block;
  };
  for (const Size size : {Size{1, 1025}, Size{1, dim3(32, 33)}, Size{1, dim3(1, 1, 65)}, Size{0, 32}, Size{dim3(1, 65536), 32},
                          Size{dim3(1, 1, 65536), 32}}) {
    check_mentions(message_of([&] { launch(do_nothing, size.grid, size.block, 0, nullptr); }), {"cudaErrorInvalidConfiguration"});
  }
}

__global__ void divide(int* out, int divisor) { out[0] = 7 / divisor; }
__global__ void recurse(int* out, int depth) {
  volatile char frame[1024];
  frame[depth % 1024] = 1;
  if (depth < 1 << 20) recurse(out, depth + 1);
  out[0] = frame[depth % 1024];
}

TEST_CASE("A division by zero and a stack that overflows are errors, not the end of the process") {
  const auto message = [](const auto& kernel, int argument) {
    return message_of([&] {
      DeviceArray<int> out(1);
      launch(kernel, 1, 1, 0, nullptr, out.data(), argument);
      out.values();
    });
  };
  check_mentions(message(divide, 0), {"integer division by zero", "divide(int*, int)"});
#ifndef __SANITIZE_ADDRESS__  // which ends the process at an overflow
  check_mentions(message(recurse, 0), {"local variables exceed the emulator's stack"});
#endif
}

TEST_CASE("An error stays until the device is reset, and a program can go on then") {
  DeviceArray<float> out(4);
  launch(write_at, 1, 32, 0, nullptr, out.data(), std::ptrdiff_t{100000});
  CHECK(cudaDeviceSynchronize() == cudaErrorIllegalAddress);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 16) == cudaErrorIllegalAddress);
  CHECK_THROWS_WITH_AS(launch(do_nothing, 1, 1, 0, nullptr), doctest::Contains("399984 bytes past the end of an allocation of 16 bytes"),
                       Error);
  CHECK(cudaDeviceReset() == cudaSuccess);
  launch(do_nothing, 1, 1, 0, nullptr);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

}  // namespace
}  // namespace kw::cuda::test
