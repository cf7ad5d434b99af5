#include "node/environment.h"

namespace kw::node {

namespace {

// 'ERR_KW_INVALID_PLAN' for KW_INVALID_PLAN.
std::string code_of(kw_status status) { return std::string("ERR_") + kw_status_name(status); }

}  // namespace

void check(Napi::Env env, kw_status status) {
  if (status == KW_OK) return;
  Napi::Error error = Napi::Error::New(env, kw_last_error());
  error.Set("code", Napi::String::New(env, code_of(status)));
  throw error;
}

Environment::Environment(Napi::Env env) {
  const Napi::String name = Napi::String::New(env, "kernel-warehouse");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, &Environment::settle, &wake_) != napi_ok ||
      napi_unref_threadsafe_function(env, wake_) != napi_ok) {
    throw Napi::Error::New(env, "Cannot create a thread-safe function");
  }
  // Hooks run last one first: the devices stop while `wake_` and the array buffers that they read into are still there.
  env.AddCleanupHook([](Environment* environment) { environment->close(); }, this);
}

Environment::Pending* Environment::begin(Napi::Env env, kw_device* device, Napi::Value result) {
  auto pending = std::make_unique<Pending>();
  pending->wake = wake_;
  if (napi_create_promise(env, &pending->deferred, &pending->promise_value) != napi_ok) throw Napi::Error::New(env);
  if (!result.IsEmpty() && napi_create_reference(env, result, 1, &pending->result) != napi_ok) throw Napi::Error::New(env);
  pending->device = device;
  pending_.insert(pending.get());
  kw_device_retain(device);
  if (pending_.size() == 1) napi_ref_threadsafe_function(env, wake_);
  return pending.release();
}

void Environment::forget(Napi::Env env, Pending* pending) {
  if (pending_.erase(pending) > 0 && pending_.empty()) napi_unref_threadsafe_function(env, wake_);
  if (pending->result != nullptr) napi_delete_reference(env, pending->result);
}

void Environment::abandon(Napi::Env env, Pending* pending) {
  forget(env, pending);
  napi_value nothing = nullptr;  // a promise that nobody sees must still be settled, else its deferred leaks
  napi_get_undefined(env, &nothing);
  napi_resolve_deferred(env, pending->deferred, nothing);
  kw_device_release(pending->device);
  delete pending;
}

void Environment::close() {
  // Closing a device ends its pending work, and with the environment already gone that also frees `Pending`s: the set is not to be looked
  // at meanwhile.
  std::unordered_set<kw_device*> devices;
  for (const Pending* pending : pending_) {
    if (devices.insert(pending->device).second) kw_device_retain(pending->device);
  }
  for (kw_device* device : devices) kw_device_close(device);
  for (kw_device* device : devices) kw_device_release(device);
}

void Environment::on_done(void* user_data, kw_status status, const char* message) noexcept {
  auto* pending = static_cast<Pending*>(user_data);
  pending->status = status;
  try {
    if (message != nullptr) pending->message = message;
  } catch (const std::bad_alloc&) {
    pending->message.clear();
  }
  // Unlimited queue; refused only when the environment is gone, and with it everybody who could want the result.
  if (napi_call_threadsafe_function(pending->wake, pending, napi_tsfn_nonblocking) != napi_ok) {
    kw_device_release(pending->device);
    delete pending;
  }
}

void Environment::settle(napi_env env, napi_value, void* environment, void* user_data) noexcept {
  auto* pending = static_cast<Pending*>(user_data);
  if (env != nullptr) {  // null while the environment is being torn down
    napi_value value = nullptr;
    if (pending->status != KW_OK) {
      napi_value code = nullptr, message = nullptr;
      const std::string name = code_of(pending->status);
      napi_create_string_utf8(env, name.data(), name.size(), &code);
      napi_create_string_utf8(env, pending->message.data(), pending->message.size(), &message);
      napi_create_error(env, code, message, &value);
    } else if (pending->result != nullptr) {
      napi_get_reference_value(env, pending->result, &value);
    } else {
      napi_get_undefined(env, &value);
    }
    const bool ok = pending->status == KW_OK;
    static_cast<Environment*>(environment)->forget(env, pending);
    if (ok) {
      napi_resolve_deferred(env, pending->deferred, value);
    } else {
      napi_reject_deferred(env, pending->deferred, value);
    }
  }
  kw_device_release(pending->device);
  delete pending;
}

}  // namespace kw::node
