import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import sharp, { type Sharp } from 'sharp';
import { cropAndResize, decodeImage, type Pixels, resizeAndCropCentre } from '../../lib/data/image.js';

async function decode(t: ExecutionContext, name: string, image: Sharp | Buffer): Promise<Pixels> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-image-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, name);
  await writeFile(path, Buffer.isBuffer(image) ? image : await image.toBuffer());
  return decodeImage(path);
}

const raw = (width: number, height: number, channels: 1 | 2 | 3 | 4, ...values: number[]) =>
  sharp(Buffer.from(values), { raw: { width, height, channels } });
const plain = ({ width, height, data }: Pixels) => ({ width, height, data: [...data] });

test('PNG: RGB as it is', async (t) => {
  const pixels = await decode(t, 'a.png', raw(2, 1, 3, 1, 2, 3, 250, 251, 252).png());
  t.deepEqual(plain(pixels), { width: 2, height: 1, data: [1, 2, 3, 250, 251, 252] });
});

test('PNG: grey, 8 and 16 bits', async (t) => {
  const grey = await decode(t, 'a.png', raw(1, 2, 1, 7, 200).toColourspace('b-w').png());
  t.deepEqual(plain(grey), { width: 1, height: 2, data: [7, 7, 7, 200, 200, 200] });
  const deep = sharp(Uint16Array.of(0, 256, 32768, 65535), { raw: { width: 4, height: 1, channels: 1, depth: 'ushort' } } as object);
  const file = await deep.toColourspace('grey16').png().toBuffer();
  t.is((await sharp(file).metadata()).depth, 'ushort');
  t.deepEqual(
    plain(await decode(t, 'b.png', file)).data,
    [0, 1, 128, 255].flatMap((value) => [value, value, value]),
  );
});

test('PNG: transparency is laid on black, with grey too', async (t) => {
  const colour = await decode(t, 'a.png', raw(3, 1, 4, 200, 100, 50, 255, 200, 100, 50, 0, 200, 100, 50, 51).png());
  t.deepEqual(plain(colour).data, [200, 100, 50, 0, 0, 0, 40, 20, 10]);
  const grey = await decode(t, 'b.png', raw(1, 1, 2, 200, 51).toColourspace('b-w').png());
  t.deepEqual(plain(grey).data, [40, 40, 40]);
});

test('PNG with a palette, JPEG grey and CMYK: always three channels', async (t) => {
  const one = { width: 8, height: 8, channels: 3 as const, background: { r: 200, g: 40, b: 60 } };
  const palette = await decode(t, 'a.png', sharp({ create: one }).png({ palette: true }));
  t.deepEqual([...palette.data.subarray(0, 3)], [200, 40, 60]);
  const grey = await decode(t, 'b.jpg', sharp({ create: one }).greyscale().jpeg());
  t.is(grey.data.length, 8 * 8 * 3);
  t.is(grey.data[0], grey.data[1]);
  const cmyk = await decode(t, 'c.jpeg', sharp({ create: one }).toColourspace('cmyk').jpeg());
  t.is(cmyk.data.length, 8 * 8 * 3);
  t.true(Math.abs((cmyk.data[0] as number) - 200) < 30);
});

test('EXIF orientation is applied', async (t) => {
  const turned = raw(2, 1, 3, 255, 0, 0, 0, 255, 0).withMetadata({ orientation: 6 }).png();
  t.deepEqual(plain(await decode(t, 'a.png', turned)), { width: 1, height: 2, data: [255, 0, 0, 0, 255, 0] });
});

test('a file that is no image, is cut short or missing is named with the reason', async (t) => {
  const jpeg = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#884422' } })
    .jpeg()
    .toBuffer();
  const expected = { code: 'ERR_KW_DATA', message: /bad\.png: cannot be read as an image: .+; expected a PNG or JPEG/ };
  await t.throwsAsync(decode(t, 'bad.png', Buffer.from('hello')), expected);
  await t.throwsAsync(decode(t, 'bad.png', Buffer.alloc(0)), expected);
  await t.throwsAsync(decode(t, 'bad.png', jpeg.subarray(0, jpeg.length - 40)), expected);
  await t.throwsAsync(decodeImage(join(tmpdir(), 'kw-none', 'bad.png')), expected);
});

test('the view for evaluation: shorter side resized, centre taken, small images enlarged', async (t) => {
  const columns: Pixels = { width: 8, height: 4, data: Uint8Array.from({ length: 8 * 4 * 3 }, (_, i) => (Math.floor(i / 3) % 8) * 10) };
  const centre = await resizeAndCropCentre(columns, 4, 1, 'nearest');
  t.deepEqual([...centre.data.subarray(0, 12)], [20, 20, 20, 30, 30, 30, 40, 40, 40, 50, 50, 50]);
  const inner = await resizeAndCropCentre(columns, 2, 0.5, 'nearest');
  t.deepEqual([...inner.data.subarray(0, 6)], [30, 30, 30, 40, 40, 40]);
  const large = await resizeAndCropCentre(columns, 8, 1, 'nearest');
  t.deepEqual([...large.data.subarray(0, 6)], [20, 20, 20, 20, 20, 20]);
  t.is(large.data.length, 8 * 8 * 3);
  const same: Pixels = { width: 4, height: 4, data: new Uint8Array(48) };
  t.is(await resizeAndCropCentre(same, 4, 1, 'cubic'), same);
  for (const size of [1, 5, 7, 31]) t.is((await resizeAndCropCentre(columns, size, 0.875, 'linear')).data.length, size * size * 3);
});

test('a box is cut out and resized', async (t) => {
  const columns: Pixels = { width: 8, height: 4, data: Uint8Array.from({ length: 8 * 4 * 3 }, (_, i) => (Math.floor(i / 3) % 8) * 10) };
  const cut = await cropAndResize(columns, { left: 6, top: 0, width: 2, height: 2 }, 2, 'cubic');
  t.deepEqual([...cut.data], [60, 60, 60, 70, 70, 70, 60, 60, 60, 70, 70, 70]);
  await t.throwsAsync(cropAndResize(columns, { left: 7, top: 0, width: 2, height: 2 }, 2, 'cubic'), {
    code: 'ERR_KW_DATA',
    message: /8 x 4/,
  });
});
