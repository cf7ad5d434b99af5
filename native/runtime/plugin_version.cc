#include "runtime/plugin.h"

#define KW_TEXT_OF(value) #value
#define KW_TEXT(value) KW_TEXT_OF(value)

namespace kw {

const char* plugin_version() {
  return KW_VERSION ", border " KW_BORDER ", C++ ABI " KW_TEXT(__GXX_ABI_VERSION) " " KW_TEXT(_GLIBCXX_USE_CXX11_ABI);
}

}  // namespace kw
