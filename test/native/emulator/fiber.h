// Fibers: contexts of execution with stacks of their own, between which one thread of the operating system switches.
#pragma once

#include <cstddef>

#if defined(KW_EMULATOR_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#define KW_EMULATOR_USES_UCONTEXT 1
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace kw::emulator {

/** Memory for a fiber's stack, with a guard page below it: an overflow faults instead of writing elsewhere. */
class Stack {
 public:
  /** Stacks with different numbers begin at different distances from a page's end: the processor's cache could not hold many that begin at
   * the same one. */
  explicit Stack(std::size_t number);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  char* bottom() const { return bottom_; }
  std::size_t size() const { return size_; }
  /** Whether `address` is in the guard page. */
  bool guards(const void* address) const;

 private:
  char* memory_;
  char* bottom_;
  std::size_t size_;
};

#ifndef KW_EMULATOR_USES_UCONTEXT
extern "C" __attribute__((visibility("hidden"))) void kw_emulator_switch(void** save_stack_pointer, void* stack_pointer);
#endif

/** One context. A default-constructed fiber stands for the thread of the operating system that switches away from it first. */
class Fiber {
 public:
  /** Makes this fiber start in `entry`, which must not return, when it is switched to. */
  void prepare(Stack& stack, void (*entry)());

  /** Leaves this fiber, which is running, for `next`; returns when another fiber switches back. A fiber that `ends` is not switched to
   * again. */
  void switch_to(Fiber& next, bool ends = false) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? nullptr : &fake_stack_, next.stack_bottom_, next.stack_size_);
#else
    (void)ends;
#endif
#ifdef KW_EMULATOR_USES_UCONTEXT
    swapcontext(&context_, &next.context_);
#else
    kw_emulator_switch(&stack_pointer_, next.stack_pointer_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
  }

  /** To be called first in `entry`, with the fiber from which the first switch of this thread of the operating system came. */
  static void started(Fiber& origin) {
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (!origin.stack_bottom_) {  // the fiber that runs first learns where the thread's own stack is
      origin.stack_bottom_ = bottom;
      origin.stack_size_ = size;
    }
#else
    (void)origin;
#endif
  }

 private:
#ifdef KW_EMULATOR_USES_UCONTEXT
  ucontext_t context_;
#else
  void* stack_pointer_ = nullptr;
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack_ = nullptr;
  const void* stack_bottom_ = nullptr;
  std::size_t stack_size_ = 0;
#endif
};

}  // namespace kw::emulator
