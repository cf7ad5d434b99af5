/** The checks of the source text. Each is one program; those with `fix` can also mend what they find. */
import { join } from 'node:path';
import { listSources } from './sources.mjs';

const biome = join('node_modules', '@biomejs', 'biome', 'bin', 'biome');
const clangFormat = join('node_modules', 'clang-format-node', 'build', 'cli.js');

/** @returns {{ name: string, arguments: string[], fix?: string[] }[]} Arguments for Node. */
export function listChecks() {
  const native = listSources(['.h', '.cc', '.cu', '.cuh'], ['native', 'test']);
  return [
    { name: 'TypeScript lint and format', arguments: [biome, 'check', '--error-on-warnings'], fix: [biome, 'check', '--write'] },
    { name: 'C++ format', arguments: [clangFormat, '--dry-run', '--Werror', ...native], fix: [clangFormat, '-i', ...native] },
    { name: 'import direction', arguments: [join('scripts', 'check-imports.mjs')] },
    { name: 'file size', arguments: [join('scripts', 'check-size.mjs')] },
  ];
}
