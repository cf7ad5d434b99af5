/** What a device costs while it has nothing to do, and how many threads it has. */
import { spawn } from 'node:child_process';
import test from 'ava';

const lib = new URL('../../lib/runtime/device.js', import.meta.url).href;
const plans = new URL('./plans.js', import.meta.url).href;

/** Two programs on each of some devices. */
const prelude = (devices: number): string => `
  const { readdirSync, readFileSync } = await import('node:fs');
  const { Device } = await import('${lib}');
  const { incrementPlan, matmulPlan } = await import('${plans}');
  const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const devices = Array.from({ length: ${devices} }, () => Device.open('cpu', { threads: 2 }));
  const programs = devices.flatMap((device) => {
    const size = 1 << 20;
    const [x, y] = [device.allocate(4 * size), device.allocate(4 * size)];
    return [device.prepare(incrementPlan(size)).bind({ x, y }), device.prepare(matmulPlan(256, 10))];
  });
`;

/** Gives what the module's text prints as JSON, from a process of its own. */
function inProcess(devices: number, text: string, env: Readonly<Record<string, string>> = {}): Promise<unknown> {
  const { GOMP_SPINCOUNT: _spin, OMP_WAIT_POLICY: _policy, ...inherited } = process.env;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', prelude(devices) + text], {
    env: { ...inherited, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let complaint = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (complaint += chunk));
  return new Promise((resolve, reject) => {
    child.on('close', (code) => (code === 0 ? resolve(JSON.parse(output)) : reject(new Error(`${code}: ${complaint}`))));
  });
}

/** Milliseconds of processor time that the process takes in half a second without work, after all programs ran. */
const idleTime = `
  for (let run = 0; run < 3; run++) await Promise.all(programs.map((program) => program.run()));
  await sleep(50);
  const before = process.cpuUsage();
  await sleep(500);
  const { user, system } = process.cpuUsage(before);
  console.log((user + system) / 1000);
  process.exit();
`;

test('nothing spins while there is no work', async (t) => {
  for (const devices of [1, 2]) {
    // Node's own threads have work at times, of some 30 ms; threads that spin do so in every process.
    let idle = Infinity;
    for (let attempt = 0; idle >= 25 && attempt < 5; attempt++) {
      idle = Math.min(idle, Number(await inProcess(devices, idleTime)));
    }
    t.true(idle < 25, `${idle} ms of processor time in 500 ms after the work of ${devices} devices, at best of 5 processes`);
  }
  const spinning = Number(await inProcess(1, idleTime, { OMP_WAIT_POLICY: 'active' }));
  t.true(spinning > 100, `threads that are told to spin take ${spinning} ms: the measurement sees nothing`);
});

test('the programs of a device share its threads; preparing starts none, disposing ends them', async (t) => {
  const counts = await inProcess(
    2,
    `
    const count = () => readdirSync('/proc/self/task').filter((task) => readFileSync('/proc/self/task/' + task + '/comm', 'utf8') === 'kw-device\\n').length;
    for (let wait = 0; count() < 2 && wait < 100; wait++) await sleep(20); // a thread takes its name once it runs
    const counts = [count()];
    for (const program of programs.slice(0, 2)) { await program.run(); counts.push(count()); }
    await Promise.all(programs.map((program) => program.run()));
    counts.push(count());
    for (const disposable of [...programs, ...devices]) disposable.dispose();
    for (let wait = 0; count() > 0 && wait < 100; wait++) await sleep(20);
    console.log(JSON.stringify([...counts, count()]));
  `,
  );
  if (process.platform !== 'linux') return void t.pass();
  // One thread for each device queues and computes; the second one of a device is started by its first run.
  t.deepEqual(counts, [2, 3, 3, 4, 0]);
});
