// The Node binding: Device, Buffer and Program over the C interface, no arithmetic. lib/runtime/native.ts holds its types; arguments
// were checked in lib/runtime, so the checks here only keep memory safe.
#include <napi.h>

#include <string>

#include "node/environment.h"

namespace kw::node {

namespace {

constexpr napi_type_tag kDeviceTag = {0x4b57a3c19e2d4f01, 0x8a5b0c7d6e1f2a31};
constexpr napi_type_tag kBufferTag = {0x4b57a3c19e2d4f02, 0x8a5b0c7d6e1f2a32};
constexpr napi_type_tag kProgramTag = {0x4b57a3c19e2d4f03, 0x8a5b0c7d6e1f2a33};

[[noreturn]] void refuse(Napi::Env env, const std::string& message) {
  Napi::TypeError error = Napi::TypeError::New(env, message);
  error.Set("code", Napi::String::New(env, "ERR_KW_INVALID_ARGUMENT"));
  throw error;
}

size_t size_argument(const Napi::CallbackInfo& info, size_t position, const char* name) {
  constexpr double kLargest = 9007199254740991;  // 2^53 - 1
  const double value = info[position].IsNumber() ? info[position].As<Napi::Number>().DoubleValue() : -1;
  if (!(value >= 0 && value <= kLargest)) refuse(info.Env(), std::string(name) + " must be an integer from 0 to 2^53 - 1");
  return static_cast<size_t>(value);
}

std::string string_argument(const Napi::CallbackInfo& info, size_t position, const char* name) {
  if (!info[position].IsString()) refuse(info.Env(), std::string(name) + " must be a string");
  return info[position].As<Napi::String>().Utf8Value();
}

// The object behind an argument; an unrelated object would be taken for one without the tag.
template <class Wrapped>
Wrapped& wrapped_argument(const Napi::CallbackInfo& info, size_t position, const napi_type_tag& tag, const char* name) {
  if (!info[position].IsObject() || !info[position].As<Napi::Object>().CheckTypeTag(&tag)) {
    refuse(info.Env(), std::string(name) + " is of another type");
  }
  return *Wrapped::Unwrap(info[position].As<Napi::Object>());
}

void* address_argument(const Napi::CallbackInfo& info, size_t position, const char* name) {
  if (!info[position].IsBigInt()) refuse(info.Env(), std::string(name) + " must be a bigint");
  bool lossless = false;
  const uint64_t address = info[position].As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) refuse(info.Env(), std::string(name) + " is outside the range of addresses");
  return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
}

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeDevice",
                       {InstanceAccessor<&DeviceObject::name>("name"), InstanceAccessor<&DeviceObject::threads>("threads"),
                        InstanceAccessor<&DeviceObject::description>("description"), InstanceAccessor<&DeviceObject::stream>("stream"),
                        InstanceAccessor<&DeviceObject::is_asynchronous>("isAsynchronous"), InstanceMethod<&DeviceObject::memory>("memory"),
                        InstanceMethod<&DeviceObject::synchronize>("synchronize"), InstanceMethod<&DeviceObject::release>("release")});
  }

  // (name: string, threads: number, index: number, tf32: boolean)
  explicit DeviceObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const std::string name = string_argument(info, 0, "name");
    if (!info[1].IsNumber()) refuse(info.Env(), "threads must be a number");
    if (!info[2].IsNumber()) refuse(info.Env(), "index must be a number");
    if (!info[3].IsBoolean()) refuse(info.Env(), "tf32 must be a boolean");
    const kw_device_options options{sizeof(kw_device_options), info[1].As<Napi::Number>().Int32Value(),
                                    info[2].As<Napi::Number>().Int32Value(), info[3].As<Napi::Boolean>().Value() ? 1 : 0};
    check(info.Env(), kw_device_open(name.c_str(), &options, &device_));
    info.This().As<Napi::Object>().TypeTag(&kDeviceTag);
  }
  ~DeviceObject() override { kw_device_release(device_); }

  kw_device* handle() const { return device_; }

 private:
  Napi::Value name(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), kw_device_name(device_)); }

  Napi::Value threads(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), kw_device_threads(device_)); }

  Napi::Value is_asynchronous(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), kw_device_is_asynchronous(device_) != 0);
  }

  Napi::Value description(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), kw_device_description(device_)); }

  Napi::Value stream(const Napi::CallbackInfo& info) {
    return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(reinterpret_cast<uintptr_t>(kw_device_stream(device_))));
  }

  Napi::Value memory(const Napi::CallbackInfo& info) {
    kw_device_memory_info memory{};
    check(info.Env(), kw_device_memory(device_, &memory));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("buffers", static_cast<double>(memory.buffers));
    result.Set("bytes", static_cast<double>(memory.bytes));
    result.Set("programs", static_cast<double>(memory.programs));
    result.Set("used", static_cast<double>(memory.used));
    result.Set("total", static_cast<double>(memory.total));
    return result;
  }

  Napi::Value synchronize(const Napi::CallbackInfo& info) {
    return Environment::of(info.Env()).promise(info.Env(), device_, {}, [this](kw_callback callback, void* user_data) {
      return kw_device_notify(device_, callback, user_data);
    });
  }

  void release(const Napi::CallbackInfo&) {
    kw_device_release(device_);
    device_ = nullptr;
  }

  kw_device* device_ = nullptr;
};

