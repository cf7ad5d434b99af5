// The stand-in for the CUDA runtime: what CUDA promises holds, and what it does not promise does not.
#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cuda/launch.h"
#include "emulator/options.h"

namespace kw::cuda::test {
namespace {

/** Restores the options, and the device to its first state. */
struct FreshDevice {
  emulator::Options before = emulator::options();
  FreshDevice() { CHECK(cudaDeviceReset() == cudaSuccess); }
  ~FreshDevice() {
    emulator::options() = before;
    cudaDeviceReset();
    cudaGetLastError();
  }
};

__global__ void add(float* values, float amount) { values[threadIdx.x] += amount; }
__global__ void multiply(float* values, float factor) { values[threadIdx.x] *= factor; }

struct Values {
  float* device = nullptr;
  cudaStream_t stream = nullptr;

  explicit Values(float value) {
    CHECK(cudaMalloc(&device, 4 * sizeof(float)) == cudaSuccess);
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    const std::vector<float> start(4, value);
    CHECK(cudaMemcpy(device, start.data(), 16, cudaMemcpyHostToDevice) == cudaSuccess);
  }
  /** Without waiting for the stream. */
  float now() const {
    float values[4];
    CHECK(cudaMemcpy(values, device, 16, cudaMemcpyDeviceToHost) == cudaSuccess);
    return values[3];
  }
};

TEST_CASE("Who forgets to wait for a stream does not see its work") {
  const FreshDevice fresh;
  const Values values(1);
  launch(add, 1, 4, 0, values.stream, values.device, 2.0f);
  CHECK(values.now() == 1);
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(values.now() == 3);
  emulator::options().streams = emulator::Moment::early;
  launch(add, 1, 4, 0, values.stream, values.device, 2.0f);
  CHECK(values.now() == 5);
}

TEST_CASE("A copy reads its source when it is done, not when it is queued") {
  const FreshDevice fresh;
  const Values values(0);
  std::vector<float> source(4, 1);
  CHECK(cudaMemcpyAsync(values.device, source.data(), 16, cudaMemcpyHostToDevice, values.stream) == cudaSuccess);
  source.assign(4, 2);
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(values.now() == 2);
  float back[4] = {};
  CHECK(cudaMemcpyAsync(back, values.device, 16, cudaMemcpyDeviceToHost, values.stream) == cudaSuccess);
  CHECK(back[0] == 0);
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(back[0] == 2);
}

TEST_CASE("A copy to the device may run ahead of the work of other streams, unless it waits for them") {
  const FreshDevice fresh;
  emulator::options().transfers = emulator::Moment::early;
  const Values values(1);
  cudaStream_t copies = nullptr;
  cudaEvent_t event = nullptr;
  CHECK(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking) == cudaSuccess);
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  const std::vector<float> source(4, 5);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  CHECK(cudaMemcpyAsync(values.device, source.data(), 16, cudaMemcpyHostToDevice, copies) == cudaSuccess);
  CHECK(values.now() == 5);
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(values.now() == 6);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  CHECK(cudaEventRecord(event, values.stream) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(copies, event) == cudaSuccess);
  CHECK(cudaMemcpyAsync(values.device, source.data(), 16, cudaMemcpyHostToDevice, copies) == cudaSuccess);
  CHECK(values.now() == 6);
  CHECK(cudaStreamSynchronize(copies) == cudaSuccess);
  CHECK(values.now() == 5);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(copies) == cudaSuccess);
}

TEST_CASE("Streams are ordered by events, and only by them") {
  const FreshDevice fresh;
  const Values values(1);
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  CHECK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
  CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  launch(multiply, 1, 4, 0, other, values.device, 10.0f);
  CHECK(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(values.now() == 10);  // not 20: nothing made it wait
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(values.now() == 11);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  CHECK(cudaEventRecord(event, values.stream) == cudaSuccess);
  launch(add, 1, 4, 0, values.stream, values.device, 5.0f);
  CHECK(cudaStreamWaitEvent(other, event) == cudaSuccess);
  launch(multiply, 1, 4, 0, other, values.device, 10.0f);
  CHECK(cudaStreamSynchronize(other) == cudaSuccess);
  CHECK(values.now() == 120);  // what came after the event has not been done
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(values.now() == 125);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(other) == cudaSuccess);
  CHECK(cudaStreamSynchronize(other) == cudaErrorInvalidResourceHandle);
}

