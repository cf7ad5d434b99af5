/** Thrown by a runner for a case that this version of the project cannot build; it is counted apart from failures. */
export class NotRunnable extends Error {}

/** Runs `build`; an error that it throws about the configuration makes the case not runnable. */
export function buildOrSkip<T>(build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw new NotRunnable((error as Error).message, { cause: error });
  }
}
