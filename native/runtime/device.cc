#include "runtime/device.h"

#include <cstring>
#include <utility>
#include <vector>

#include "runtime/processors.h"

namespace kw {

namespace {

int checked_threads(int threads) {
  if (threads == 0) return default_threads();
  if (threads < 0 || threads > kMaximumThreads) {
    throw Error(ErrorCode::invalid_argument,
                "threads must be from 1 to " + std::to_string(kMaximumThreads) + " (0: the default), not " + std::to_string(threads));
  }
  return threads;
}

void check_range(const Buffer& buffer, size_t offset, size_t bytes) {
  if (offset > buffer.bytes() || bytes > buffer.bytes() - offset) {
    throw Error(ErrorCode::invalid_argument, std::to_string(bytes) + " bytes at offset " + std::to_string(offset) +
                                                 " are outside the buffer, which has " + std::to_string(buffer.bytes()));
  }
}

}  // namespace

Device::Device(std::string name, const KernelRegistry& registry, int threads)
    : name_(std::move(name)), registry_(registry), threads_(checked_threads(threads)), stream_(threads_) {}

std::shared_ptr<Buffer> Device::create_buffer(size_t bytes) { return std::make_shared<Buffer>(bytes, counters_); }

std::shared_ptr<Buffer> Device::wrap_buffer(void* address, size_t bytes, std::function<void()> release) {
  if (address == nullptr || reinterpret_cast<uintptr_t>(address) % 4 != 0) {
    throw Error(ErrorCode::invalid_argument, "Memory to wrap must be at a multiple of 4 bytes and not at NULL");
  }
  return std::make_shared<Buffer>(address, bytes, std::move(release), counters_);
}

std::shared_ptr<Program> Device::create_program(std::string_view plan) {
  return std::make_shared<Program>(parse_plan(plan), registry_, threads_, counters_);
}

void Device::write(std::shared_ptr<Buffer> buffer, size_t offset, const void* source, size_t bytes, Completion done) {
  check_range(*buffer, offset, bytes);
  const auto* first = static_cast<const std::byte*>(source);
  auto copy = std::make_shared<const std::vector<std::byte>>(first, first + bytes);
  stream_.enqueue(
      [buffer = std::move(buffer), offset, copy = std::move(copy)](const auto&) {
        if (!copy->empty()) std::memcpy(buffer->data() + offset, copy->data(), copy->size());
        buffer->changed();
      },
      std::move(done));
}

void Device::read(std::shared_ptr<Buffer> buffer, size_t offset, void* destination, size_t bytes, Completion done) {
  check_range(*buffer, offset, bytes);
  stream_.enqueue(
      [buffer = std::move(buffer), offset, destination, bytes](const auto&) {
        if (bytes > 0) std::memcpy(destination, buffer->data() + offset, bytes);
      },
      std::move(done));
}

void Device::fill_zero(std::shared_ptr<Buffer> buffer, Completion done) {
  stream_.enqueue(
      [buffer = std::move(buffer)](const auto&) {
        std::memset(buffer->data(), 0, buffer->bytes());
        buffer->changed();
      },
      std::move(done));
}

void Device::run(std::shared_ptr<Program> program, Completion done) {
  Bindings bindings = program->bindings();
  stream_.enqueue(
      [program = std::move(program), bindings = std::move(bindings)](const std::atomic<bool>& closing) { program->run(bindings, closing); },
      std::move(done));
}

void Device::notify(Completion done) {
  stream_.enqueue([](const auto&) {}, std::move(done));
}

}  // namespace kw
