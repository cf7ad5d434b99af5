/** Ctrl-C and SIGTERM: the first one asks for a clean stop, a later one ends the program at once. */
import { constants } from 'node:os';

const signals = ['SIGINT', 'SIGTERM'] as const;

/** The same signal again this soon is not a second request: `timeout` sends it to the program and to its group. */
const REPEATED_WITHIN_MILLISECONDS = 1000;

/** Watches the signals until it is disposed. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #onFirst: (signal: NodeJS.Signals) => void;
  #received: NodeJS.Signals | undefined;
  #receivedAt = 0;

  /** `onFirst` tells the user what happens next. */
  constructor(onFirst: (signal: NodeJS.Signals) => void) {
    this.#onFirst = onFirst;
    for (const signal of signals) process.on(signal, this.#receive);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The exit status that says which signal it was: 130 after Ctrl-C, 143 after SIGTERM. */
  get exitStatus(): number {
    return exitStatusOf(this.#received ?? 'SIGINT');
  }

  #receive = (signal: NodeJS.Signals): void => {
    if (signal === this.#received && performance.now() - this.#receivedAt < REPEATED_WITHIN_MILLISECONDS) return;
    if (this.#received !== undefined) process.exit(exitStatusOf(signal));
    this.#received = signal;
    this.#receivedAt = performance.now();
    this.#onFirst(signal);
    this.#controller.abort();
  };

  [Symbol.dispose](): void {
    for (const signal of signals) process.removeListener(signal, this.#receive);
  }
}

function exitStatusOf(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}
