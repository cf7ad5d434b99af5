/**
 * Keeps data flowing one way: fails when a file includes or imports what the tables below do not allow. The tables are the rule (docs/ARCHITECTURE.md
 * says why); to add a folder, add a row.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { main, root, ScriptError } from './command.mjs';
import { listSources } from './sources.mjs';

/** Files of lib/ that stand above no folder: everyone may import them, and they import only each other. */
const sharedFiles = ['errors', 'random'];

/** What the files of each folder of lib/ may import, besides their own folder and the shared files. `lib/index.ts` may import everything. */
const libraryEdges = {
  plan: [],
  runtime: ['plan'],
  graph: ['plan'],
  warehouse: ['graph'],
  layers: ['warehouse', 'graph', 'plan'],
  models: ['layers', 'warehouse', 'graph', 'plan', 'runtime', 'checkpoint'],
  data: [],
  checkpoint: ['graph'],
  export: ['graph', 'models'],
  report: ['models', 'layers', 'warehouse', 'graph', 'plan', 'runtime'],
  bench: ['models', 'layers', 'warehouse', 'graph', 'plan', 'runtime'],
  train: ['models', 'layers', 'warehouse', 'graph', 'plan', 'runtime', 'data', 'checkpoint', 'export'],
  cli: ['train', 'bench', 'report', 'models', 'layers', 'warehouse', 'graph', 'plan', 'runtime', 'data', 'checkpoint', 'export'],
};

/** What the files of each folder of native/ may include by path, besides their own folder. */
const nativeEdges = {
  include: [],
  runtime: ['include'],
  cpu: ['include', 'runtime'],
  cuda: ['include', 'runtime'],
  c_api: ['include', 'runtime', 'cpu'],
  node: ['include'],
};

/** Headers of libraries that only one folder of native/ may know. */
const nativeLibraries = [
  { name: 'Node-API', folder: 'node', pattern: /^(napi|node_api|js_native_api)/ },
  { name: 'oneDNN', folder: 'cpu', pattern: /^(oneapi\/|dnnl)/ },
  { name: 'CUDA', folder: 'cuda', pattern: /^(cuda|cudnn|cublas|nccl|nvrtc|nvml|curand|cutlass|cub\/|mma\.h)/ },
];

const importPattern = /(?:\bfrom|\bimport)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g;
const includePattern = /^\s*#\s*include\s*([<"])([^>"]+)[>"]/gm;

function lineOf(text, index) {
  return text.slice(0, index).split('\n').length;
}

function checkLibraryImport(path, target) {
  const resolved = posix.normalize(posix.join(dirname(path), target)).replace(/\.js$/, '');
  const from = path.includes('/') ? path.split('/')[0] : path.replace(/\.ts$/, '');
  const to = resolved.split('/')[0];
  if (resolved.startsWith('..')) return 'lib/ imports nothing outside itself';
  if (from === 'index' || sharedFiles.includes(to)) return undefined;
  if (to === 'index') return 'lib/index.ts is the public entry; import the file that defines the name';
  if (sharedFiles.includes(from)) return `lib/${path} is shared by every folder, so it may import only other shared files`;
  if (!(from in libraryEdges)) return `lib/${from} has no row in the table of scripts/check-imports.mjs`;
  if (to === from || libraryEdges[from].includes(to)) return undefined;
  return `lib/${from} may import ${[from, ...libraryEdges[from]].join(', ')}, but not ${to}`;
}

function checkInclude(path, quote, target) {
  const from = path.split('/')[0];
  const library = nativeLibraries.find(({ pattern }) => pattern.test(target));
  if (quote === '<' || library) {
    if (library && library.folder !== from) return `only native/${library.folder} may include ${library.name} headers`;
    return undefined;
  }
  if (!(from in nativeEdges)) return `native/${from} has no row in the table of scripts/check-imports.mjs`;
  const to = existsSync(join(root, 'native', 'include', target)) ? 'include' : target.split('/')[0];
  if (!(to in nativeEdges)) return 'include our own files by their path from native/, such as "runtime/plan.h"';
  if (to === from || nativeEdges[from].includes(to)) return undefined;
  return `native/${from} may include ${[from, ...nativeEdges[from]].join(', ')}, but not ${to}`;
}

function checkFolder(folder, endings, pattern, check) {
  return listSources(endings, [folder]).flatMap((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return [...text.matchAll(pattern)].flatMap((match) => {
      const problem = check(path.slice(folder.length + 1), ...match.slice(1));
      return problem ? [`${path}:${lineOf(text, match.index)}: ${match.at(-1)}: ${problem}`] : [];
    });
  });
}

await main(async () => {
  const problems = [
    ...checkFolder('lib', ['.ts'], importPattern, checkLibraryImport),
    ...checkFolder('native', ['.h', '.cc', '.cu', '.cuh'], includePattern, checkInclude),
  ];
  if (problems.length > 0) throw new ScriptError(problems.join('\n'));
});
