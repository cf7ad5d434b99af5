/** The parts of the GPU check that time our own networks, with the bounds of `bench --bounds` beside them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastLines } from './execute.mjs';
import { listGpus, watchClocks } from './machine.mjs';

/** KernelWarehouse networks by their static one, which `bench` adds. */
export const families = {
  resnet18: ['kw1d2x_resnet18', 'kw1x_resnet18', 'kw4x_resnet18'],
  resnet50: ['kw1d2x_resnet50', 'kw1x_resnet50', 'kw4x_resnet50'],
  mobilenetv2: ['kw1d2x_mobilenetv2_100', 'kw1x_mobilenetv2_100', 'kw4x_mobilenetv2_100'],
};

/** Batch sizes: those of the paper's figures and the smallest. */
const settings = {
  inference: ['--inference', '--batch-size', '100,1'],
  training: ['--training', '--batch-size', '128'],
};

const precisions = {
  '': ['--precision', 'float32,bf16'],
  '-tf32': ['--precision', 'float32', '--tf32'],
};

/** The processor of `bench --bounds` that this GPU is; undefined for others. */
export function processorOf(gpus) {
  const name = gpus[0]?.name ?? '';
  return ['h100', 'a100'].find((processor) => name.toLowerCase().includes(processor));
}

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/** What summary.mjs shows of a report of `bench --json`, and of that of `bench --bounds --json` beside it. */
export function briefly(report, bounds) {
  return report.results.map(({ network, mode, precision, batchSize, imagesPerSecond, ratioToOther, plannedBytes }) => {
    const bound = bounds?.results.find(
      (each) => each.network === network && each.mode === mode && each.precision === precision && each.batchSize === batchSize,
    );
    return {
      network,
      mode,
      precision: report.machine.tf32 ? 'tf32' : precision,
      batchSize,
      imagesPerSecond,
      ...(ratioToOther ? { ratioToStatic: ratioToOther.median } : {}),
      plannedBytes,
      ...(bound ? { boundImagesPerSecond: bound.imagesPerSecond } : {}),
    };
  });
}

/** @returns {import('./runner.mjs').Part} */
function benchmarkPart(family, mode) {
  return {
    name: `bench-${family}-${mode}`,
    title: `times ${family} and KernelWarehouse 1/2x, 1x and 4x, ${mode}`,
    limitSeconds: 470,
    async run({ execute, results, name }) {
      const processor = processorOf(await listGpus(execute));
      const program = join('dist', 'lib', 'cli', 'main.js');
      const figures = { rows: [], unmeasured: [], reports: [] };
      const problems = [];
      const stopWatching = watchClocks();
      for (const [suffix, precision] of Object.entries(precisions)) {
        const [file, boundsFile] = ['', '-bounds'].map((kind) => join(results, `${name}${suffix}${kind}.report.json`));
        const setting = [...families[family], ...settings[mode], ...precision];
        const rounds = ['--device', 'cuda', '--rounds', '5', '--seconds', '0.4', '--layers', '--json', file];
        const { code, output } = await execute(process.execPath, [program, 'bench', ...setting, ...rounds]);
        const report = readJson(file);
        if (code !== 0 || !report) {
          problems.push(`${precision.join(' ')}: ${lastLines(output, 10)}`);
          continue;
        }
        if (processor) {
          const bounds = ['--bounds', processor, '--measured', file, '--layers', '--json', boundsFile];
          const { code: failed, output: words } = await execute(process.execPath, [program, 'bench', ...setting, ...bounds]);
          if (failed) problems.push(`bounds: ${lastLines(words, 10)}`);
        }
        figures.rows.push(...briefly(report, readJson(boundsFile)));
        figures.unmeasured.push(...report.unmeasured);
        figures.matrixProducts ??= report.matrixProducts;
        figures.copyGigabytesPerSecond ??= report.copyGigabytesPerSecond;
        figures.reports.push(file, ...(existsSync(boundsFile) ? [boundsFile] : []));
      }
      figures.clocks = stopWatching();
      if (!processor) figures.note = 'no bounds: `bench --bounds` knows h100 and a100, or a file that describes another processor';
      for (const { network, problem } of figures.unmeasured) problems.push(`${network}: ${problem}`);
      return { passed: problems.length === 0, counts: [`${figures.rows.length} settings timed`], problems, figures };
    },
  };
}

/** @returns {import('./runner.mjs').Part[]} */
export function benchmarkParts() {
  return Object.keys(families).flatMap((family) => Object.keys(settings).map((mode) => benchmarkPart(family, mode)));
}
