/** What a file says about its weights is checked before it is believed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint_file.js';
import { writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { descriptionMetadata, readCheckpoint, readDescription } from '../../lib/train/checkpoint.js';

const description = { model: { network: 'kw_resnet18', classes: 2, warehouse: { budget: 0.5 } }, temperature: 0.25 };

test('descriptions are read as they were written, and refused when they are wrong', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'kw-description-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'weights.safetensors');
  const described = async (metadata: Readonly<Record<string, string>>) => {
    await writeSafetensors(path, new Map(), metadata);
    await using file = await openCheckpoint(path);
    return readDescription(file);
  };
  t.deepEqual(await described(descriptionMetadata(description)), description);
  t.is(await described({ other: 'x' }), undefined);
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['{', /its description does not fit this version/],
    [JSON.stringify({ format: 'kernel-warehouse 2', ...description }), /: format: /],
    [JSON.stringify({ format: 'kernel-warehouse 1', ...description, model: { network: 3 } }), /: model\.network: /],
    [
      JSON.stringify({ format: 'kernel-warehouse 1', ...description, model: { network: 'a', warehouse: { budget: 'x' } } }),
      /: model\.warehouse\.budget: /,
    ],
    [JSON.stringify({ format: 'kernel-warehouse 1', ...description, temperature: 2 }), /: temperature: /],
  ];
  for (const [text, message] of wrong) await t.throwsAsync(described({ 'kernel-warehouse': text }), { code: 'ERR_KW_CHECKPOINT', message });

  await described(descriptionMetadata(description));
  await t.throwsAsync(readCheckpoint(path), {
    code: 'ERR_KW_CHECKPOINT',
    message: /not a checkpoint that 'kernel-warehouse train' wrote$/,
  });
  await t.throwsAsync(readCheckpoint(folder), { code: 'ERR_KW_CHECKPOINT', message: /: not a file$/ });
  await t.throwsAsync(readCheckpoint(join(folder, 'none')), { code: 'ERR_KW_CHECKPOINT', message: /none: cannot be read: ENOENT/ });
});
