// The runtime's functions for streams, events and captures.
#include "emulator/runtime/status.h"
#include "emulator/runtime/stream.h"

using namespace kw::emulator;

namespace {

/** The frame of a call: nothing is done while there is an obstacle. */
template <class Body>
cudaError_t call(Body&& body) {
  const cudaError_t status = obstacle();
  return finish(status == cudaSuccess ? body() : status);
}

}  // namespace

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&] { return streams().create(stream, flags); });
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) { return cudaStreamCreateWithFlags(stream, flags); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&] { return streams().destroy(stream); });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call([&] { return streams().synchronize(stream); });
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return call([&] { return streams().query(stream); });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return call([&] { return streams().wait(stream, event); });
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const auto perform = [function, data] {
    const InHostFunction marker;
    function(data);
  };
  return call([&] { return streams().queue(stream, perform, true); });
}
cudaError_t cudaDeviceSynchronize() {
  return call([] {
    const cudaError_t status = streams().allow_unsafe_call();
    return status == cudaSuccess ? streams().synchronize_device() : status;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&] { return streams().create(event, flags); });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&] { return streams().destroy(event); });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call([&] { return streams().record(event, stream); });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call([&] { return streams().synchronize(event); });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&] { return streams().query(event); });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return call([&] { return streams().elapsed(milliseconds, start, end); });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call([&] { return streams().begin_capture(stream, mode); });
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call([&] { return streams().end_capture(stream, graph); });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return call([&] { return streams().capture_status(stream, status); });
}
