import { spawnSync } from 'node:child_process';
import test from 'ava';

const { findNvcc } = (await import(new URL('../../../scripts/cuda-headers.mjs', import.meta.url).href)) as {
  findNvcc: () => string | undefined;
};

function check(name: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/check-cubins.mjs', `test/scripts/cubins/${name}.cu`], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const withNvcc = findNvcc() ? test : test.skip;

withNvcc('a table tells what each kernel uses, for the targets that its file asks for', (t) => {
  for (const time of ['first', 'second, from the record']) {
    const { status, stdout } = check('sound');
    t.is(status, 0, time);
    t.regex(stdout, /registers +shared +stack +spilled +target +kernel\n +\d+ +128 +0 +0 {2}sm_90a {2}sound\n$/, time);
  }
});

withNvcc('registers that spill are an error that names kernel and target', (t) => {
  const { status, stderr } = check('spilling');
  t.is(status, 1);
  t.regex(
    stderr,
    /Registers of these kernels spill to memory\. Use smaller tiles[^\n]*\n {2}spilling for sm_80: \d+ bytes\n {2}spilling for sm_90: \d+ bytes/,
  );
});

withNvcc('a warning is an error', (t) => {
  const { status, stderr } = check('warning');
  t.is(status, 1);
  t.regex(stderr, /warning\.cu for sm_80:\n[\s\S]*"unused" was declared but never referenced/);
});
