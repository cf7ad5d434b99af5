/**
 * The parts of the GPU check that time PyTorch beside us. Both sides are processes that live through the whole part (contestants.mjs and peers.py
 * speak the same lines), each with its models prepared; in every round each contestant runs in turn, A B C A B C, and only one runs at a time.
 * Both sides take the wall clock from an idle device to an idle device, over as many runs as fill the turn.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { spread } from '../../dist/lib/bench/spread.js';
import { commandLine, endGroup } from './execute.mjs';
import { watchClocks } from './machine.mjs';

/** A process that answers each line with a line. */
export class Side {
  #child;
  #answers;
  #ended;

  constructor(program, args, { folder, env = {}, log, signal }) {
    log.write(`$ ${commandLine(program, args)}\n`);
    this.#child = spawn(program, args, { cwd: folder, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => log.write(text));
    this.#child.stdin.on('error', () => {}); // its end is told by `ended`
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', (error) => resolve(`${program}: ${error.message}`));
      this.#child.on('exit', (code, by) => resolve(`${program} ended with ${by ?? `exit code ${code}`}; its messages are in the log`));
    });
    signal.addEventListener('abort', () => endGroup(this.#child, 'SIGKILL'), { once: true });
  }

  /** The answer; throws when there is none, or when it is an error. */
  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const answer = await Promise.race([this.#answers.next(), this.#ended.then((reason) => ({ done: true, reason }))]);
    if (answer.done) throw new Error(answer.reason ?? (await this.#ended));
    const value = JSON.parse(answer.value);
    if (value.error !== undefined) throw new Error(value.error);
    return value;
  }

  end() {
    this.#child.stdin.end('{"do": "quit"}\n');
    setTimeout(() => endGroup(this.#child, 'SIGKILL'), 5_000).unref();
    return this.#ended;
  }
}

/** As many runs as take `seconds`, going by three. */
async function runsPerTurn(contestant, seconds) {
  const { seconds: three } = await contestant.side.ask({ do: 'run', name: contestant.name, runs: 3, wait: contestant.wait });
  return Math.min(Math.max(Math.round((3 * seconds) / three), 1), 2_000);
}

/**
 * Times contestants that are prepared, in interleaved rounds.
 * @param {readonly { name: string, side: Pick<Side, 'ask'>, wait: 'end' | 'each' }[]} contestants
 * @param {{ rounds: number, seconds: number }} options `seconds`: of each turn, about.
 * @returns {Promise<Map<string, number[]>>} Seconds of one run, the mean of each round, by name.
 */
export async function timeInRounds(contestants, { rounds, seconds }) {
  const runs = new Map();
  for (const contestant of contestants) runs.set(contestant, await runsPerTurn(contestant, seconds));
  const times = new Map(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const contestant of contestants) {
      const count = runs.get(contestant);
      const answer = await contestant.side.ask({ do: 'run', name: contestant.name, runs: count, wait: contestant.wait });
      times.get(contestant.name).push(answer.seconds / count);
    }
  }
  return times;
}

/** Rows of one group of contestants: images per second with quartiles, and ours to each of theirs, round by round. */
export function compare(contestants, times) {
  const ours = contestants.filter(({ isOurs }) => isOurs);
  return contestants.map(({ name, isOurs, batch, bytes }) => {
    const own = times.get(name);
    const ratios = ours.map((other) => [other.name, spread(own.map((seconds, round) => seconds / times.get(other.name)[round])).median]);
    return {
      name,
      isOurs,
      batch,
      bytes,
      imagesPerSecond: spread(own.map((seconds) => batch / seconds)),
      ...(isOurs ? {} : { oursToThis: Object.fromEntries(ratios) }),
    };
  });
}

const eagerVariants = ['eager', 'eager, channels-last', 'compiled, channels-last'];

/** Batch sizes of each mode, with PyTorch's variants that make sense there and how runs are waited for. */
const groups = {
  inference: [
    { batch: 100, wait: 'end', variants: [...eagerVariants, 'compiled, bfloat16 weights, channels-last'] },
    { batch: 1, wait: 'each', variants: ['eager, channels-last', 'compiled, CUDA graphs, channels-last'] },
  ],
  training: [{ batch: 128, wait: 'end', variants: eagerVariants }],
};

const published = {
  resnet50: ['resnet50', 'kw1x_resnet50'],
  mobilenetv2: ['mobilenetv2_100', 'kw1x_mobilenetv2_100'],
};

/**
 * @param {string} model 'resnet50', 'mobilenetv2' or a Python file.
 * @param {readonly string[]} networks Ours beside it.
 * @returns {import('./runner.mjs').Part}
 */
export function peerPart(
  folder,
  { name, model, networks, mode, device = 'cuda', python = 'python3', rounds = 7, seconds = 0.4, plan = groups[mode] },
) {
  return {
    name,
    title: `times PyTorch's ${basename(model)} beside our ${networks.join(' and ')}, ${mode}, bfloat16`,
    limitSeconds: 470,
    async run({ log, signal }) {
      const problems = [];
      const torch = new Side(python, [join('scripts', 'gpu', 'peers.py'), device], {
        folder,
        log,
        signal,
        // The libraries of this package are for this package; what PyTorch compiles is kept for the next run.
        env: { LD_LIBRARY_PATH: process.env.KW_OUTER_LIBRARY_PATH ?? '', TORCHINDUCTOR_CACHE_DIR: join(folder, 'build', 'torch') },
      });
      const ours = new Side(process.execPath, [join('scripts', 'gpu', 'contestants.mjs'), device], { folder, log, signal });
      const stopWatching = watchClocks();
      try {
        const facts = { ours: await ours.ask({ do: 'facts' }), torch: await torch.ask({ do: 'facts' }) };
        const rows = [];
        for (const { batch, wait, variants } of plan) {
          const wanted = [
            ...networks.map((network) => ({
              name: `ours, ${network}, batch ${batch}`,
              isOurs: true,
              network,
              precision: 'bfloat16',
              imageSize: 224,
            })),
            ...variants.map((variant) => ({ name: `PyTorch, ${variant}, batch ${batch}`, isOurs: false, model, variant })),
          ];
          const contestants = [];
          for (const contestant of wanted) {
            const side = contestant.isOurs ? ours : torch;
            try {
              const { bytes } = await side.ask({ do: 'prepare', mode, batch, ...contestant });
              contestants.push({ ...contestant, side, batch, wait, bytes });
            } catch (error) {
              if (signal.aborted) throw error;
              problems.push(`${contestant.name}: ${error.message}`);
            }
          }
          rows.push(...compare(contestants, await timeInRounds(contestants, { rounds, seconds })));
        }
        const hasBoth = [true, false].every((isOurs) => rows.some((row) => row.isOurs === isOurs));
        return {
          passed: problems.length === 0 && hasBoth,
          counts: [`${rows.length} contestants timed`],
          problems,
          figures: { mode, model: basename(model), facts, rows, rounds, clocks: stopWatching() },
        };
      } finally {
        stopWatching();
        await Promise.all([ours.end(), torch.end()]);
      }
    },
  };
}

/** Python files of the user's own in `peers/` beside run.sh. */
export function listOwnPeers(bundleFolder) {
  const own = join(bundleFolder, 'peers');
  return existsSync(own)
    ? readdirSync(own)
        .filter((file) => file.endsWith('.py'))
        .sort()
        .map((file) => join(own, file))
    : [];
}

/** @returns {import('./runner.mjs').Part[]} */
export function peerParts(folder, bundleFolder) {
  const parts = Object.entries(published).flatMap(([model, networks]) =>
    Object.keys(groups).map((mode) => peerPart(folder, { name: `peers-${model}-${mode}`, model, networks, mode })),
  );
  const own = listOwnPeers(bundleFolder).flatMap((file) =>
    Object.keys(groups).map((mode) =>
      peerPart(folder, { name: `peers-${basename(file, '.py')}-${mode}`, model: file, networks: published.resnet50, mode }),
    ),
  );
  return [...parts, ...own];
}
