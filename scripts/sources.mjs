/** The files that the checks look at. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './command.mjs';

const folders = ['examples', 'lib', 'native', 'scripts', 'test'];

/** Paths from the repository root, sorted, of all source files whose names end in one of `endings`. */
export function listSources(endings, within = folders) {
  return within
    .filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => `${folder}/${path}`))
    .filter((path) => endings.some((ending) => path.endsWith(ending)))
    .sort();
}
