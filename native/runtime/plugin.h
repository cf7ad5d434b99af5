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

// Of the build that this function is linked into. C++ objects cross the border, so both sides must have it: the package's version, the C++
// library's, and the headers of this folder (a hash of them).
const char* plugin_version();

// What the library's function `kw_plugin` returns.
struct Plugin {
  const char* version;  // plugin_version() of its build; the first member, so that it can be read whatever follows
  // Throws unsupported, with everything that was tried, where the machine has no such device.
  std::shared_ptr<Backend> (*open)(const PluginOptions& options);
  // JSON: what was found on this machine, and where it was looked for. Never throws for something that is missing.
  std::string (*report)();
};

// Where the plug-in is looked for: libkw_NAME.so beside the binary that this function is in, or what the environment variable
// KW_NAME_PLUGIN says. Throws invalid_argument for a name that is not of small letters, digits and _.
std::string plugin_path(const std::string& name);

// Loaded once and never unloaded. Throws unsupported: it is missing, does not load, or is of another build.
const Plugin& load_plugin(const std::string& name);

}  // namespace kw
