// Backends that live in a shared library beside this one, opened when asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/backend.h"

namespace kw {

struct PluginOptions {
  int index = 0;      // which of the machine's devices
  bool tf32 = false;  // float32 products may be rounded to TF32
};

// C++ objects cross this border: both sides must be built from the same sources, with the same C++ library.
#define KW_TEXT_OF(value) #value
#define KW_TEXT(value) KW_TEXT_OF(value)
constexpr const char* kPluginVersion = KW_VERSION ", C++ ABI " KW_TEXT(__GXX_ABI_VERSION) " " KW_TEXT(_GLIBCXX_USE_CXX11_ABI);

// What the library's function `kw_plugin` returns.
struct Plugin {
  const char* version;  // kPluginVersion of its build; the first member, so that it can be read whatever follows
  // Throws unsupported, with everything that was tried, where the machine has no such device.
  std::shared_ptr<Backend> (*open)(const PluginOptions& options);
  // JSON: what was found on this machine, and where it was looked for. Never throws for something that is missing.
  std::string (*report)();
};

// Where the plug-in is looked for: libkw_NAME.so beside the binary that this function is in, or what the environment variable
// KW_NAME_PLUGIN says.
std::string plugin_path(const std::string& name);

// Loaded once and never unloaded. Throws unsupported: it is missing, does not load, or is of another build.
const Plugin& load_plugin(const std::string& name);

}  // namespace kw
