#include "runtime/device.h"

#include <cstring>
#include <utility>

namespace kw {

namespace {

void check_range(const Buffer& buffer, size_t offset, size_t bytes) {
  if (offset > buffer.bytes() || bytes > buffer.bytes() - offset) {
    throw Error(ErrorCode::invalid_argument, std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                                                 " are outside the buffer, which has " + std::to_string(buffer.bytes()));
  }
}

}  // namespace

Device::Device(std::string name, std::shared_ptr<Backend> backend)
    : name_(std::move(name)), backend_(std::move(backend)), description_(backend_->description()), stream_(backend_) {}

std::shared_ptr<Buffer> Device::create_buffer(size_t bytes) { return std::make_shared<Buffer>(bytes, backend_, counters_); }

std::shared_ptr<Buffer> Device::wrap_buffer(void* address, size_t bytes, std::function<void()> release) {
  if (address == nullptr || reinterpret_cast<uintptr_t>(address) % 4 != 0) {
    throw Error(ErrorCode::invalid_argument, "Memory to wrap must be at a multiple of 4 bytes and not at NULL");
  }
  return std::make_shared<Buffer>(address, bytes, std::move(release), counters_);
}

std::shared_ptr<Program> Device::create_program(Plan plan) { return std::make_shared<Program>(std::move(plan), backend_, counters_); }

void Device::write(std::shared_ptr<Buffer> buffer, size_t offset, const void* source, size_t bytes, Completion done) {
  check_range(*buffer, offset, bytes);
  const std::shared_ptr<std::byte[]> copy = backend_->staging(bytes);
  if (bytes > 0) std::memcpy(copy.get(), source, bytes);
  stream_.enqueue(
      [backend = backend_, buffer = std::move(buffer), offset, copy, bytes](const auto&) {
        backend->write(buffer->data() + offset, copy.get(), bytes);
        buffer->changed();
      },
      std::move(done));
}

void Device::read(std::shared_ptr<Buffer> buffer, size_t offset, void* destination, size_t bytes, Completion done) {
  check_range(*buffer, offset, bytes);
  stream_.enqueue([backend = backend_, buffer = std::move(buffer), offset, destination,
                   bytes](const auto&) { backend->read(static_cast<std::byte*>(destination), buffer->data() + offset, bytes); },
                  std::move(done));
}

void Device::fill_zero(std::shared_ptr<Buffer> buffer, Completion done) {
  stream_.enqueue(
      [backend = backend_, buffer = std::move(buffer)](const auto&) {
        backend->fill_zero(buffer->data(), buffer->bytes());
        buffer->changed();
      },
      std::move(done));
}

void Device::run(std::shared_ptr<Program> program, bool timed, Completion done) {
  Bindings bindings = program->bindings();
  stream_.enqueue([program = std::move(program), bindings = std::move(bindings),
                   timed](const std::atomic<bool>& closing) { program->run(bindings, closing, timed); },
                  std::move(done));
}

void Device::notify(Completion done) {
  stream_.enqueue([](const auto&) {}, std::move(done));
}

}  // namespace kw
