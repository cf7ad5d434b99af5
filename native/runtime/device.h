// A device: a backend's kernels, one stream, and the buffers and programs made for it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/backend.h"
#include "runtime/buffer.h"
#include "runtime/device_counters.h"
#include "runtime/program.h"
#include "runtime/stream.h"

namespace kw {

// Buffers and programs do not refer back: queued work holds those, so the stream never holds its own device.
class Device {
 public:
  Device(std::string name, std::shared_ptr<Backend> backend);

  const std::string& name() const { return name_; }
  int threads() const { return backend_->threads(); }
  const Backend& backend() const { return *backend_; }
  const std::string& description() const { return description_; }
  const DeviceCounters& counters() const { return *counters_; }

  std::shared_ptr<Buffer> create_buffer(size_t bytes);
  std::shared_ptr<Buffer> wrap_buffer(void* address, size_t bytes, std::function<void()> release);
  std::shared_ptr<Program> create_program(Plan plan);
  std::shared_ptr<Program> create_program(std::string_view plan) { return create_program(parse_plan(plan)); }

  // Each queues work; ranges are checked now, everything else ends in `done`.
  void write(std::shared_ptr<Buffer> buffer, size_t offset, const void* source, size_t bytes, Completion done);
  void read(std::shared_ptr<Buffer> buffer, size_t offset, void* destination, size_t bytes, Completion done);
  void fill_zero(std::shared_ptr<Buffer> buffer, Completion done);
  // `timed`: step_nanoseconds of the program are of this run.
  void run(std::shared_ptr<Program> program, bool timed, Completion done);
  void notify(Completion done);

  void synchronize() { stream_.synchronize(); }
  void close() { stream_.close(); }

 private:
  const std::string name_;
  const std::shared_ptr<Backend> backend_;
  const std::string description_;
  const std::shared_ptr<DeviceCounters> counters_ = std::make_shared<DeviceCounters>();
  Stream stream_;
};

}  // namespace kw
