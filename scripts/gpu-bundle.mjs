/**
 * `npm run gpu:bundle [-- FOLDER]`: makes gpu-bundle/, with which a bare Linux machine that has an NVIDIA GPU, the CUDA toolkit, a C++ compiler and
 * CMake, but no network and no Node, builds this package, checks it and measures it: `gpu-bundle/run.sh` (scripts/gpu/, docs/gpu.md).
 *
 * Two archives, because one rarely changes: runtime.tar.xz holds Node, npm modules and libraries, project.tar.xz this project. CMake packs and unpacks
 * them, since the other machine needs it anyway, and may lack xz.
 */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main, root, run, ScriptError, step } from './command.mjs';
import { findCudaHeaders } from './cuda-headers.mjs';

/** What GPU machines are reached by often takes no more than 64 MiB. */
export const largestBytes = 60 * 2 ** 20;

/** Of the project: what is built, run or read there. */
const projectPaths = [
  'CMakeLists.txt',
  'LICENSE',
  'NOTICE',
  'ava.config.js',
  'demo/digits',
  'dist',
  'docs/gpu.md',
  'lib/configurations/official',
  'native',
  'package.json',
  'scripts',
  'test',
];

/** Declarations and maps are for editors; the sources of compiled tests stay behind. */
const unneeded = /\.(d\.ts|d\.cts|js\.map|tsbuildinfo)$|^test\/.*\.ts$|^test\/checkpoint\/files\//;

/** npm modules whose code runs or compiles there, besides the package's own dependencies. */
const moduleRoots = ['ava', 'fast-check', 'node-addon-api', 'node-api-headers'];

/** Headers that the C++ core includes, as the compiler finds them here, with what of their folder goes along. */
const headers = [
  { header: 'nlohmann/json.hpp', copy: 'nlohmann' },
  { header: 'doctest/doctest.h', copy: 'doctest' },
  { header: 'oneapi/dnnl/dnnl.hpp', copy: 'oneapi' },
];

/** Libraries that the add-on loads and such a machine may lack; the compiler there brings libgomp. */
const bundledLibraries = /^(libdnnl|libOpenCL)\.so/;

/** Files of the project that travel, from the root, sorted. */
export function listProjectFiles() {
  const files = projectPaths.flatMap((path) => {
    if (!existsSync(join(root, path))) throw new ScriptError(`${path} is missing; run \`npm run build\` first.`);
    if (statSync(join(root, path)).isFile()) return [path];
    return readdirSync(join(root, path), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
  });
  return files.filter((path) => !unneeded.test(path)).sort();
}

/** The place of a module as Node finds it from `from`, a folder of node_modules or ''. */
function locate(name, from) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules') - 1))) {
    const path = join(folder, 'node_modules', name);
    if (existsSync(join(root, path, 'package.json'))) return path;
    if (folder === '') return undefined;
  }
}

/** Folders of all npm modules that travel: the package's own dependencies and those of its tests, each with what it depends on. */
export function listModules() {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const found = new Set();
  const waiting = [...Object.keys(dependencies), ...moduleRoots].map((name) => ({ name, from: '', isOptional: false }));
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const path = locate(next.name, next.from);
    if (path === undefined && next.isOptional) continue; // of another platform
    if (path === undefined) throw new ScriptError(`The npm module ${next.name} is not installed; run \`npm ci\`.`);
    if (found.has(path)) continue;
    found.add(path);
    const manifest = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'));
    for (const [kind, isOptional] of [
      ['dependencies', false],
      ['optionalDependencies', true],
    ]) {
      waiting.push(...Object.keys(manifest[kind] ?? {}).map((name) => ({ name, from: path, isOptional })));
    }
  }
  return [...found].sort();
}

/** The folder from which the compiler includes `header`. */
async function includeFolder(header) {
  const input = `#include <${header}>\n`;
  const { output } = await run(process.env.CXX ?? 'c++', ['-x', 'c++', '-std=c++20', '-M', '-'], { input });
  const path = output.split(/\s+/).find((word) => word.endsWith(`/${header}`));
  if (!path) throw new ScriptError(`The compiler does not find ${header}; run \`npm run setup\`.`);
  return path.slice(0, -header.length - 1);
}

