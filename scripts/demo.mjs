/**
 * `npm run demo`: trains KW ResNet-18 on the handwritten digits in demo/digits, at the 8 pixels that they have, and checks the result with
 * `eval`. A run that was stopped goes on; one that is done is only checked.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, run, ScriptError } from './command.mjs';

const output = 'runs/demo';

const training = [
  'train demo/digits --network kw_resnet18 --stem small --image-size 8 --crop-ratio 1 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5',
  '--epochs 6 --batch-size 16 --optimizer adamw --learning-rate 0.001 --warmup-epochs 0.5 --weight-decay 0.05',
  '--label-smoothing 0.1 --augmentation shift --temperature-epochs 20',
].join(' ');

await main(async () => {
  const program = join('dist', 'lib', 'cli', 'main.js');
  const resume = existsSync(join(root, output, 'checkpoint.safetensors')) ? ['--resume'] : [];
  const commands = [
    [join('scripts', 'setup.mjs')],
    [program, ...training.split(' '), '--output', output, ...resume, ...process.argv.slice(2)],
    [program, 'eval', 'demo/digits', '--weights', join(output, 'best.safetensors')],
  ];
  for (const command of commands) {
    const { code } = await run(process.execPath, command, { inherit: true });
    if (code === 130) process.exit(code);
    if (code !== 0) throw new ScriptError(`node ${command.join(' ')} ended with exit code ${code}`);
  }
});
