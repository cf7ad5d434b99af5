/** `npm run demo`: trains a small KernelWarehouse network on the handwritten digits in demo/digits. Arguments of its own are added to the command. */
import { join } from 'node:path';
import { main, run, ScriptError } from './command.mjs';

const trainingCommand = 'train demo/digits --network kw_resnet18 --output runs/demo';

await main(async () => {
  const commands = [
    [join('scripts', 'setup.mjs')],
    [join('dist', 'lib', 'cli', 'main.js'), ...trainingCommand.split(' '), ...process.argv.slice(2)],
  ];
  for (const command of commands) {
    const { code } = await run(process.execPath, command, { inherit: true });
    if (code !== 0) throw new ScriptError(`node ${command.join(' ')} ended with exit code ${code}`);
  }
});