TEST_CASE("The default stream and ordinary streams wait for each other") {
  const FreshDevice fresh;
  const Values values(1);
  cudaStream_t ordinary = nullptr;
  CHECK(cudaStreamCreate(&ordinary) == cudaSuccess);
  launch(add, 1, 4, 0, ordinary, values.device, 1.0f);
  launch(multiply, 1, 4, 0, nullptr, values.device, 10.0f);
  launch(add, 1, 4, 0, ordinary, values.device, 3.0f);
  CHECK(cudaStreamSynchronize(ordinary) == cudaSuccess);
  CHECK(values.now() == 23);
}

TEST_CASE("Asking again and again is answered in the end, and so is who does not ask") {
  const FreshDevice fresh;
  const Values values(1);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  CHECK(cudaStreamQuery(values.stream) == cudaErrorNotReady);
  CHECK(cudaGetLastError() == cudaSuccess);
  int questions = 1;
  while (cudaStreamQuery(values.stream) == cudaErrorNotReady) REQUIRE(++questions < 10);
  CHECK(values.now() == 3);
  std::atomic<bool> was_called{false};
  CHECK(cudaLaunchHostFunc(
            values.stream, [](void* data) { static_cast<std::atomic<bool>*>(data)->store(true); }, &was_called) == cudaSuccess);
  for (int i = 0; i < 2000 && !was_called; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(was_called);
}

TEST_CASE("A host function may not call the runtime") {
  const FreshDevice fresh;
  const Values values(1);
  cudaError_t status = cudaSuccess;
  CHECK(cudaLaunchHostFunc(
            values.stream, [](void* data) { *static_cast<cudaError_t*>(data) = cudaStreamSynchronize(nullptr); }, &status) == cudaSuccess);
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(status == cudaErrorNotPermitted);
}

TEST_CASE("Events tell times, in order") {
  const FreshDevice fresh;
  const Values values(1);
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  CHECK(cudaEventCreate(&start) == cudaSuccess);
  CHECK(cudaEventCreate(&end) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventRecord(start, values.stream) == cudaSuccess);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  CHECK(cudaEventRecord(end, values.stream) == cudaSuccess);
  CHECK(cudaEventQuery(end) == cudaErrorNotReady);
  CHECK(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventQuery(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, start, end) == cudaSuccess);
  CHECK(milliseconds > 0);
  CHECK(milliseconds < 10000);
}

TEST_CASE("A captured graph does nothing until it is launched, and then as often as it is") {
  const FreshDevice fresh;
  const Values values(1);
  float source[4] = {1, 1, 1, 1};
  CHECK(cudaStreamBeginCapture(values.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  CHECK(cudaStreamIsCapturing(values.stream, &status) == cudaSuccess);
  CHECK(status == cudaStreamCaptureStatusActive);
  CHECK(cudaMemcpyAsync(values.device, source, 16, cudaMemcpyHostToDevice, values.stream) == cudaSuccess);
  launch(add, 1, 4, 0, values.stream, values.device, 1.0f);
  launch(multiply, 1, 4, 0, values.stream, values.device, 10.0f);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaStreamEndCapture(values.stream, &graph) == cudaSuccess);
  std::size_t nodes = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess);
  CHECK(nodes == 3);
  CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
  CHECK(values.now() == 1);
  for (const float value : {1.0f, 4.0f}) {
    source[3] = value;
    CHECK(cudaGraphLaunch(executable, values.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
    CHECK(values.now() == (value + 1) * 10);
  }
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
}

TEST_CASE("Streams that fork and join in a capture keep the order that events give, and no other") {
  const FreshDevice fresh;
  for (const bool joins : {true, false}) {
    const Values values(1);
    cudaStream_t side = nullptr;
    cudaEvent_t fork = nullptr;
    cudaEvent_t join = nullptr;
    CHECK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaEventCreate(&fork) == cudaSuccess);
    CHECK(cudaEventCreate(&join) == cudaSuccess);
    CHECK(cudaStreamBeginCapture(values.stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(cudaEventRecord(fork, values.stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(side, fork) == cudaSuccess);
    launch(multiply, 1, 4, 0, side, values.device, 10.0f);
    launch(add, 1, 4, 0, values.stream, values.device, 1.0f);  // unordered with the one before
    CHECK(cudaEventRecord(join, side) == cudaSuccess);
    if (joins) CHECK(cudaStreamWaitEvent(values.stream, join) == cudaSuccess);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(values.stream, &graph) == (joins ? cudaSuccess : cudaErrorStreamCaptureUnjoined));
    if (!joins) continue;
    cudaGraphExec_t executable = nullptr;
    CHECK(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
    CHECK(cudaGraphLaunch(executable, values.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
    const float forward = values.now();
    emulator::options().schedule = emulator::Schedule::reverse;
    const float one[4] = {1, 1, 1, 1};
    CHECK(cudaMemcpy(values.device, one, 16, cudaMemcpyHostToDevice) == cudaSuccess);
    CHECK(cudaGraphLaunch(executable, values.stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(values.stream) == cudaSuccess);
    CHECK(forward == 11);
    CHECK(values.now() == 20);
    CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    emulator::options().schedule = emulator::Schedule::forward;
  }
}

TEST_CASE("What may not be done in a capture fails, and makes the capture invalid") {
  const FreshDevice fresh;
  const Values values(1);
  void* memory = nullptr;
  const std::vector<std::function<cudaError_t()>> forbidden = {
      [&] { return cudaMalloc(&memory, 16); },
      [&] { return cudaFree(values.device); },
      [&] { return cudaMallocHost(&memory, 16); },
      [&] { return cudaStreamSynchronize(values.stream); },
      [&] { return cudaStreamQuery(values.stream); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaMemcpy(&memory, values.device, 8, cudaMemcpyDeviceToHost); },
  };
  for (std::size_t i = 0; i < forbidden.size(); ++i) {
    CAPTURE(i);
    CHECK(cudaStreamBeginCapture(values.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(forbidden[i]() == cudaErrorStreamCaptureUnsupported);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CHECK(cudaStreamIsCapturing(values.stream, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    CHECK_THROWS_WITH_AS(launch(add, 1, 4, 0, values.stream, values.device, 1.0f), doctest::Contains("cudaErrorStreamCaptureInvalidated"),
                         Error);
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(values.stream, &graph) == cudaErrorStreamCaptureInvalidated);
    CHECK(graph == nullptr);
  }
  CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) == cudaErrorStreamCaptureUnsupported);
  // Another thread is not concerned by a thread-local capture, but by a global one.
  for (const auto mode : {cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeGlobal}) {
    CHECK(cudaStreamBeginCapture(values.stream, mode) == cudaSuccess);
    cudaError_t status = cudaSuccess;
    std::thread([&] { status = cudaMalloc(&memory, 16); }).join();
    CHECK(status == (mode == cudaStreamCaptureModeGlobal ? cudaErrorStreamCaptureUnsupported : cudaSuccess));
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(values.stream, &graph);
    if (graph) CHECK(cudaGraphDestroy(graph) == cudaSuccess);
  }
}

TEST_CASE("Memory: limits, contents, kinds, wrong copies") {
  const FreshDevice fresh;
  emulator::options().memory = 1 << 20;
  std::size_t free = 0;
  std::size_t total = 0;
  void* large = nullptr;
  void* more = nullptr;
  CHECK(cudaMalloc(&large, 1 << 19) == cudaSuccess);
  CHECK(reinterpret_cast<std::uintptr_t>(large) % 256 == 0);
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(free == 1 << 19);
  CHECK(total == 1 << 20);
  CHECK(cudaMalloc(&more, (1 << 19) + 1) == cudaErrorMemoryAllocation);
  CHECK_THROWS_WITH_AS(check(cudaMalloc(&more, 1 << 30), "allocating the workspace"),
                       "allocating the workspace: cudaErrorMemoryAllocation: out of memory", Error);
  try {
    check(cudaMalloc(&more, 1 << 30), "allocating");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::out_of_memory);
  }
  CHECK(cudaGetLastError() == cudaSuccess);  // what check reports is not found again
  std::uint32_t contents = 0;
  CHECK(cudaMemcpy(&contents, large, 4, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(contents == 0x7fff7fff);
  char host[32] = {};
  CHECK(cudaMemcpy(large, host, 32, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(static_cast<char*>(large) + (1 << 19) - 16, host, 32, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host, host + 16, 16, cudaMemcpyDefault) == cudaSuccess);
  CHECK(cudaMemcpy(host, large, 16, static_cast<cudaMemcpyKind>(9)) == cudaErrorInvalidMemcpyDirection);
  CHECK(cudaMemset(large, 0x11, 1 << 19) == cudaSuccess);
  CHECK(cudaMemset(large, 0x11, (1 << 19) + 1) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host, large, 32, cudaMemcpyDefault) == cudaSuccess);
  CHECK(host[31] == 0x11);
  cudaPointerAttributes attributes{};
  CHECK(cudaPointerGetAttributes(&attributes, static_cast<char*>(large) + 100) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CHECK(cudaPointerGetAttributes(&attributes, host) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  void* locked = nullptr;
  CHECK(cudaHostAlloc(&locked, 100, cudaHostAllocDefault) == cudaSuccess);
  CHECK(cudaPointerGetAttributes(&attributes, locked) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeHost);
  CHECK(cudaFree(locked) == cudaErrorInvalidValue);
  CHECK(cudaFreeHost(locked) == cudaSuccess);
  CHECK(cudaFree(large) == cudaSuccess);
  CHECK(cudaFree(large) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(free == total);
}

TEST_CASE("A graph that outlives its memory is an error of the device, not the end of the process") {
  const FreshDevice fresh;
  const Values values(1);
  const float source[4] = {};
  CHECK(cudaStreamBeginCapture(values.stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMemcpyAsync(values.device, source, 16, cudaMemcpyHostToDevice, values.stream) == cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaStreamEndCapture(values.stream, &graph) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  CHECK(cudaFree(values.device) == cudaSuccess);
  CHECK(cudaGraphLaunch(executable, values.stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(values.stream) == cudaErrorIllegalAddress);
  CHECK(std::string(cudaGetErrorString(cudaErrorIllegalAddress)).find("has been freed") != std::string::npos);
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

TEST_CASE("Several threads of the host may use the device at once") {
  const FreshDevice fresh;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&wrong, number] {
      float* device = nullptr;
      cudaStream_t stream = nullptr;
      float back[4] = {};
      wrong += cudaMalloc(&device, 16) != cudaSuccess;
      wrong += cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess;
      wrong += cudaMemsetAsync(device, 0, 16, stream) != cudaSuccess;
      for (int i = 0; i < 50; ++i) launch(add, 1, 4, 0, stream, device, static_cast<float>(number));
      wrong += cudaMemcpyAsync(back, device, 16, cudaMemcpyDeviceToHost, stream) != cudaSuccess;
      wrong += cudaStreamSynchronize(stream) != cudaSuccess;
      wrong += back[0] != static_cast<float>(50 * number);
      wrong += cudaStreamDestroy(stream) != cudaSuccess;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("The device says what it is, and can be missing") {
  const FreshDevice fresh;
  for (const int target : {80, 90}) {
    emulator::options().target = target;
    cudaDeviceProp properties{};
    int value = 0;
    CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
    CHECK(std::string(properties.name) == "Emulated device");
    CHECK(properties.major * 10 + properties.minor == target);
    CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess);
    CHECK(value == target / 10);
    CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess);
    CHECK(value == (target == 80 ? 166912 : 232448));
    CHECK(properties.sharedMemPerBlockOptin == static_cast<std::size_t>(value));
  }
  int number = -1;
  CHECK(cudaGetDeviceCount(&number) == cudaSuccess);
  CHECK(number == 1);
  CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
  CHECK(cudaDriverGetVersion(&number) == cudaSuccess);
  CHECK(number == CUDART_VERSION);
  emulator::options().devices = 0;
  CHECK(cudaGetDeviceCount(&number) == cudaErrorNoDevice);
  CHECK(number == 0);
  CHECK(cudaSetDevice(0) == cudaErrorNoDevice);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 16) == cudaErrorNoDevice);
  CHECK(cudaDriverGetVersion(&number) == cudaSuccess);
  CHECK(number == 0);
  CHECK(std::string(cudaGetErrorName(cudaErrorNoDevice)) == "cudaErrorNoDevice");
  CHECK(std::string(cudaGetErrorString(cudaErrorNoDevice)) == "no CUDA-capable device is detected");
}

TEST_CASE("A kernel's name is the source's") {
  CHECK(kernel_name(reinterpret_cast<const void*>(add)).find("kw::cuda::test::(anonymous namespace)::add(float*, float)") !=
        std::string::npos);
}

}  // namespace
}  // namespace kw::cuda::test