// What the garbage collector should know of, beside the small JavaScript object.
class ExternalMemory {
 public:
  explicit ExternalMemory(Napi::Env env) : env_(env) {}
  void set(size_t bytes) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, static_cast<int64_t>(bytes) - bytes_);
    bytes_ = static_cast<int64_t>(bytes);
  }

 private:
  Napi::Env env_;
  int64_t bytes_ = 0;
};

class BufferObject : public Napi::ObjectWrap<BufferObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeBuffer",
                       {InstanceAccessor<&BufferObject::address>("address"), InstanceMethod<&BufferObject::write>("write"),
                        InstanceMethod<&BufferObject::read>("read"), InstanceMethod<&BufferObject::fill_zero>("fillZero"),
                        InstanceMethod<&BufferObject::changed>("changed"), InstanceMethod<&BufferObject::release>("release")});
  }

  // (device: NativeDevice, bytes: number, address?: bigint): memory of the device's own or, with an address, of the caller's
  explicit BufferObject(const Napi::CallbackInfo& info) : ObjectWrap(info), external_(info.Env()) {
    kw_device* device = wrapped_argument<DeviceObject>(info, 0, kDeviceTag, "device").handle();
    const size_t bytes = size_argument(info, 1, "bytes");
    const bool is_wrapped = !info[2].IsUndefined();
    if (is_wrapped) {
      check(info.Env(), kw_buffer_wrap(device, address_argument(info, 2, "address"), bytes, nullptr, nullptr, &buffer_));
    } else {
      check(info.Env(), kw_buffer_create(device, bytes, &buffer_));
    }
    device_ = device;
    kw_device_retain(device_);
    if (!is_wrapped) external_.set(bytes);
    info.This().As<Napi::Object>().TypeTag(&kBufferTag);
  }
  ~BufferObject() override { release_handles(); }

  kw_buffer* handle() const { return buffer_; }

 private:
  Napi::Value address(const Napi::CallbackInfo& info) {
    return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(reinterpret_cast<uintptr_t>(kw_buffer_address(buffer_))));
  }

  // (source: Uint8Array, byteOffset: number): Promise<void>
  Napi::Value write(const Napi::CallbackInfo& info) {
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      refuse(info.Env(), "source must be a Uint8Array");
    }
    void* source = nullptr;
    size_t bytes = 0;
    if (napi_get_typedarray_info(info.Env(), info[0], nullptr, &bytes, &source, nullptr, nullptr) != napi_ok) {
      refuse(info.Env(), "source cannot be read");
    }
    const size_t offset = size_argument(info, 1, "byteOffset");
    return Environment::of(info.Env()).promise(info.Env(), device_, {}, [&](kw_callback callback, void* user_data) {
      return kw_buffer_write(buffer_, offset, source, bytes, callback, user_data);
    });
  }

  // (byteOffset: number, byteLength: number): Promise<ArrayBuffer>
  Napi::Value read(const Napi::CallbackInfo& info) {
    const size_t offset = size_argument(info, 0, "byteOffset");
    const size_t bytes = size_argument(info, 1, "byteLength");
    if (offset > kw_buffer_bytes(buffer_) || bytes > kw_buffer_bytes(buffer_) - offset)
      refuse(info.Env(), "the range is outside the buffer");
    const Napi::ArrayBuffer destination = Napi::ArrayBuffer::New(info.Env(), bytes);
    return Environment::of(info.Env()).promise(info.Env(), device_, destination, [&](kw_callback callback, void* user_data) {
      return kw_buffer_read(buffer_, offset, const_cast<Napi::ArrayBuffer&>(destination).Data(), bytes, callback, user_data);
    });
  }

  Napi::Value fill_zero(const Napi::CallbackInfo& info) {
    return Environment::of(info.Env()).promise(info.Env(), device_, {}, [this](kw_callback callback, void* user_data) {
      return kw_buffer_fill_zero(buffer_, callback, user_data);
    });
  }

  void changed(const Napi::CallbackInfo&) { kw_buffer_changed(buffer_); }

  void release(const Napi::CallbackInfo&) { release_handles(); }

  void release_handles() {
    external_.set(0);
    kw_buffer_release(buffer_);
    kw_device_release(device_);
    buffer_ = nullptr;
    device_ = nullptr;
  }

  ExternalMemory external_;
  kw_buffer* buffer_ = nullptr;
  kw_device* device_ = nullptr;
};

