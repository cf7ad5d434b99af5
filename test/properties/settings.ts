import type { Parameters } from 'fast-check';

/** The same draws each time unless KW_TEST_SEED says otherwise; KW_TEST_RUNS sets how many there are for each property, instead of `runs`. */
export function propertySettings(runs = 40): Parameters<unknown> {
  return {
    seed: Number(process.env.KW_TEST_SEED ?? 20240621),
    numRuns: Number(process.env.KW_TEST_RUNS ?? runs),
    includeErrorInReport: true,
  };
}
