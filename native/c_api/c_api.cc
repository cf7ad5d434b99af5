// The C interface over kw::Device. Every function catches everything: no exception crosses, kw_last_error() keeps its message.
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/thread_count.h"
#include "kernel_warehouse.h"
#include "ops/op_list.h"
#include "runtime/device.h"
#include "runtime/plugin.h"

struct kw_device {
  std::shared_ptr<kw::Device> device;
  std::atomic<int> references{1};
};

// The device comes first: it is released last.
struct kw_buffer {
  std::shared_ptr<kw::Device> device;
  std::shared_ptr<kw::Buffer> buffer;
};

struct kw_program {
  std::shared_ptr<kw::Device> device;
  std::shared_ptr<kw::Program> program;
};

namespace {

using kw::Error;
using kw::ErrorCode;

thread_local std::string last_error;

// Every error of the interface, once.
struct Status {
  ErrorCode code;
  kw_status status;
  const char* name;
};
#define KW_STATUS(code, status) {ErrorCode::code, status, #status}
constexpr Status kErrors[] = {
    KW_STATUS(invalid_argument, KW_INVALID_ARGUMENT),
    KW_STATUS(invalid_plan, KW_INVALID_PLAN),
    KW_STATUS(unsupported, KW_UNSUPPORTED),
    KW_STATUS(out_of_memory, KW_OUT_OF_MEMORY),
    KW_STATUS(not_bound, KW_NOT_BOUND),
    KW_STATUS(disposed, KW_DISPOSED),
    KW_STATUS(internal, KW_INTERNAL),
};
#undef KW_STATUS

kw_status status_of(ErrorCode code) {
  for (const Status& error : kErrors) {
    if (error.code == code) return error.status;
  }
  return KW_INTERNAL;
}

kw_status failed(kw_status status, const char* message) noexcept {
  try {
    last_error = message;
  } catch (...) {  // no memory even for the message
    last_error.clear();
  }
  return status;
}

template <class Body>
kw_status guarded(Body body) noexcept {
  try {
    body();
    return KW_OK;
  } catch (const Error& error) {
    return failed(status_of(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return failed(KW_OUT_OF_MEMORY, "Out of memory");
  } catch (const std::length_error&) {
    return failed(KW_OUT_OF_MEMORY, "Out of memory: a size is beyond what can be addressed");
  } catch (const std::exception& error) {
    return failed(KW_INTERNAL, error.what());
  } catch (...) {
    return failed(KW_INTERNAL, "Unknown exception");
  }
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw Error(ErrorCode::invalid_argument, std::string(name) + " is NULL");
}

kw::Completion completion(kw_callback callback, void* user_data) {
  if (callback == nullptr) return {};
  return [callback, user_data](const Error* error) {
    callback(user_data, error == nullptr ? KW_OK : status_of(error->code()), error == nullptr ? nullptr : error->what());
  };
}

std::shared_ptr<kw::Backend> open_backend(const std::string& name, const kw_device_options& options) {
  if (name == "cpu") return kw::cpu::open_backend(options.threads);
  return kw::load_plugin(name).open({options.index, options.tf32 != 0});
}

const std::vector<std::string>& op_names() {
  static const std::vector<std::string> names = kw::op_names();
  return names;
}

}  // namespace

extern "C" {

uint32_t kw_abi_version(void) { return KW_ABI_VERSION; }

int32_t kw_available_cores(void) { return kw::cpu::available_cores(); }

const char* kw_last_error(void) { return last_error.c_str(); }

const char* kw_status_name(kw_status status) {
  if (status == KW_OK) return "KW_OK";
  for (const Status& error : kErrors) {
    if (error.status == status) return error.name;
  }
  return "unknown status";
}

size_t kw_op_count(void) { return op_names().size(); }

const char* kw_op_name(size_t index) { return index < op_names().size() ? op_names()[index].c_str() : nullptr; }

const char* kw_plugin_path(const char* name) {
  thread_local std::string path;
  guarded([&] {
    path.clear();
    require(name, "name");
    path = kw::plugin_path(name);
  });
  return path.c_str();
}

kw_status kw_cpu_report(kw_report_callback callback, void* user_data) {
  return guarded([&] {
    require(reinterpret_cast<const void*>(callback), "callback");
    callback(user_data, kw::cpu::report().c_str());
  });
}

kw_status kw_plugin_report(const char* name, kw_report_callback callback, void* user_data) {
  return guarded([&] {
    require(name, "name");
    require(reinterpret_cast<const void*>(callback), "callback");
    callback(user_data, kw::load_plugin(name).report().c_str());
  });
}

kw_status kw_device_open(const char* name, const kw_device_options* options, kw_device** device) {
  return guarded([&] {
    require(name, "name");
    require(device, "device");
    if (options != nullptr && options->struct_size < sizeof(kw_device_options)) {
      throw Error(ErrorCode::invalid_argument, "options->struct_size is smaller than sizeof(kw_device_options)");
    }
    auto opened = std::make_shared<kw::Device>(name, open_backend(name, options == nullptr ? kw_device_options{} : *options));
    *device = new kw_device{std::move(opened)};
  });
}

void kw_device_retain(kw_device* device) {
  if (device != nullptr) ++device->references;
}

void kw_device_release(kw_device* device) {
  if (device != nullptr && --device->references == 0) delete device;
}

kw_status kw_device_close(kw_device* device) {
  return guarded([&] {
    require(device, "device");
    device->device->close();
  });
}

const char* kw_device_name(const kw_device* device) { return device == nullptr ? "" : device->device->name().c_str(); }

const char* kw_device_description(const kw_device* device) { return device == nullptr ? "" : device->device->description().c_str(); }

void* kw_device_stream(const kw_device* device) { return device == nullptr ? nullptr : device->device->backend().stream(); }

int32_t kw_device_threads(const kw_device* device) { return device == nullptr ? 0 : device->device->threads(); }

int32_t kw_device_is_asynchronous(const kw_device* device) {
  return device != nullptr && device->device->backend().is_asynchronous() ? 1 : 0;
}

kw_status kw_device_memory(const kw_device* device, kw_device_memory_info* info) {
  return guarded([&] {
    require(device, "device");
    require(info, "info");
    const kw::DeviceCounters& counters = device->device->counters();
    const kw::MemoryUse memory = device->device->backend().memory_use();
    *info = {counters.buffers, counters.bytes, counters.programs, memory.used, memory.total};
  });
}

kw_status kw_device_synchronize(kw_device* device) {
  return guarded([&] {
    require(device, "device");
    device->device->synchronize();
  });
}

kw_status kw_device_notify(kw_device* device, kw_callback callback, void* user_data) {
  return guarded([&] {
    require(device, "device");
    require(reinterpret_cast<const void*>(callback), "callback");
    device->device->notify(completion(callback, user_data));
  });
}

kw_status kw_buffer_create(kw_device* device, size_t bytes, kw_buffer** buffer) {
  return guarded([&] {
    require(device, "device");
    require(buffer, "buffer");
    *buffer = new kw_buffer{device->device, device->device->create_buffer(bytes)};
  });
}

kw_status kw_buffer_wrap(kw_device* device, void* address, size_t bytes, kw_release_callback release, void* user_data, kw_buffer** buffer) {
  return guarded([&] {
    require(device, "device");
    require(buffer, "buffer");
    auto handle = std::make_unique<kw_buffer>();  // first, so that a failure here does not release the caller's memory
    handle->device = device->device;
    std::function<void()> on_release;
    if (release != nullptr) on_release = [release, user_data] { release(user_data); };
    handle->buffer = device->device->wrap_buffer(address, bytes, std::move(on_release));
    *buffer = handle.release();
  });
}

void kw_buffer_release(kw_buffer* buffer) { delete buffer; }

void* kw_buffer_address(const kw_buffer* buffer) { return buffer == nullptr ? nullptr : buffer->buffer->data(); }

size_t kw_buffer_bytes(const kw_buffer* buffer) { return buffer == nullptr ? 0 : buffer->buffer->bytes(); }

kw_status kw_buffer_write(kw_buffer* buffer, size_t offset, const void* source, size_t bytes, kw_callback callback, void* user_data) {
  return guarded([&] {
    require(buffer, "buffer");
    if (bytes > 0) require(source, "source");
    buffer->device->write(buffer->buffer, offset, source, bytes, completion(callback, user_data));
  });
}

kw_status kw_buffer_read(kw_buffer* buffer, size_t offset, void* destination, size_t bytes, kw_callback callback, void* user_data) {
  return guarded([&] {
    require(buffer, "buffer");
    if (bytes > 0) require(destination, "destination");
    buffer->device->read(buffer->buffer, offset, destination, bytes, completion(callback, user_data));
  });
}

kw_status kw_buffer_fill_zero(kw_buffer* buffer, kw_callback callback, void* user_data) {
  return guarded([&] {
    require(buffer, "buffer");
    buffer->device->fill_zero(buffer->buffer, completion(callback, user_data));
  });
}

void kw_buffer_changed(kw_buffer* buffer) {
  if (buffer != nullptr) buffer->buffer->changed();
}

kw_status kw_program_create(kw_device* device, const char* plan, size_t length, kw_program** program) {
  return guarded([&] {
    require(device, "device");
    require(plan, "plan");
    require(program, "program");
    *program = new kw_program{device->device, device->device->create_program({plan, length})};
  });
}

void kw_program_release(kw_program* program) { delete program; }

kw_status kw_program_bind(kw_program* program, const char* name, kw_buffer* buffer) {
  return guarded([&] {
    require(program, "program");
    require(name, "name");
    require(buffer, "buffer");
    program->program->bind(name, buffer->buffer);
  });
}

kw_status kw_program_run(kw_program* program, kw_callback callback, void* user_data) {
  return guarded([&] {
    require(program, "program");
    program->device->run(program->program, false, completion(callback, user_data));
  });
}

kw_status kw_program_run_timed(kw_program* program, kw_callback callback, void* user_data) {
  return guarded([&] {
    require(program, "program");
    program->device->run(program->program, true, completion(callback, user_data));
  });
}

kw_status kw_program_memory(const kw_program* program, kw_program_memory_info* info) {
  return guarded([&] {
    require(program, "program");
    require(info, "info");
    *info = {program->program->workspace_bytes(), program->program->scratch_bytes(), program->program->prepared_bytes()};
  });
}

size_t kw_program_step_count(const kw_program* program) { return program == nullptr ? 0 : program->program->plan().steps.size(); }

kw_status kw_program_step(const kw_program* program, size_t index, kw_step_info* info) {
  return guarded([&] {
    require(program, "program");
    require(info, "info");
    const auto& steps = program->program->plan().steps;
    if (index >= steps.size()) {
      throw Error(ErrorCode::invalid_argument, "Step " + std::to_string(index) + " of " + std::to_string(steps.size()) + " does not exist");
    }
    *info = {steps[index].op.c_str(), steps[index].label.c_str(), program->program->step_nanoseconds(index)};
  });
}

}  // extern "C"
