/** Ctrl-C and SIGTERM: the first one asks for a clean stop, the second one ends the program at once. */
import { constants } from 'node:os';

const signals = ['SIGINT', 'SIGTERM'] as const;

/** Watches the signals until it is disposed. */
export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  readonly #onFirst: (signal: NodeJS.Signals) => void;
  #received: NodeJS.Signals | undefined;

  /** `onFirst` tells the user what happens now. */
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
    if (this.#received !== undefined) process.exit(exitStatusOf(signal));
    this.#received = signal;
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
