/* Kernel Warehouse's C interface: prepare a plan once, run it many times. docs/plan.md describes the plan.
 *
 * Device      one stream: a thread of its own that does, in order, what was queued on it. Several devices can be open at once.
 * Buffer      memory of a device, zero-filled, 64-byte aligned.
 * Program     a plan prepared for a device, with its workspace; buffers are bound to it by name.
 *
 * Every function may be called from any thread. Functions that return a kw_status never throw, exit or abort; when it is not
 * KW_OK, kw_last_error() says why. Functions that queue work return at once; `callback`, where not NULL, is then called exactly
 * once, on the device's thread, when that work is done. It must be short and must not wait for the device. When the function
 * itself fails, nothing was queued and the callback is not called. An error of work without a callback is returned by the next
 * kw_device_synchronize.
 *
 * Handles are counted inside: any order of releasing is safe, also while work is queued. Queued work keeps what it needs. The
 * release of a device's last handle (device, buffers, programs) waits for the queued work; kw_device_close cancels it instead.
 */
#ifndef KERNEL_WAREHOUSE_H
#define KERNEL_WAREHOUSE_H

#include <stddef.h>
#include <stdint.h>

#define KW_ABI_VERSION 3

#if defined(_WIN32)
#if defined(KW_BUILDING)
#define KW_API __declspec(dllexport)
#else
#define KW_API __declspec(dllimport)
#endif
#else
#define KW_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kw_status {
  KW_OK = 0,
  KW_INVALID_ARGUMENT = 1,
  KW_INVALID_PLAN = 2,
  KW_UNSUPPORTED = 3, /* the device has no such op, or not for these shapes */
  KW_OUT_OF_MEMORY = 4,
  KW_NOT_BOUND = 5, /* a buffer of the plan was never bound */
  KW_DISPOSED = 6,  /* the device was closed; queued work that was cancelled ends with this */
  KW_INTERNAL = 7
} kw_status;

typedef struct kw_device kw_device;
typedef struct kw_buffer kw_buffer;
typedef struct kw_program kw_program;

/* `message` is NULL when `status` is KW_OK; it is valid during the call only. */
typedef void (*kw_callback)(void* user_data, kw_status status, const char* message);
typedef void (*kw_release_callback)(void* user_data);
/* `report` is valid during the call only. */
typedef void (*kw_report_callback)(void* user_data, const char* report);

/* The version of this interface that the library was built with; compare with KW_ABI_VERSION. */
KW_API uint32_t kw_abi_version(void);
/* What went wrong in the last failing call of this thread; empty when none has. Valid until this thread's next failing call. */
KW_API const char* kw_last_error(void);
/* "KW_OK", "KW_INVALID_PLAN", ...; "unknown status" for other values. */
KW_API const char* kw_status_name(kw_status status);

/* The physical cores that this process may use, at least 1: a device that computes with more threads is slower, not faster. */
KW_API int32_t kw_available_cores(void);

/* Which instruction sets the CPU's kernels are chosen by, as JSON: {"kernels": "avx512", "oneDnn": "avx512_core_bf16"}. The first is
 * baseline, avx2, avx512 or amx, the best of this processor or what KW_CPU_ISA allows of it. KW_INVALID_ARGUMENT when that variable names
 * something else. */
KW_API kw_status kw_cpu_report(kw_report_callback callback, void* user_data);

/* Every op that a plan may have, by name, in the order of the alphabet; NULL from `index` = kw_op_count() on. A device may lack some:
 * preparing a program says so (KW_UNSUPPORTED). */
KW_API size_t kw_op_count(void);
KW_API const char* kw_op_name(size_t index);

/* Where the plug-in `name` ("cuda") is looked for, whether or not it is there. Valid until this thread's next call. */
KW_API const char* kw_plugin_path(const char* name);
/* What the plug-in `name` ("cuda") found on this machine, as JSON, handed to `callback` during the call: devices, driver, libraries,
 * and every place where it looked. KW_UNSUPPORTED, with the reasons, when there is no plug-in that fits. */
KW_API kw_status kw_plugin_report(const char* name, kw_report_callback callback, void* user_data);

/* ---- Device ---- */

typedef struct kw_device_options {
  size_t struct_size; /* sizeof(kw_device_options) */
  int32_t threads;    /* "cpu": 1 to 1024; 0: KW_NUM_THREADS or OMP_NUM_THREADS where set, else the physical cores this process may use */
  int32_t index;      /* "cuda": which GPU, from 0 */
  int32_t tf32;       /* "cuda": not 0 lets float32 products be rounded to TF32 */
} kw_device_options;

typedef struct kw_device_memory_info {
  size_t buffers;  /* live buffers, wrapped ones too */
  size_t bytes;    /* of the device's own memory: buffers, workspaces, scratch */
  size_t programs; /* live programs */
  size_t used;     /* of a GPU's memory, by whichever process; 0 for "cpu" */
  size_t total;    /* of a GPU's memory; 0 for "cpu" */
} kw_device_memory_info;

/* `name`: "cpu", or that of a plug-in: "cuda" opens libkw_cuda.so beside this library, or what the environment variable KW_CUDA_PLUGIN
 * says, and any other name of small letters, digits and _ likewise (KW_UNSUPPORTED where there is none that fits, or not the machine for
 * it). `options` may be NULL. */