async function copyHeaders(target) {
  mkdirSync(target, { recursive: true });
  for (const { header, copy } of headers)
    cpSync(join(await includeFolder(header), copy), join(target, copy), { recursive: true, dereference: true });
  const oneDnn = await includeFolder('oneapi/dnnl/dnnl.hpp');
  for (const name of readdirSync(oneDnn).filter((file) => /^dnnl.*\.(h|hpp)$/.test(file)))
    copyFileSync(join(oneDnn, name), join(target, name));
  const folders = await findCudaHeaders();
  for (const [variable, name] of Object.entries({ KW_CUDNN_INCLUDE: 'cudnn', KW_CUBLAS_INCLUDE: 'cublas' })) {
    const folder = folders[variable];
    if (folder === undefined || folder === 'none') {
      console.log(
        `${variable}: no headers here, so the bundle's plug-in is built without; \`node scripts/cuda-headers.mjs\` fetches them.`,
      );
      continue;
    }
    const pattern = name === 'cudnn' ? /^cudnn.*\.h$/ : /^cublas.*\.h$/;
    mkdirSync(join(target, name), { recursive: true });
    for (const file of readdirSync(folder).filter((each) => pattern.test(each))) copyFileSync(join(folder, file), join(target, name, file));
  }
}

/** The libraries beside their licences, under the names that the linker and the loader ask for. */
async function copyLibraries(target) {
  mkdirSync(target, { recursive: true });
  const addon = join(root, 'build', 'Release', 'kernel_warehouse.node');
  const { code, output } = await run('ldd', [addon]);
  if (code !== 0) throw new ScriptError(`ldd ${addon} failed; run \`npm run build:native\` first.\n${output}`);
  const libraries = [...output.matchAll(/^\s*(\S+) => (\/\S+)/gm)].filter(([, name]) => bundledLibraries.test(name));
  for (const [, name, path] of libraries) {
    copyFileSync(realpathSync(path), join(target, name));
    await step('Stripping libraries', 'gpu-bundle', 'Install binutils.', 'strip', ['--strip-unneeded', join(target, name)]);
    const owner = await run('dpkg-query', ['--search', path, join('/usr', path), realpathSync(path)]);
    const licence = join('/usr/share/doc', owner.output.match(/^(?!dpkg-query:)([^:,\s]+)[:,]/m)?.[1] ?? '', 'copyright');
    if (!existsSync(licence))
      throw new ScriptError(`No licence text found for ${path}; make the bundle on Debian or Ubuntu, from their own library.`);
    copyFileSync(licence, join(target, `${name}.copyright`));
    const linked = name.replace(/\.so.*/, '.so'); // for the linker
    if (linked.startsWith('libdnnl')) symlinkSync(name, join(target, linked));
  }
}

/** Node itself, with its licence where the system has it. */
async function copyNode(target) {
  mkdirSync(target, { recursive: true });
  const node = join(target, 'node');
  copyFileSync(process.execPath, node);
  await step('Stripping Node', 'gpu-bundle', 'Install binutils.', 'strip', [node]);
  const licences = [
    join(dirname(dirname(process.execPath)), 'LICENSE'),
    '/usr/share/doc/nodejs/copyright',
    '/usr/share/doc/nodejs/LICENSE',
  ];
  const licence = licences.find((path) => existsSync(path));
  if (licence) copyFileSync(licence, join(target, 'node.copyright'));
}

/** What runtime.tar.xz is made of, for telling whether the one that is there is still right. */
async function runtimeKey(modules) {
  const versions = modules.map((path) => `${path} ${JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8')).version}`);
  const folders = await findCudaHeaders();
  const { output } = await run('ldd', [join(root, 'build', 'Release', 'kernel_warehouse.node')]);
  const libraries = [...output.matchAll(/=> (\/\S+)/g)].map(([, path]) => realpathSync(path));
  const script = readFileSync(fileURLToPath(import.meta.url), 'utf8');
  return createHash('sha256')
    .update(JSON.stringify([process.version, versions, folders, libraries, script]))
    .digest('hex');
}

