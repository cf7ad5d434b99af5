/**
 * `npm run build:prebuilds`: makes prebuilds/linux-<arch>/ for the npm package: the add-on, and beside it the shared libraries that a user's machine
 * may lack, with their licences. The add-on finds them through its $ORIGIN run path. Needs glibc no older than the one that it is built with.
 */
import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { main, root, run, ScriptError, step } from './command.mjs';
import { withLock } from './lock.mjs';

const release = join(root, 'build', 'Release');
const bundled = /^(libdnnl|libOpenCL|libgomp)\.so/;

async function listBundledLibraries(addon) {
  const { code, output } = await run('ldd', [addon]);
  if (code !== 0 || output.includes('not found')) throw new ScriptError(`ldd ${addon} failed:\n${output}`);
  const pairs = [...output.matchAll(/^\s*(\S+) => (\S+)/gm)].map(([, name, path]) => ({ name, path }));
  return pairs.filter(({ name }) => bundled.test(name));
}

/** Debian keeps each package's licence in /usr/share/doc; distributing a library means distributing that text. */
async function copyLicence({ name, path }, folder) {
  for (const candidate of [path, join('/usr', path)]) {
    const { code, output } = await run('dpkg-query', ['--search', candidate]);
    const licence = join('/usr/share/doc', output.split(':')[0] ?? '', 'copyright');
    if (code !== 0 || !existsSync(licence)) continue;
    copyFileSync(licence, join(folder, `${name}.copyright`));
    return;
  }
  throw new ScriptError(`No licence text found for ${path}; build the packages on Debian or Ubuntu, from their own libraries.`);
}

await main(async () => {
  if (process.platform !== 'linux') throw new ScriptError('Prebuilt binaries are made on Linux only.');
  const remedy = 'Run `npm run build:native` first and see that it succeeds.';
  const setup = [join('scripts', 'setup.mjs')];
  const { code } = await run(process.execPath, setup, { inherit: true });
  if (code !== 0) throw new ScriptError('The build failed; its message stands above.');
  await withLock(async () => {
    const addon = join(release, 'kernel_warehouse.node');
    const libraries = await listBundledLibraries(addon);
    const folder = join(root, 'prebuilds', `linux-${process.arch}`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const { name, path } of libraries) copyFileSync(path, join(release, name));
    // prebuildify knows node-gyp only; the build is done already, so /bin/true stands in for it.
    const prebuildify = [join('node_modules', 'prebuildify', 'bin.js'), '--napi', '--strip', '--tag-libc', '--node-gyp', 'true'];
    await step('Collecting the prebuilt binary', 'prebuilds', remedy, process.execPath, prebuildify);
    for (const library of libraries) {
      rmSync(join(release, library.name));
      await copyLicence(library, folder);
    }
    console.log(
      `${folder.slice(dirname(dirname(folder)).length + 1)}: ${basename(addon)} with ${libraries.map(({ name }) => name).join(', ')}`,
    );
  });
});