KW_API kw_status kw_device_open(const char* name, const kw_device_options* options, kw_device** device);
/* One more reference to the same handle; each needs its own kw_device_release. */
KW_API void kw_device_retain(kw_device* device);
/* NULL is allowed, here and in the other release functions. */
KW_API void kw_device_release(kw_device* device);
/* Cancels what is queued (it ends with KW_DISPOSED), stops the running program after its current step, waits for that, and
 * refuses work from then on. Not from a callback of the device. Closing twice is allowed. */
KW_API kw_status kw_device_close(kw_device* device);
KW_API const char* kw_device_name(const kw_device* device);
/* What the device is, such as "NVIDIA H100 80GB HBM3"; valid until the device is released. */
KW_API const char* kw_device_description(const kw_device* device);
/* The cudaStream_t on which a "cuda" device queues its work; NULL for "cpu". The device's thread hands work to it later than the call
 * that queued it: call kw_device_synchronize before queueing work of your own there. */
KW_API void* kw_device_stream(const kw_device* device);
KW_API int32_t kw_device_threads(const kw_device* device);
/* Not 0: work that was taken from the queue may go on beside this processor, so it pays to queue a step before the one ahead of it is done.
 * 0: it is done on this processor, one piece after another. */
KW_API int32_t kw_device_is_asynchronous(const kw_device* device);
KW_API kw_status kw_device_memory(const kw_device* device, kw_device_memory_info* info);
/* Waits until everything queued so far is done. Not from a callback of the device: that is KW_INVALID_ARGUMENT. */
KW_API kw_status kw_device_synchronize(kw_device* device);
/* Calls `callback` when everything queued so far is done. */
KW_API kw_status kw_device_notify(kw_device* device, kw_callback callback, void* user_data);

/* ---- Buffer ---- */

/* `bytes` zeroed bytes. */
KW_API kw_status kw_buffer_create(kw_device* device, size_t bytes, kw_buffer** buffer);
/* Memory of the caller's, of the device's kind (host memory for "cpu", memory of that GPU for "cuda"), at a multiple of 4 bytes, as a
 * buffer. `release` (may be NULL) is called once when neither handles nor
 * queued work need it any more, on whichever thread that happens; not when this function fails. Whoever writes there by other
 * means than this interface calls kw_buffer_changed afterwards. */
KW_API kw_status kw_buffer_wrap(kw_device* device, void* address, size_t bytes, kw_release_callback release, void* user_data,
                                kw_buffer** buffer);
KW_API void kw_buffer_release(kw_buffer* buffer);
/* Where the memory is, for other native code. Reading and writing there is safe only while no work that uses it is queued. */
KW_API void* kw_buffer_address(const kw_buffer* buffer);
KW_API size_t kw_buffer_bytes(const kw_buffer* buffer);
/* Queues a copy from host memory; `source` is copied during the call and may change afterwards. */
KW_API kw_status kw_buffer_write(kw_buffer* buffer, size_t offset, const void* source, size_t bytes, kw_callback callback, void* user_data);
/* Queues a copy to host memory; `destination` must live until it is done. */
KW_API kw_status kw_buffer_read(kw_buffer* buffer, size_t offset, void* destination, size_t bytes, kw_callback callback, void* user_data);
/* Queues the zeroing of all bytes. */
KW_API kw_status kw_buffer_fill_zero(kw_buffer* buffer, kw_callback callback, void* user_data);
/* The contents were changed through the address: converted copies of them are made again. */
KW_API void kw_buffer_changed(kw_buffer* buffer);

/* ---- Program ---- */

typedef struct kw_program_memory_info {
  size_t workspace; /* bytes of the plan's buffer 0 */
  size_t scratch;   /* bytes of the largest scratch area that a kernel asked for */
  size_t prepared;  /* bytes of converted copies of parameters */
} kw_program_memory_info;

typedef struct kw_step_info {
  const char* op;      /* valid until the program is released */
  const char* label;   /* the same */
  int64_t nanoseconds; /* in the last finished run on "cpu", the last finished timed run on "cuda"; 0 before */
} kw_step_info;

/* Reads the plan (JSON, UTF-8, `length` bytes) and prepares a kernel for each step. */
KW_API kw_status kw_program_create(kw_device* device, const char* plan, size_t length, kw_program** program);
KW_API void kw_program_release(kw_program* program);
/* Binds a buffer of the same device, at least as large as the plan says, for the runs queued from now on. */
KW_API kw_status kw_program_bind(kw_program* program, const char* name, kw_buffer* buffer);
/* Queues one run with the buffers bound now. KW_NOT_BOUND when one is missing. */
KW_API kw_status kw_program_run(kw_program* program, kw_callback callback, void* user_data);
/* The same, step by step, so that each step's time is known afterwards. On "cuda" that is slower than a plain run. */
KW_API kw_status kw_program_run_timed(kw_program* program, kw_callback callback, void* user_data);
KW_API kw_status kw_program_memory(const kw_program* program, kw_program_memory_info* info);
KW_API size_t kw_program_step_count(const kw_program* program);
KW_API kw_status kw_program_step(const kw_program* program, size_t index, kw_step_info* info);

#ifdef __cplusplus
}
#endif

#endif
