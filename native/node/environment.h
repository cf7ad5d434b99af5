// What one JavaScript environment (the main thread or a worker) owns: the way back from a device's thread, and the promises that
// wait for it. Nothing here is shared between environments.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <unordered_set>

#include "kernel_warehouse.h"

namespace kw::node {

// Throws a JavaScript Error with `code` 'ERR_KW_...' unless the status is KW_OK.
void check(Napi::Env env, kw_status status);

class Environment {
 public:
  explicit Environment(Napi::Env env);
  ~Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  // Calls `enqueue(callback, user_data)` and returns a promise for its end, fulfilled with `result` (undefined when empty). Keeps
  // the event loop alive, `result` from being collected and `device` open until then. A failing `enqueue` throws.
  template <class Enqueue>
  Napi::Value promise(Napi::Env env, kw_device* device, Napi::Value result, Enqueue enqueue) {
    Pending* pending = begin(env, device, result);
    const Napi::Value promise = pending->promise(env);
    const kw_status status = enqueue(&Environment::on_done, pending);
    if (status != KW_OK) abandon(env, pending);
    check(env, status);
    return promise;
  }

  // Cancels the queued work of every device that has some, and waits for the step that each is at.
  void close();

 private:
  struct Pending {
    napi_threadsafe_function wake;
    napi_deferred deferred = nullptr;
    napi_value promise_value = nullptr;  // valid in begin's scope only
    napi_ref result = nullptr;
    kw_device* device = nullptr;
    kw_status status = KW_OK;
    std::string message;

    Napi::Value promise(Napi::Env env) const { return Napi::Value(env, promise_value); }
  };

  Pending* begin(Napi::Env env, kw_device* device, Napi::Value result);
  void forget(Napi::Env env, Pending* pending);
  void abandon(Napi::Env env, Pending* pending);
  static void on_done(void* pending, kw_status status, const char* message) noexcept;                // on the device's thread
  static void settle(napi_env env, napi_value function, void* environment, void* pending) noexcept;  // on the JavaScript thread

  napi_threadsafe_function wake_ = nullptr;
  std::unordered_set<Pending*> pending_;
};

}  // namespace kw::node