function megabytes(path) {
  return `${(statSync(path).size / 2 ** 20).toFixed(1)} MiB`;
}

async function makeRuntime(archive, modules) {
  const record = join(root, 'build', 'gpu-bundle', 'runtime.key');
  const key = await runtimeKey(modules);
  if (existsSync(archive) && existsSync(record) && readFileSync(record, 'utf8') === `${key} ${statSync(archive).size}`) return;
  const stage = join(root, 'build', 'gpu-bundle', 'runtime');
  rmSync(stage, { recursive: true, force: true });
  await copyNode(join(stage, 'bin'));
  await copyHeaders(join(stage, 'third_party', 'include'));
  await copyLibraries(join(stage, 'third_party', 'lib'));
  for (const path of modules) {
    const inner = join(root, path, 'node_modules');
    cpSync(join(root, path), join(stage, path), {
      recursive: true,
      filter: (source) => source !== inner && !/\.(d\.ts|d\.[cm]ts|map)$/.test(source),
    });
  }
  const packed = [archive, '--format=gnutar', 'bin', 'third_party', 'node_modules'];
  await step('Packing Node and libraries', 'gpu-bundle', 'See its log.', 'cmake', [
    '-E',
    'chdir',
    stage,
    'cmake',
    '-E',
    'tar',
    'cJf',
    ...packed,
  ]);
  rmSync(stage, { recursive: true, force: true });
  writeFileSync(record, `${key} ${statSync(archive).size}`);
}

/** bundle.json names what the archive was made of; results belong to one such id. */
async function makeProject(archive) {
  const files = listProjectFiles();
  const hash = createHash('sha256');
  for (const path of files)
    hash
      .update(path)
      .update('\0')
      .update(readFileSync(join(root, path)));
  const commit = await run('git', ['describe', '--always', '--dirty']);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const stage = join(root, 'build', 'gpu-bundle');
  const id = hash.digest('hex').slice(0, 16);
  const manifest = { id, version, commit: commit.code === 0 ? commit.output.trim() : undefined, date: new Date().toISOString() };
  writeFileSync(join(stage, 'bundle.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  writeFileSync(join(stage, 'files'), files.join('\n'));
  const tar = ['-E', 'tar', 'cJf', archive, '--format=gnutar', `--files-from=${join(stage, 'files')}`];
  await step('Packing the project', 'gpu-bundle', 'See its log.', 'cmake', tar);
  return manifest;
}

async function makeBundle(target) {
  for (const path of ['dist/lib/cli/main.js', 'build/Release/kernel_warehouse.node']) {
    if (!existsSync(join(root, path))) throw new ScriptError(`${path} is missing; run \`npm run build\` first.`);
  }
  mkdirSync(target, { recursive: true });
  mkdirSync(join(root, 'build', 'gpu-bundle'), { recursive: true });
  const archives = ['runtime', 'project'].map((name) => join(target, `${name}.tar.xz`));
  await makeRuntime(archives[0], listModules());
  const manifest = await makeProject(archives[1]);
  copyFileSync(join(root, 'build', 'gpu-bundle', 'bundle.json'), join(target, 'bundle.json'));
  copyFileSync(join(root, 'scripts', 'gpu', 'run.sh'), join(target, 'run.sh'));
  const bytes = archives.reduce((sum, path) => sum + statSync(path).size, 0);
  if (bytes > largestBytes)
    throw new ScriptError(`${target} has ${bytes} bytes; the limit is ${largestBytes}. Leave something out in scripts/gpu-bundle.mjs.`);
  console.log(
    `${target}: ${archives.map((path) => `${basename(path)} ${megabytes(path)}`).join(', ')}; package ${manifest.id}, commit ${manifest.commit}`,
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(() => makeBundle(resolve(root, process.argv[2] ?? 'gpu-bundle')));
}
