/** The first step of setup: compiler, CMake, Ninja and the headers that the C++ core is built with. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run, ScriptError, step } from './command.mjs';

const debianPackages = {
  'a C++ compiler': 'g++',
  cmake: 'cmake',
  ninja: 'ninja-build',
  'oneapi/dnnl/dnnl.hpp': 'libdnnl-dev',
  'nlohmann/json.hpp': 'nlohmann-json3-dev',
  'doctest/doctest.h': 'doctest-dev',
};
const headers = Object.keys(debianPackages).filter((name) => name.endsWith('.hpp') || name.endsWith('.h'));

function isOnPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function findCompiler() {
  const candidates = [process.env.CXX?.trim().split(/\s+/).pop(), 'c++', 'g++', 'clang++'].filter(Boolean);
  return candidates.find((program) => program.startsWith('/') || isOnPath(program));
}

/** Asks the compiler itself, so headers count wherever it finds them: the system's, CPLUS_INCLUDE_PATH's, or CMAKE_PREFIX_PATH's. */
async function findMissingHeaders(compiler) {
  const prefixes = (process.env.CMAKE_PREFIX_PATH ?? '').split(/[:;]/).filter(Boolean);
  const source = headers.map((name) => `#if !__has_include(<${name}>)\n#warning missing:${name}:\n#endif`).join('\n');
  const includes = prefixes.map((prefix) => `-I${join(prefix, 'include')}`);
  const { output } = await run(compiler, ['-std=c++20', '-E', '-x', 'c++', ...includes, '-', '-o', '/dev/null'], { input: source });
  return headers.filter((name) => output.includes(`missing:${name}:`));
}

async function findMissing() {
  const missing = [];
  const compiler = findCompiler();
  if (!compiler) missing.push('a C++ compiler');
  if (!isOnPath('cmake')) missing.push('cmake');
  if (!isOnPath('ninja') && !isOnPath('ninja-build')) missing.push('ninja');
  missing.push(...(compiler ? await findMissingHeaders(compiler) : headers));
  return missing;
}

/** Installs through apt-get as root; for anyone else, throws with the command to paste. Does nothing when all is there. */
export async function installSystemPackages() {
  const missing = await findMissing();
  if (missing.length === 0) return;
  const packages = missing.map((name) => debianPackages[name]);
  const list = missing.map((name) => `  ${name} (Debian and Ubuntu: ${debianPackages[name]})`).join('\n');
  if (!isOnPath('apt-get')) {
    throw new ScriptError(
      `This machine lacks what the C++ core is built with:\n${list}\nInstall these with your system's package manager, then run this again.`,
    );
  }
  if (process.getuid?.() !== 0) {
    const command = `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`;
    throw new ScriptError(`This machine lacks what the C++ core is built with:\n${list}\nInstall it, then run this again:\n\n  ${command}`);
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const options = ['-o', 'DPkg::Lock::Timeout=600', '-o', 'Acquire::Retries=3'];
  const install = [...options, 'install', '-y', '--no-install-recommends', ...packages];
  const title = `Installing system packages: ${packages.join(' ')}`;
  const remedy = 'Check the network and the sources under /etc/apt, then run this again.';
  // A fresh container has no package lists, and old lists name files that are gone; a first failure is most often one of these.
  console.log(`${title} ...`);
  const { code } = await run('apt-get', install, { env });
  if (code !== 0) {
    await step('Updating the package lists', 'apt-update', remedy, 'apt-get', [...options, 'update'], env);
    await step(title, 'apt-install', remedy, 'apt-get', install, env);
  }
  const left = await findMissing();
  if (left.length > 0) {
    throw new ScriptError(
      `apt-get succeeded, but these are still missing: ${left.join(', ')}. Is another compiler first on PATH, or CXX set?`,
    );
  }
}
