/** Help, and what the command says when its command line is wrong. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { kernelWarehouse } from './program.js';

for (const verb of ['train', 'eval', 'predict', 'convert', 'plan', 'bench', 'doctor']) {
  test(`${verb} --help shows how to use it, with examples`, async (t) => {
    const { code, stdout, stderr } = await kernelWarehouse([verb, '--help']);
    t.is(code, 0);
    t.is(stderr, '');
    t.true(stdout.startsWith(`Usage: kernel-warehouse ${verb} `), stdout);
    t.regex(stdout, new RegExp(`Examples:\\n +\\$ kernel-warehouse ${verb}`));
  });
}

for (const verb of ['eval', 'predict', 'convert']) {
  test(`${verb} --help says which weights refuse --network`, async (t) => {
    const { stdout } = await kernelWarehouse([verb, '--help']);
    t.regex(
      stdout,
      /checkpoint of train, .* describe their network themselves and refuse --network, --config,\n--classes, --stem and --temp/,
    );
  });
}

test('--help lists the verbs, --version is the package', async (t) => {
  const help = await kernelWarehouse(['--help']);
  t.is(help.code, 0);
  for (const verb of ['train', 'eval', 'predict', 'convert', 'plan', 'bench', 'doctor'])
    t.regex(help.stdout, new RegExp(`^ +${verb} .*`, 'm'));
  const version = await kernelWarehouse(['--version']);
  t.regex(version.stdout, /^\d+\.\d+\.\d+\n$/);
});

const mistakes: readonly (readonly [name: string, command: string, message: RegExp])[] = [
  ['an unknown verb', 'tarin data', /^kernel-warehouse: unknown command 'tarin' \(Did you mean train\?\)\n$/],
  ['an unknown option', 'train data --output x --epoch 3', /^kernel-warehouse: unknown option '--epoch' \(Did you mean --epochs\?\)\n$/],
  ['a missing option', 'train data', /^kernel-warehouse: required option '--output <dir>' not specified\n$/],
  ['a missing argument', 'eval --weights x', /^kernel-warehouse: missing required argument 'data'\n$/],
  ['too many arguments', 'eval a b --weights x', /^kernel-warehouse: too many arguments for 'eval'/],
  ['no number', 'train data --output x --epochs ten', /'--epochs <count>' argument 'ten' is invalid\. Expected a whole number from 1 to/],
  ['a fraction', 'train data --output x --batch-size 1.5', /argument '1\.5' is invalid\. Expected a whole number from 1 to 65536\.\n$/],
  [
    'a number out of range',
    'train data --output x --momentum 1',
    /argument '1' is invalid\. Expected a number of at least 0 and below 1\.\n$/,
  ],
  ['an infinite number', 'train data --output x --learning-rate 1e999', /Expected a number above 0\.\n$/],
  ['an empty number', 'train data --output x --weight-decay=', /Expected a number of at least 0\.\n$/],
  ['two numbers for three', 'train data --output x --mean 0.5,0.5', /Expected three numbers with commas/],
  ['a zero deviation', 'train data --output x --std 0.5,0.5,0', /Expected three numbers above 0 with commas/],
  ['a choice that is none', 'plan --stem medium', /argument 'medium' is invalid\. Allowed choices are small, large\.\n$/],
  ['another device', 'eval data --weights x --device gpu', /Allowed choices are auto, cpu, cuda\.\n$/],
  ['too many threads', 'eval data --weights x --threads 0', /Expected a whole number from 1 to 1024\.\n$/],
  [
    'a precision that is none',
    'bench --precision float32,int8',
    /argument 'float32,int8' is invalid\. Allowed choices are float32, bf16 \(bfloat16\)\.\n$/,
  ],
  ['a list with a zero', 'bench --batch-size 1,0', /argument '1,0' is invalid\. Expected a whole number from 1 to 65536\.\n$/],
  ['nothing to predict', 'predict --weights x', /^kernel-warehouse: give image files, or --input with a \.npy file\n$/],
  [
    'weights for a run that has its own',
    'train data --output x --resume --weights y',
    /^kernel-warehouse: --resume continues with the weights of its run; leave out --weights\n$/,
  ],
  [
    'an average of no weights',
    'train data --output x --ema',
    /^kernel-warehouse: --ema chooses among the weights of --weights, which is missing\n$/,
  ],
  [
    'a network named twice',
    'predict a.png --weights x --config a --network b',
    /^kernel-warehouse: option '--config <file>' cannot be used with option '--network <name>'\n$/,
  ],
  ['two kinds of input', 'predict a.png --weights x --input y.npy', /^kernel-warehouse: give image files or --input, not both\n$/],
];

for (const [name, command, message] of mistakes) {
  test(`${name} is one line and exit status 2`, async (t) => {
    const { code, stdout, stderr } = await kernelWarehouse(command.split(' '));
    t.regex(stderr, message);
    t.is(stderr.split('\n').length, 2, stderr);
    t.is(stdout, '');
    t.is(code, 2);
  });
}

test('no verb: help on standard error and exit status 2', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse([]);
  t.is(code, 2);
  t.is(stdout, '');
  t.regex(stderr, /^Usage: kernel-warehouse/);
});

test('KW_DEBUG=1 adds the stack to the line', async (t) => {
  const command = ['eval', 'no-such-folder', '--weights', 'no-such-file'];
  const quiet = await kernelWarehouse(command);
  t.is(quiet.code, 1);
  t.regex(quiet.stderr, /^kernel-warehouse: no-such-file: [^\n]+\n$/);
  const loud = await kernelWarehouse(command, { env: { KW_DEBUG: '1' } });
  t.true(loud.stderr.startsWith(quiet.stderr));
  t.regex(loud.stderr, /\n {4}at /);
});

test('a reader that goes away is no error', (t) => {
  const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));
  const command = `"${process.execPath}" "${main}" plan kw_resnet18 --json | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', command], { encoding: 'utf8' });
  t.is(stderr, '');
  t.is(stdout, '[\n0\n');
});
