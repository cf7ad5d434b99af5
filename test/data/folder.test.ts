import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type ImageDataset, readImageFolder, readSplitFolder } from '../../lib/data/folder.js';

async function folderWith(t: ExecutionContext, ...files: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-folder-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const file of files) {
    await mkdir(dirname(join(folder, file)), { recursive: true });
    if (!file.endsWith('/')) await writeFile(join(folder, file), '');
    else await mkdir(join(folder, file), { recursive: true });
  }
  return folder;
}

const list = (folder: string, dataset: ImageDataset | undefined) =>
  dataset?.samples.map(({ image, target }) => `${target} ${relative(folder, image as string)}`);

test('classes and files in the order of their names, nested folders too, hidden and other files not', async (t) => {
  const folder = await folderWith(
    t,
    '2/b.PNG',
    '2/a.jpeg',
    '10/x.JPG',
    '2/in/c.png',
    '2/.hidden.png',
    '2/notes.txt',
    '.git/x.png',
    'readme.png',
    'B/x.png',
    'a/x.png',
  );
  const dataset = await readImageFolder(folder);
  t.deepEqual(dataset.classes, ['10', '2', 'B', 'a']);
  t.deepEqual(list(folder, dataset), ['0 10/x.JPG', '1 2/a.jpeg', '1 2/b.PNG', '1 2/in/c.png', '2 B/x.png', '3 a/x.png']);
});

test('characters beyond U+FFFF sort after all others', async (t) => {
  const dataset = await readImageFolder(await folderWith(t, '\u{1f600}/x.png', '\uff5e/x.png', 'a/x.png'));
  t.deepEqual(dataset.classes, ['a', '\uff5e', '\u{1f600}']);
});

test('links are followed, circles are not', async (t) => {
  const folder = await folderWith(t, 'real/x.png', 'a/y.png');
  await symlink('../real', join(folder, 'a', 'linked'));
  await symlink('.', join(folder, 'a', 'circle'));
  const images = list(folder, await readImageFolder(folder)) as string[];
  t.true(images.includes('0 a/linked/x.png'));
  t.is(images.filter((image) => image === '0 a/y.png').length, 1);
});

for (const name of ['val', 'validation', 'valid', 'test']) {
  test(`train and ${name}`, async (t) => {
    const folder = await folderWith(t, 'train/b/1.png', 'train/a/2.png', `${name}/b/3.png`);
    const { train, validation } = await readSplitFolder(folder);
    t.deepEqual(list(folder, train), ['0 train/a/2.png', '1 train/b/1.png']);
    t.deepEqual(list(folder, validation), [`1 ${name}/b/3.png`]);
    t.deepEqual(validation?.classes, ['a', 'b']);
  });
}

test('a folder of classes is all for training', async (t) => {
  const folder = await folderWith(t, 'a/1.png', 'test/2.png');
  const { train, validation } = await readSplitFolder(folder);
  t.deepEqual(train.classes, ['a', 'test']);
  t.is(validation, undefined);
});

test('what is wrong is said with the folder and what was expected', async (t) => {
  const folder = await folderWith(t, 'empty/', 'noimages/a/x.txt', 'extra/train/a/1.png', 'extra/val/b/1.png');
  const cases: [Promise<unknown>, RegExp][] = [
    [readSplitFolder(join(folder, 'none')), /none: no such folder; expected FOLDER\/<class>/],
    [readSplitFolder(join(folder, 'empty')), /empty: no class folders/],
    [readSplitFolder(join(folder, 'noimages')), /noimages.a: no \.png, \.jpg or \.jpeg images/],
    [readSplitFolder(join(folder, 'extra')), /val.b: no such class in the training part/],
  ];
  for (const [promise, message] of cases) await t.throwsAsync(promise, { code: 'ERR_KW_DATA', message });
});