class ProgramObject : public Napi::ObjectWrap<ProgramObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeProgram",
                       {InstanceMethod<&ProgramObject::bind>("bind"), InstanceMethod<&ProgramObject::run>("run"),
                        InstanceMethod<&ProgramObject::run_timed>("runTimed"), InstanceMethod<&ProgramObject::memory>("memory"),
                        InstanceMethod<&ProgramObject::step_times>("stepTimes"), InstanceMethod<&ProgramObject::release>("release")});
  }

  // (device: NativeDevice, plan: string)
  explicit ProgramObject(const Napi::CallbackInfo& info) : ObjectWrap(info), external_(info.Env()) {
    kw_device* device = wrapped_argument<DeviceObject>(info, 0, kDeviceTag, "device").handle();
    const std::string plan = string_argument(info, 1, "plan");
    check(info.Env(), kw_program_create(device, plan.data(), plan.size(), &program_));
    device_ = device;
    kw_device_retain(device_);
    kw_program_memory_info memory{};
    check(info.Env(), kw_program_memory(program_, &memory));
    external_.set(memory.workspace + memory.scratch + memory.prepared);
    info.This().As<Napi::Object>().TypeTag(&kProgramTag);
  }
  ~ProgramObject() override { release_handles(); }

 private:
  // (name: string, buffer: NativeBuffer)
  void bind(const Napi::CallbackInfo& info) {
    const std::string name = string_argument(info, 0, "name");
    check(info.Env(), kw_program_bind(program_, name.c_str(), wrapped_argument<BufferObject>(info, 1, kBufferTag, "buffer").handle()));
  }

  Napi::Value run(const Napi::CallbackInfo& info) {
    return Environment::of(info.Env()).promise(info.Env(), device_, {}, [this](kw_callback callback, void* user_data) {
      return kw_program_run(program_, callback, user_data);
    });
  }

  Napi::Value run_timed(const Napi::CallbackInfo& info) {
    return Environment::of(info.Env()).promise(info.Env(), device_, {}, [this](kw_callback callback, void* user_data) {
      return kw_program_run_timed(program_, callback, user_data);
    });
  }

  Napi::Value memory(const Napi::CallbackInfo& info) {
    kw_program_memory_info memory{};
    check(info.Env(), kw_program_memory(program_, &memory));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("workspace", static_cast<double>(memory.workspace));
    result.Set("scratch", static_cast<double>(memory.scratch));
    result.Set("prepared", static_cast<double>(memory.prepared));
    return result;
  }

  // Nanoseconds of each step in the last finished run.
  Napi::Value step_times(const Napi::CallbackInfo& info) {
    const size_t count = kw_program_step_count(program_);
    Napi::Float64Array times = Napi::Float64Array::New(info.Env(), count);
    for (size_t index = 0; index < count; ++index) {
      kw_step_info step{};
      check(info.Env(), kw_program_step(program_, index, &step));
      times[index] = static_cast<double>(step.nanoseconds);
    }
    return times;
  }

  void release(const Napi::CallbackInfo&) { release_handles(); }

  void release_handles() {
    external_.set(0);
    kw_program_release(program_);
    kw_device_release(device_);
    program_ = nullptr;
    device_ = nullptr;
  }

  ExternalMemory external_;
  kw_program* program_ = nullptr;
  kw_device* device_ = nullptr;
};

// The text that `ask`, a function of a kw_report_callback and its data, hands to the callback.
template <class Ask>
Napi::String report(Napi::Env env, const Ask& ask) {
  std::string text;
  const kw_report_callback keep = [](void* data, const char* words) { *static_cast<std::string*>(data) = words; };
  check(env, ask(keep, static_cast<void*>(&text)));
  return Napi::String::New(env, text);
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  exports.Set("abiVersion", Napi::Number::New(env, kw_abi_version()));
  exports.Set("availableCores", Napi::Number::New(env, kw_available_cores()));
  Napi::Array names = Napi::Array::New(env, kw_op_count());
  for (uint32_t index = 0; index < kw_op_count(); ++index) names.Set(index, Napi::String::New(env, kw_op_name(index)));
  exports.Set("opNames", names);
  exports.Set("pluginPath", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                return Napi::String::New(info.Env(), kw_plugin_path(string_argument(info, 0, "name").c_str()));
              }));
  exports.Set("cpuReport", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { return report(info.Env(), kw_cpu_report); }));
  exports.Set("pluginReport", Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
                const std::string name = string_argument(info, 0, "name");
                return report(info.Env(), [&](auto... arguments) { return kw_plugin_report(name.c_str(), arguments...); });
              }));
  exports.Set("Device", DeviceObject::define(env));
  exports.Set("Buffer", BufferObject::define(env));
  exports.Set("Program", ProgramObject::define(env));
  exports.Set("close", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { Environment::of(info.Env()).close(); }));
  return exports;
}

}  // namespace

NODE_API_MODULE(kernel_warehouse, initialize)

}  // namespace kw::node
