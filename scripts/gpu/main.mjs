/** `./run.sh [options]`: the GPU check. run.sh unpacks the package and starts this with the package's own Node; docs/gpu.md tells how it is used. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { benchmarkParts } from './benchmarks.mjs';
import { buildPart, devicePart } from './build.mjs';
import { checkParts } from './checks.mjs';
import { peerParts } from './peers.mjs';
import { resultOf, runParts } from './runner.mjs';
import { writeSummary } from './summary.mjs';

const usage = `Usage: ./run.sh [options]

Builds kernel-warehouse for the NVIDIA GPU of this machine, checks it and measures it, in parts. A part that has ended is not run again, so the
same command continues a run that was cut short. results/summary.md has the outcome, results/<part>.json and .log the details.

  --list           print the parts, with what has passed, and end
  --only <part>    run this part, whether it has ended or not; may be given several times
  --failed         run the parts that failed once more
  --minutes <n>    start no part that might not end within n minutes
  --help           print this and end

The exit status is 0 when all parts have passed, in this run or before.
`;

const options = {
  folder: { type: 'string' },
  list: { type: 'boolean', default: false },
  only: { type: 'string', multiple: true, default: [] },
  failed: { type: 'boolean', default: false },
  minutes: { type: 'string' },
  help: { type: 'boolean', default: false },
};

const USAGE_FAILURE = 2;
const INTERRUPTED = 130;

/** All parts, in order. */
export function listParts(folder, bundleFolder) {
  return [buildPart(folder), devicePart(folder), ...checkParts(folder), ...benchmarkParts(), ...peerParts(folder, bundleFolder)];
}

function printList(parts, results, bundle) {
  const width = Math.max(...parts.map(({ name }) => name.length));
  for (const part of parts) {
    const result = resultOf(results, part, bundle);
    const state = result === undefined ? 'not run' : result.passed ? 'passed' : 'FAILED';
    console.log(`${part.name.padEnd(width)}  ${state.padEnd(7)}  ${part.title}`);
  }
}

async function main() {
  const folder = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const { values } = parseArgs({ options });
  if (values.help) return process.stdout.write(usage);
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
  if (minutes !== undefined && !(minutes > 0)) throw new RangeError(`--minutes must be a number above 0, not ${values.minutes}`);
  const bundleFolder = values.folder ?? folder;
  const results = join(bundleFolder, 'results');
  const manifest = join(bundleFolder, 'bundle.json');
  const bundle = existsSync(manifest) ? JSON.parse(readFileSync(manifest, 'utf8')) : { id: 'checkout' };
  const parts = listParts(folder, bundleFolder);
  if (values.list) return printList(parts, results, bundle.id);

  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => interruption.abort());
  process.env.KW_OUTER_LIBRARY_PATH = process.env.LD_LIBRARY_PATH ?? '';
  const libraries = [join(folder, 'third_party', 'lib'), process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
  process.env.LD_LIBRARY_PATH = libraries; // read when a program starts: for those that we start
  const summarize = () => writeSummary({ results, parts, bundle });
  const { passed, complete } = await runParts(parts, {
    folder,
    results,
    bundle: bundle.id,
    only: values.only,
    failed: values.failed,
    ...(minutes === undefined ? {} : { minutes }),
    signal: interruption.signal,
    onResult: summarize,
  });
  const summary = summarize();
  console.log(`\n${passed ? 'All parts have passed' : complete ? 'Some parts failed' : 'Not all parts have passed'}: ${summary}`);
  if (interruption.signal.aborted) process.exitCode = INTERRUPTED;
  else process.exitCode = passed ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main().catch((error) => {
    console.error(error instanceof RangeError || error.code?.startsWith('ERR_PARSE_ARGS') ? `run.sh: ${error.message}` : error);
    process.exitCode = USAGE_FAILURE;
  });
}
