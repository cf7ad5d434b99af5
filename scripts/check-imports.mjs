/**
 * Keeps data flowing one way: fails when a file includes or imports what the tables below do not allow, when files of lib/ import each other in a
 * circle, and when rule 1 of docs/ARCHITECTURE.md draws something else than the table of lib/. To add a folder, add a row here and a word there.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { main, root, ScriptError } from './command.mjs';
import { listSources } from './sources.mjs';

/** Files of lib/ that belong to no folder: everyone may import them, and they import only each other. */
const sharedFiles = ['errors', 'random'];

/**
 * What the files of each folder of lib/ may import, besides their own folder and the shared files. `lib/index.ts` may import everything.
 * Rule 1 of docs/ARCHITECTURE.md draws the same in one line; `checkRule` compares the two.
 */
const libraryEdges = {
  validation: [],
  plan: [],
  runtime: ['plan'],
  graph: ['plan'],
  data: [],
  checkpoint: ['graph'],
  warehouse: ['graph', 'validation'],
  layers: ['warehouse', 'graph', 'plan'],
  methods: ['layers', 'warehouse', 'graph', 'validation'],
  networks: ['methods', 'layers', 'warehouse', 'graph'],
  configurations: ['methods', 'warehouse', 'validation'],
  descriptions: ['networks', 'layers', 'warehouse', 'graph', 'validation'],
  models: [...['configurations', 'networks', 'methods', 'layers', 'warehouse', 'graph', 'plan', 'runtime', 'checkpoint'], 'validation'],
  train: ['models', 'configurations', 'warehouse', 'graph', 'plan', 'runtime', 'data', 'checkpoint', 'validation'],
  bench: ['models', 'layers', 'warehouse', 'graph', 'plan', 'runtime', 'validation'],
  paper: ['bench', 'models', 'warehouse', 'validation'],
  cli: [
    ...['train', 'paper', 'bench', 'models', 'configurations', 'methods', 'warehouse', 'graph', 'plan', 'runtime', 'data', 'checkpoint'],
    'validation',
  ],
};

/** What the files of each folder of native/ may include by path, besides their own folder. */
const nativeEdges = {
  include: [],
  runtime: ['include'],
  ops: ['runtime'],
  cpu: ['include', 'runtime', 'ops'],
  cuda: ['include', 'runtime', 'ops'],
  c_api: ['include', 'runtime', 'ops', 'cpu'],
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

/** The folders of rule 1: its chain `a → b | c → d`, leftmost first, and single folders beside it. */
function readRule() {
  const text = readFileSync(join(root, 'docs', 'ARCHITECTURE.md'), 'utf8');
  const rule = text.match(/^1\. \*\*Data flows one way\*\*[\s\S]*?(?=^2\. )/m)?.[0] ?? '';
  const spans = [...rule.matchAll(/`([^`]+)`/g)].map(([, span]) => span);
  const chain = spans.find((span) => span.includes('→')) ?? '';
  const levels = chain.split('→').map((level) => level.split('|').map((folder) => folder.trim()));
  return { levels, leaves: spans.filter((span) => span !== chain && span in libraryEdges) };
}

function checkRule() {
  const { levels, leaves } = readRule();
  const place = (folder) => levels.findIndex((level) => level.includes(folder));
  const page = 'docs/ARCHITECTURE.md, rule 1';
  const drawn = new Set([...levels.flat(), ...leaves]);
  const missing = Object.keys(libraryEdges).filter((folder) => !drawn.has(folder));
  const unknown = levels.flat().filter((folder) => !(folder in libraryEdges) && folder !== 'native');
  const backward = Object.entries(libraryEdges).flatMap(([from, targets]) =>
    targets.filter((to) => place(from) >= 0 && place(to) >= 0 && place(to) <= place(from)).map((to) => `${from} → ${to}`),
  );
  return [
    ...missing.map((folder) => `${page}: lib/${folder} is in the table of scripts/check-imports.mjs, but not in the rule`),
    ...unknown.map((folder) => `${page}: ${folder || 'the chain'} is not in the table of scripts/check-imports.mjs`),
    ...backward.map((edge) => `${page}: the table of scripts/check-imports.mjs allows ${edge}, which the chain does not`),
  ];
}

const statementPattern = /^(?:import|export)\s+(type\s+)?([^'";]*?)\bfrom\s*'(\.{1,2}\/[^']+)'/gm;

/** The files that a file of lib/ imports values from; imports of types alone are gone when it runs. */
function valueImports(path) {
  const text = readFileSync(join(root, path), 'utf8');
  return [...text.matchAll(statementPattern)].flatMap(([, isType, names, target]) => {
    const list = names
      .match(/^\{([^}]*)\}\s*$/)?.[1]
      .split(',')
      .map((name) => name.trim());
    if (isType || list?.every((name) => name === '' || name.startsWith('type '))) return [];
    return [posix.normalize(posix.join(dirname(path), target)).replace(/\.js$/, '.ts')];
  });
}

/** Circles of files, each once: a depth-first walk finds one wherever it meets a file that it has not left yet. */
function findCircles() {
  const circles = [];
  const left = new Set();
  const way = [];
  const visit = (path) => {
    if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path]);
    if (left.has(path) || way.includes(path)) return;
    way.push(path);
    valueImports(path).forEach(visit);
    way.pop();
    left.add(path);
  };
  listSources(['.ts'], ['lib']).forEach(visit);
  return circles.map((circle) => `${circle[0]}: a circle of imports, ${circle.join(' → ')}; move what both need to a file of its own`);
}

await main(async () => {
  const problems = [
    ...checkFolder('lib', ['.ts'], importPattern, checkLibraryImport),
    ...checkFolder('native', ['.h', '.cc', '.cu', '.cuh'], includePattern, checkInclude),
    ...checkRule(),
    ...findCircles(),
  ];
  if (problems.length > 0) throw new ScriptError(problems.join('\n'));
});
