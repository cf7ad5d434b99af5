/** The last step of setup: compiles lib/ and test/ into dist/, and adds the entry for CommonJS. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, ScriptError } from './command.mjs';

const output = join(root, 'dist');

function listFiles(folder) {
  if (!existsSync(join(output, folder))) return [];
  return readdirSync(join(output, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path));
}

/** Removes what earlier builds made from sources that are gone: AVA would still run a deleted test. */
function removeStale() {
  for (const path of ['lib', 'test'].flatMap(listFiles)) {
    const source = path.match(/^(.*?)(?:\.d\.ts|\.d\.cts|\.js|\.js\.map)$/)?.[1];
    if (source && !existsSync(join(root, `${source}.ts`))) rmSync(join(output, path));
  }
}

function writeIfChanged(path, text) {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
}

/**
 * `require('kernel-warehouse')` loads the same ES modules (Node >= 20.19 can), so both kinds of importer see the same classes. TypeScript asks for
 * declarations of the importer's kind: each .d.ts gets a .d.cts twin whose relative imports lead to the other twins.
 */
function writeCommonJsEntry() {
  writeIfChanged(join(output, 'lib', 'index.cjs'), "module.exports = require('./index.js');\n");
  for (const path of listFiles('lib').filter((name) => name.endsWith('.d.ts'))) {
    const text = readFileSync(join(output, path), 'utf8').replace(/(['"])(\.{1,2}\/[^'"\n]+)\.js\1/g, '$1$2.cjs$1');
    writeIfChanged(join(output, path.replace(/\.d\.ts$/, '.d.cts')), text);
  }
}

/** @throws {ScriptError} with the compiler's messages when the types do not fit. */
export async function buildTypeScript() {
  const { code, output: messages } = await run(process.execPath, [
    join('node_modules', 'typescript', 'bin', 'tsc'),
    '--project',
    'tsconfig.json',
  ]);
  if (code !== 0) throw new ScriptError(`TypeScript found errors (nothing was written to dist/):\n\n${messages.trimEnd()}`);
  removeStale();
  writeCommonJsEntry();
}
