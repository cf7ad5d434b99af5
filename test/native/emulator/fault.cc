#include "emulator/fault.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "emulator/block.h"
#include "emulator/heap.h"

namespace kw::emulator {
namespace {

struct sigaction previous_segv;
struct sigaction previous_bus;
struct sigaction previous_fpe;

/** A stack for signal handlers of this thread of the operating system: what faults may be a stack that is used up. */
class SignalStack {
 public:
  SignalStack() {
    stack_t present{};
    if (sigaltstack(nullptr, &present) == 0 && !(present.ss_flags & SS_DISABLE)) return;
    memory_ = std::make_unique<char[]>(kBytes);
    stack_t stack{};
    stack.ss_sp = memory_.get();
    stack.ss_size = kBytes;
    sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    if (!memory_) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }

 private:
  static constexpr std::size_t kBytes = 128 * 1024;
  std::unique_ptr<char[]> memory_;
};

std::string hexadecimal(const void* address) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", address);
  return text;
}

struct sigaction& previous(int signal) {
  if (signal == SIGFPE) return previous_fpe;
  return signal == SIGBUS ? previous_bus : previous_segv;
}

void pass_on(int signal, siginfo_t* information, void* context) {
  struct sigaction& action = previous(signal);
  if (action.sa_flags & SA_SIGINFO) {
    action.sa_sigaction(signal, information, context);
  } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(signal);
  } else {
    sigaction(signal, &action, nullptr);  // the same instruction faults again, and then as it would have without us
  }
}

std::string last_activity(const Thread& thread) {
  return thread.activity ? " (after or in " + std::string(thread.activity) + " at " + describe(thread.location) + ")" : "";
}

void handle(int signal, siginfo_t* information, void* context) {
  Block* block = current_block;
  if (!block) return pass_on(signal, information, context);
  const std::string activity = last_activity(block->thread());
  if (signal == SIGFPE) block->fail(FaultKind::launch_failure, "integer division by zero" + activity);
  const void* address = information->si_addr;
  if (block->overflows_stack(address)) block->fail(FaultKind::launch_failure, "a thread's local variables exceed the emulator's stack");
  // The processor tells no address for an access with a wrong alignment.
  if (signal == SIGBUS || (information->si_code == SI_KERNEL && address == nullptr)) {
    block->fail(FaultKind::misaligned_address, "misaligned access to memory" + activity);
  }
  if (block->shared().guards(address)) {
    block->fail(FaultKind::illegal_address,
                "access outside of the block's shared memory (" + std::to_string(block->launch().shared_bytes) + " bytes)" + activity);
  }
  block->fail(FaultKind::illegal_address, "access to " + hexadecimal(address) + ", " + device_heap().describe(address) + activity);
}

void install(int signal) {
  struct sigaction present{};
  sigaction(signal, nullptr, &present);
  if ((present.sa_flags & SA_SIGINFO) && present.sa_sigaction == handle) return;
  struct sigaction action{};
  action.sa_sigaction = handle;
  // The handler does not return: it leaves for the fiber that started the block. So the signal must not stay blocked.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  previous(signal) = present;
  sigaction(signal, &action, nullptr);
}

}  // namespace

std::string describe(Location location) {
  const char* name = std::strrchr(location.file_name(), '/');
  return std::string(name ? name + 1 : location.file_name()) + ":" + std::to_string(location.line());
}

void catch_signals() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE}) install(signal);
}

void prepare_signal_stack() {
  static thread_local SignalStack stack;
  static_cast<void>(stack);
}

}  // namespace kw::emulator
