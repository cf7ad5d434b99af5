/** A lock over the working tree, so that two setups at once wait for each other instead of building into each other's files. */
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root, watchChildren } from './command.mjs';

const directory = join(root, '.setup-lock');
const ownerFile = join(directory, 'owner');
const self = `${hostname()} ${process.pid}`;
const heartbeatMilliseconds = 2_000;
const staleMilliseconds = 60_000;

function claim(path) {
  try {
    mkdirSync(path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function age(path) {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}

/** Who holds the lock, as `host pid`, then the ids of the programs it runs; empty while the lock is being made or given back. */
function owner() {
  try {
    return readFileSync(ownerFile, 'utf8');
  } catch {
    return '';
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/**
 * True when the holder is gone: it and the programs it ran on this host have ended (npm outlives a setup that was killed), or, for another host or
 * container, its heartbeat has stopped.
 */
function isStale() {
  if (age(directory) > staleMilliseconds) return true;
  const [host, ...pids] = owner().split(' ');
  return host === hostname() && !pids.map(Number).some(isRunning);
}

/** Two waiters may find the lock stale at the same moment; only the one that claims `.breaking` may remove it, after looking again. */
function breakStale() {
  const breaking = `${directory}.breaking`;
  if (!claim(breaking)) {
    if (age(breaking) > staleMilliseconds) rmSync(breaking, { recursive: true, force: true });
    return;
  }
  try {
    if (isStale()) rmSync(directory, { recursive: true, force: true });
  } finally {
    rmSync(breaking, { recursive: true, force: true });
  }
}

/** Runs `body` while this process alone holds the lock; waits without limit for a living holder. */
export async function withLock(body) {
  let announced = false;
  while (!claim(directory)) {
    if (isStale()) {
      breakStale();
      continue;
    }
    if (!announced) console.log(`waiting for another setup of this folder (${owner() || 'starting'}) ...`);
    announced = true;
    await sleep(250);
  }
  const sign = (childIds) => writeFileSync(ownerFile, [self, ...childIds].join(' '));
  sign([]);
  const stopWatching = watchChildren(sign);
  const heartbeat = setInterval(() => utimesSync(directory, new Date(), new Date()), heartbeatMilliseconds);
  const release = () => {
    clearInterval(heartbeat);
    stopWatching();
    if (owner().startsWith(self)) rmSync(directory, { recursive: true, force: true });
  };
  process.once('exit', release);
  try {
    return await body();
  } finally {
    process.off('exit', release);
    release();
  }
}
