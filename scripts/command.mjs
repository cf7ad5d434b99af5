/** Running other programs from the scripts in this folder. Uses only what Node brings, because setup runs before any package is installed. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** A failure that is explained to the user in full; scripts print its message without a stack. */
export class ScriptError extends Error {}

const children = new Set();
const watchers = new Set();

/** Calls `watcher` with the process ids of all running children whenever one starts or ends; the result stops that. */
export function watchChildren(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

function notifyWatchers() {
  const ids = [...children].map(({ pid }) => pid).filter(Boolean);
  for (const watcher of watchers) watcher(ids);
}

let endingCode = 0;

/** Passes a signal on and leaves when the children have ended, so that nobody takes the lock while they still write; a second signal kills them. */
function end(signal, code) {
  for (const child of children) child.kill(endingCode ? 'SIGKILL' : signal);
  endingCode = code;
  if (children.size === 0) process.exit(code);
}

process.on('SIGINT', () => end('SIGINT', 130));
process.on('SIGTERM', () => end('SIGTERM', 143));
process.on('SIGHUP', () => end('SIGHUP', 129));

/**
 * Runs a program in the repository root; its standard input is `input`, or nothing.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ env?: Record<string, string>, input?: string, onLine?: (line: string) => void, inherit?: boolean }} [options] `inherit` shows the output as it comes
 *   instead of collecting it; `onLine` receives each line of standard output.
 * @returns {Promise<{ code: number, output: string }>} The exit code (127 when there is no such program, 128 after a signal) and both streams' text.
 */
export function run(program, args, { env = {}, input, onLine, inherit = false } = {}) {
  return new Promise((resolve) => {
    const stdio = [input === undefined ? 'ignore' : 'pipe', inherit ? 'inherit' : 'pipe', inherit ? 'inherit' : 'pipe'];
    const child = spawn(program, args, { cwd: root, env: { ...process.env, ...env }, stdio });
    children.add(child);
    notifyWatchers();
    child.stdin?.on('error', () => {}).end(input);
    let output = '';
    let pending = '';
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      output += text;
      const lines = (pending + text).split('\n');
      pending = lines.pop() ?? '';
      if (onLine) lines.forEach(onLine);
    });
    child.stderr?.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    const finish = (result) => {
      children.delete(child);
      notifyWatchers();
      if (endingCode) end('SIGTERM', endingCode);
      else resolve(result);
    };
    child.on('error', (error) => finish({ code: 127, output: `${output}${program}: ${error.message}\n` }));
    child.on('close', (code, signal) => {
      if (pending && onLine) onLine(pending);
      finish({ code: code ?? 128, output: signal ? `${output}${program} was ended by ${signal}\n` : output });
    });
  });
}

/** The last `count` lines of a text. */
export function tail(text, count) {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}

/** Time since `start` (from `performance.now()`), for people. */
export function elapsed(start) {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

const quietMilliseconds = 1_000;

/**
 * Runs a program as a named step: past its first second, a line that says so and one with the time when it ends; its output only when it fails.
 * @param {string} title What the step does, as shown.
 * @param {string} name File name of its log, without extension.
 * @param {string} remedy What the user can do when it fails.
 * @throws {ScriptError} when the program exits with anything but 0.
 */
export async function step(title, name, remedy, program, args, env) {
  const start = performance.now();
  let isAnnounced = false;
  const announcement = setTimeout(() => {
    isAnnounced = true;
    console.log(`${title} ...`);
  }, quietMilliseconds);
  const { code, output } = await run(program, args, { env });
  clearTimeout(announcement);
  const log = join(root, 'build', 'logs', `${name}.log`);
  mkdirSync(dirname(log), { recursive: true });
  writeFileSync(log, output);
  if (code !== 0) {
    const command = [program === process.execPath ? 'node' : program, ...args].join(' ');
    throw new ScriptError(
      `${title}: failed with exit code ${code} after ${elapsed(start)}\n  command: ${command}\n  log: ${log}\n\n${tail(output, 40)}\n\n${remedy}`,
    );
  }
  if (isAnnounced) console.log(`${title}: done in ${elapsed(start)}`);
}

/** Runs a script's main function; a ScriptError ends the process with code 1 and its message alone. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    console.error(error instanceof ScriptError ? `\n${error.message}` : error);
    process.exit(1);
  }
}
