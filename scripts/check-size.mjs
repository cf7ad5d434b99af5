/** A file past 400 lines is named; a file past 600 fails the check: it wants to be two ideas. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, ScriptError } from './command.mjs';
import { listSources } from './sources.mjs';

const softLimit = 400;
const hardLimit = 600;

await main(async () => {
  const files = listSources(['.ts', '.mjs', '.h', '.cc', '.cu', '.cuh']).map((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return { path, lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0) };
  });
  const tooLong = files.filter(({ lines }) => lines > hardLimit);
  for (const { path, lines } of files) {
    if (lines > softLimit && lines <= hardLimit) console.log(`${path}: ${lines} lines, over the soft limit of ${softLimit}`);
  }
  if (tooLong.length > 0) {
    const list = tooLong.map(({ path, lines }) => `${path}: ${lines} lines; the limit is ${hardLimit}, split it by idea`);
    throw new ScriptError(list.join('\n'));
  }
});
