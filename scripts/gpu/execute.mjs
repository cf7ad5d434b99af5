/** Running programs for a part of the GPU check: with a limit of time, a log that is written as it comes, and an end for all their children. */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';

/** What a shell would be given, for logs and results. */
export function commandLine(program, args) {
  return [program, ...args].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}

/** Ends a program that leads a process group, and all of that group: AVA and compute-sanitizer have children of their own. */
export function endGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // gone already
  }
}

/** How long a program that was asked to end may take before it is killed. */
const GRACE_MILLISECONDS = 10_000;

/**
 * Runs a program to its end. Never rejects: a program that does not start has exit code 127.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ folder: string, env?: Record<string, string>, log?: import('node:stream').Writable, signal?: AbortSignal, limitSeconds?: number }} options
 *   `signal` and `limitSeconds` end the program and its children.
 * @returns {Promise<{ code: number, output: string, timedOut: boolean }>} Both streams' text; code 128 after a signal.
 */
export function execute(program, args, { folder, env = {}, log, signal, limitSeconds }) {
  return new Promise((resolve) => {
    log?.write(`$ ${commandLine(program, args)}\n`);
    const child = spawn(program, args, { cwd: folder, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    let timedOut = false;
    let killer;
    const stop = () => {
      endGroup(child, 'SIGTERM');
      killer ??= setTimeout(() => endGroup(child, 'SIGKILL'), GRACE_MILLISECONDS);
    };
    const timer =
      limitSeconds === undefined
        ? undefined
        : setTimeout(() => {
            timedOut = true;
            stop();
          }, 1000 * limitSeconds);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
        log?.write(text);
      });
    }
    const finish = (code) => {
      clearTimeout(timer);
      clearTimeout(killer);
      signal?.removeEventListener('abort', stop);
      if (timedOut) log?.write(`\nended after ${limitSeconds} s, its limit\n`);
      resolve({ code, output, timedOut });
    };
    child.on('error', (error) => {
      output += `${program}: ${error.message}\n`;
      log?.write(`${program}: ${error.message}\n`);
      finish(127);
    });
    child.on('close', (code, endedBy) => {
      if (endedBy && !timedOut && !signal?.aborted) {
        output += `${program} was ended by ${endedBy}\n`;
        log?.write(`${program} was ended by ${endedBy}\n`);
      }
      finish(code ?? 128);
    });
  });
}

/** Appends to a file; the promise of `close` is fulfilled when all is written. */
export function openLog(path) {
  const stream = createWriteStream(path);
  return { stream, close: () => new Promise((resolve) => stream.end(resolve)) };
}

/** Calls `work` for every item, at most `width` at a time; results in the items' order. */
export async function inParallel(items, width, work) {
  const results = [];
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index], index);
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}

/** The last `count` lines of a text. */
export function lastLines(text, count) {
  return text.trimEnd().split('\n').slice(-count).join('\n');
}
