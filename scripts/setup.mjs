/**
 * Makes a checkout ready to run: system packages, npm packages, the C++ core, the TypeScript build. Each step is skipped when its result is up to
 * date, so running it again costs about a second. `node scripts/setup.mjs native` and `typescript` run one step; `native-tests`, only on request,
 * builds the C++ tests.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, ScriptError, step } from './command.mjs';
import { fetchCudaHeaders, findCudaHeaders, findNvcc } from './cuda-headers.mjs';
import { withLock } from './lock.mjs';
import { installSystemPackages } from './system-packages.mjs';
import { buildTypeScript } from './typescript.mjs';

const minimumNode = [20, 19];

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > minimumNode[0] || (major === minimumNode[0] && minor >= minimumNode[1])) return;
  throw new ScriptError(
    `Node ${minimumNode.join('.')} or newer is needed, but this is ${process.version}. See https://nodejs.org/en/download`,
  );
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** True when node_modules holds exactly what package-lock.json asks for, going by the record that npm leaves there after a complete install. */
function hasNpmPackages() {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record)) return false;
  const manifest = readJson(join(root, 'package.json'));
  const wanted = readJson(join(root, 'package-lock.json')).packages;
  const installed = readJson(record).packages;
  for (const kind of ['dependencies', 'devDependencies']) {
    if (JSON.stringify(manifest[kind]) !== JSON.stringify(wanted[''][kind])) return false;
  }
  const isMatch = ([path, entry]) => (installed[path] ? installed[path].integrity === entry.integrity : entry.optional === true);
  return (
    Object.entries(wanted).every(([path, entry]) => path === '' || isMatch([path, entry])) &&
    Object.keys(installed).every((path) => wanted[path])
  );
}

async function installNpmPackages() {
  if (hasNpmPackages()) return;
  const remedy =
    'Check the network and `npm config get registry`. If package.json was edited, run `npm install` to bring package-lock.json up to date.';
  await step('Installing npm packages', 'npm', remedy, 'npm', ['ci', '--no-audit', '--no-fund']);
}

/** What a configured build folder depends on that CMake itself does not watch. */
function configuration(cudaHeaders) {
  const versions = ['cmake-js', 'node-addon-api', 'node-api-headers'].map(
    (name) => readJson(join(root, 'node_modules', name, 'package.json')).version,
  );
  return JSON.stringify([root, process.platform, process.arch, ...versions, process.env.CXX ?? '', cudaHeaders]);
}

async function buildNative() {
  const build = join(root, 'build');
  const record = join(build, 'configuration.json');
  const remedy = 'If the compiler or the libraries changed, delete the folder build/ and run this again.';
  const hasCuda = findNvcc() !== undefined;
  const found = hasCuda ? await findCudaHeaders() : {};
  const isConfigured =
    existsSync(join(build, 'CMakeCache.txt')) && existsSync(record) && readFileSync(record, 'utf8') === configuration(found);
  if (isConfigured) {
    await step('Building the C++ core', 'native', remedy, 'cmake', ['--build', build]);
    return;
  }
  const headers = hasCuda ? await fetchCudaHeaders(found) : {};
  for (const name of ['CMakeCache.txt', 'CMakeFiles']) rmSync(join(build, name), { recursive: true, force: true });
  const cmakeJs = join('node_modules', 'cmake-js', 'bin', 'cmake-js');
  const options = Object.entries(headers).flatMap(([name, folder]) => (folder && folder !== 'none' ? [`--CD${name}=${folder}`] : []));
  await step('Building the C++ core', 'native', remedy, process.execPath, [cmakeJs, 'compile', '--generator', 'Ninja', ...options]);
  writeFileSync(record, configuration(headers));
}

async function buildNativeTests() {
  const remedy =
    'The tests need doctest (doctest-dev on Debian). If the compiler or the libraries changed, delete the folder build/ and run this again.';
  await step('Building the C++ tests', 'native-tests', remedy, 'cmake', ['--build', join(root, 'build'), '--target', 'kw_native_tests']);
}

const defaultSteps = ['system', 'npm', 'native', 'typescript'];
const steps = {
  system: installSystemPackages,
  npm: installNpmPackages,
  native: buildNative,
  'native-tests': buildNativeTests,
  typescript: buildTypeScript,
};

await main(async () => {
  checkNode();
  const names = process.argv.length > 2 ? process.argv.slice(2) : defaultSteps;
  const unknown = names.find((name) => !Object.hasOwn(steps, name));
  if (unknown) throw new ScriptError(`setup has no step "${unknown}"; its steps are ${Object.keys(steps).join(', ')}`);
  await withLock(async () => {
    for (const [name, perform] of Object.entries(steps)) if (names.includes(name)) await perform();
  });
});
