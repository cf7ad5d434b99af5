/** `npm run lint` runs the checks of the source text; `npm run format` (`--fix`) mends what can be mended and leaves the rest to be read. */

import { listChecks } from './checks.mjs';
import { main, run, ScriptError } from './command.mjs';

await main(async () => {
  const isFixing = process.argv.includes('--fix');
  const failed = [];
  for (const check of listChecks()) {
    const { code } = await run(process.execPath, (isFixing && check.fix) || check.arguments, { inherit: true });
    if (code !== 0) failed.push(check.name);
  }
  if (failed.length > 0)
    throw new ScriptError(`These checks failed: ${failed.join(', ')}${isFixing ? '' : '. `npm run format` mends what can be mended.'}`);
});
