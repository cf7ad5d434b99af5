/* The public header is plain C: this file compiles as C99. */
#include "kernel_warehouse.h"

uint32_t kw_test_abi_version_from_c(void) {
  kw_device_options options = {sizeof(kw_device_options), 1, 0, 0};
  return options.threads == 1 ? kw_abi_version() : 0;
}
