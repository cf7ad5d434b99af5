import type { Parameters } from 'fast-check';

/** The same draws each time unless KW_TEST_SEED says otherwise; KW_TEST_RUNS sets how many there are for each property. */
export function propertySettings(): Parameters<unknown> {
  return {
    seed: Number(process.env.KW_TEST_SEED ?? 20240621),
    numRuns: Number(process.env.KW_TEST_RUNS ?? 40),
    includeErrorInReport: true,
  };
}
