/**
 * Runs the parts of the GPU check in order. A part that has ended leaves results/<name>.json and is not run again; so a run that was cut short is
 * continued by starting it once more. Knows nothing of what the parts do.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execute, openLog } from './execute.mjs';

/**
 * One part.
 * @typedef {object} Part
 * @property {string} name Of its result file and of `--only`.
 * @property {string} title What it does, as shown.
 * @property {number} limitSeconds After which it is ended and has failed.
 * @property {boolean} [required] Whether nothing after it makes sense when it has failed.
 * @property {boolean} [resumes] Whether it goes on where it was ended, so that at its limit it is started once more, not failed.
 * @property {(context: Context) => Promise<Outcome>} run
 *
 * What a part is given.
 * @typedef {object} Context
 * @property {string} results Folder of the results; a part may write further files named after itself.
 * @property {string} name The part's.
 * @property {import('node:stream').Writable} log results/<name>.log
 * @property {AbortSignal} signal Comes when the part's time is over, or on Ctrl-C.
 * @property {() => number} secondsLeft Until the limit.
 * @property {(program: string, args: readonly string[], options?: object) => Promise<{ code: number, output: string, timedOut: boolean }>} execute
 *   `execute` of execute.mjs with this part's folder, log and signal.
 *
 * @typedef {object} Outcome
 * @property {boolean} passed
 * @property {readonly string[]} [counts] Such as '12 passed, 1 failed'.
 * @property {readonly string[]} [problems] What failed, one text each.
 * @property {object} [figures] Whatever else belongs into the result file; summary.mjs reads it.
 */

function readResult(path) {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined; // cut off while it was written by hand or by another program: run the part again
  }
}

/** The result of a part of this bundle, if it has ended; one of another bundle does not count. */
export function resultOf(results, part, bundle) {
  const result = readResult(join(results, `${part.name}.json`));
  return result?.bundle === bundle ? result : undefined;
}

/** Which parts a run is to do: those of `only`, ended or not; else those that have not ended, with `failed` also those that failed. */
export function chooseParts(parts, { results, bundle, only = [], failed = false }) {
  const unknown = only.find((name) => !parts.some((part) => part.name === name));
  if (unknown !== undefined) {
    throw new RangeError(`There is no part "${unknown}"; the parts are ${parts.map(({ name }) => name).join(', ')}`);
  }
  if (only.length > 0) return parts.filter(({ name }) => only.includes(name));
  return parts.filter((part) => {
    const result = resultOf(results, part, bundle);
    return result === undefined || (failed && !result.passed);
  });
}

async function runPart(part, { folder, results, bundle, env, signal }) {
  const started = new Date();
  const { stream: log, close } = openLog(join(results, `${part.name}.log`));
  const limit = AbortSignal.timeout(1000 * part.limitSeconds);
  const both = AbortSignal.any([limit, signal]);
  const commands = [];
  const context = {
    results,
    name: part.name,
    log,
    signal: both,
    secondsLeft: () => part.limitSeconds - (Date.now() - started) / 1000,
    execute: (program, args, options = {}) => {
      commands.push([program, ...args].join(' '));
      return execute(program, args, { folder, log, signal: both, ...options, env: { ...env, ...options.env } });
    },
  };
  let outcome;
  try {
    outcome = await part.run(context);
  } catch (error) {
    log.write(`${error.stack}\n`);
    outcome = { passed: false, problems: [error.message] };
  }
  await close();
  if (signal.aborted) return undefined;
  const problems = [...(outcome.problems ?? [])];
  if (limit.aborted) problems.unshift(`not finished after ${part.limitSeconds} s, its limit`);
  return {
    part: part.name,
    title: part.title,
    bundle,
    passed: outcome.passed && !limit.aborted,
    timedOut: limit.aborted,
    started: started.toISOString(),
    seconds: Math.round((Date.now() - started) / 100) / 10,
    counts: outcome.counts ?? [],
    problems,
    figures: outcome.figures ?? {},
    commands,
  };
}

/** Written beside its place and moved there, so that a result is there whole or not at all. */
function writeResult(results, result) {
  const path = join(results, `${result.part}.json`);
  writeFileSync(`${path}.new`, `${JSON.stringify(result, undefined, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/** How often a part that resumes is started in one run: one that comes no further must end too. */
const MOST_STARTS = 20;

/**
 * Runs parts. After each, `onResult` is called. Ends early when a required part has failed, when `signal` comes, and before a part that might
 * not end within `minutes`.
 * @param {readonly Part[]} parts All of them, in order.
 * @param {{ folder: string, results: string, bundle: string, env?: Record<string, string>, only?: readonly string[], failed?: boolean,
 *   minutes?: number, signal: AbortSignal, onResult?: (result: object) => void, say?: (line: string) => void }} options `folder` is where programs
 *   run, `bundle` what the results belong to.
 * @returns {Promise<{ passed: boolean, complete: boolean }>} Whether all parts have passed, in this run or before, and whether none is left.
 */
export async function runParts(parts, options) {
  const { results, bundle, minutes = Number.POSITIVE_INFINITY, signal, onResult = () => {}, say = console.log } = options;
  mkdirSync(results, { recursive: true });
  const started = Date.now();
  const waiting = chooseParts(parts, options);
  let starts = 0;
  for (let part = waiting.shift(); part && !signal.aborted; part = waiting.shift()) {
    const blocker = parts.slice(0, parts.indexOf(part)).find((each) => each.required && resultOf(results, each, bundle)?.passed !== true);
    if (blocker) {
      say(`${part.name}: not run, because ${blocker.name} has not passed`);
      continue;
    }
    if ((Date.now() - started) / 60_000 + part.limitSeconds / 60 > minutes) {
      say(`${part.name}: left for the next run, because it may take ${Math.ceil(part.limitSeconds / 60)} minutes`);
      continue;
    }
    say(`${part.name}: ${part.title} ...`);
    const result = await runPart(part, options);
    if (result === undefined) {
      say(`${part.name}: interrupted; it is run again next time`);
      break;
    }
    starts = result.timedOut && part.resumes ? starts + 1 : 0;
    if (starts > 0 && starts < MOST_STARTS) {
      say(`${part.name}: goes on after ${result.seconds} s`);
      waiting.unshift(part);
      continue;
    }
    writeResult(results, result);
    say(
      `${part.name}: ${result.passed ? 'passed' : 'FAILED'} after ${result.seconds} s${result.counts.map((text) => `; ${text}`).join('')}`,
    );
    for (const problem of result.problems.slice(0, 5)) say(problem.replace(/^/gm, '    '));
    if (result.problems.length > 5) say(`    and ${result.problems.length - 5} more: results/${part.name}.json`);
    onResult(result);
  }
  const all = parts.map((part) => resultOf(results, part, bundle));
  return { passed: all.every((result) => result?.passed === true), complete: all.every((result) => result !== undefined) };
}
