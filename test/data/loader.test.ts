import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import sharp from 'sharp';
import { drawCrop, drawPlacement, normalizationTable, normalizeInto, PHOTO_AUGMENTATION, UNCHANGED } from '../../lib/data/augment.js';
import { type ImageDataset, readImageFolder } from '../../lib/data/folder.js';
import type { Pixels } from '../../lib/data/image.js';
import { type Batch, epochOrder, ImageLoader, type LoaderOptions } from '../../lib/data/loader.js';
import { RandomStream } from '../../lib/random.js';

/** Images whose every pixel is a function of their place in the dataset. */
function datasetOf(count: number, size = 4): ImageDataset {
  const samples = Array.from({ length: count }, (_, sample) => {
    const data = Uint8Array.from({ length: size * size * 3 }, (_, i) => (sample * 31 + i * 7) % 256);
    return { image: { width: size, height: size, data }, target: sample % 3 };
  });
  return { classes: ['a', 'b', 'c'], samples };
}

async function collect(batches: AsyncIterable<Batch>): Promise<Batch[]> {
  const all: Batch[] = [];
  for await (const batch of batches) all.push(batch);
  return all;
}

const AUGMENTATION = { randomResizedCrop: { scale: [0.3, 1], ratio: [0.8, 1.25] }, shift: 1, horizontalFlip: true } as const;
const base: LoaderOptions = { batchSize: 4, imageSize: 4, cropRatio: 1 };

test('every sample once, the last batch is what is left', async (t) => {
  const loader = new ImageLoader(datasetOf(10), base);
  t.is(loader.batchesPerEpoch, 3);
  const batches = await collect(loader.batches(0));
  t.deepEqual(
    batches.map(({ size, index, epoch, images }) => [size, index, epoch, images.length]),
    [
      [4, 0, 0, 192],
      [4, 1, 0, 192],
      [2, 2, 0, 96],
    ],
  );
  const indices = batches.flatMap((batch) => [...batch.indices]);
  t.deepEqual(
    [...indices].sort((a, b) => a - b),
    Array.from({ length: 10 }, (_, i) => i),
  );
  t.deepEqual(
    batches.flatMap((batch) => [...batch.targets]),
    indices.map((sample) => sample % 3),
  );
});

test('the order depends on seed and epoch only', (t) => {
  t.deepEqual(epochOrder(50, 1, 2), epochOrder(50, 1, 2));
  t.notDeepEqual(epochOrder(50, 1, 2), epochOrder(50, 1, 3));
  t.notDeepEqual(epochOrder(50, 1, 2), epochOrder(50, 2, 2));
  t.deepEqual(epochOrder(0, 1, 2), new Int32Array());
});

test('without shuffle, pixels are normalised in place', async (t) => {
  const dataset = datasetOf(2);
  const [batch] = await collect(
    new ImageLoader(dataset, { ...base, shuffle: false, mean: [0.5, 0, 0.25], standardDeviation: [1, 2, 0.5] }).batches(0),
  );
  const pixels = dataset.samples[1]?.image as Pixels;
  const expected = Float32Array.from(
    pixels.data,
    (byte, i) => (byte / 255 - ([0.5, 0, 0.25][i % 3] as number)) / ([1, 2, 0.5][i % 3] as number),
  );
  t.deepEqual(batch?.images.subarray(48), expected);
});

test('the same batches whatever the cache, the prefetch and the concurrency', async (t) => {
  const dataset = datasetOf(11, 6);
  const run = async (options: Partial<LoaderOptions>) => {
    const loader = new ImageLoader(dataset, { ...base, seed: 9, augmentation: AUGMENTATION, ...options });
    return [await collect(loader.batches(0)), await collect(loader.batches(1)), await collect(loader.batches(0))];
  };
  const expected = await run({});
  t.deepEqual(expected[0], expected[2]);
  t.notDeepEqual(expected[0], expected[1]);
  t.deepEqual(await run({ cacheMebibytes: 0 }), expected);
  t.deepEqual(await run({ cacheMebibytes: 300 / 2 ** 20 }), expected);
  t.deepEqual(await run({ prefetch: 0, concurrency: 1 }), expected);
  t.deepEqual(await run({ prefetch: 7, concurrency: 13 }), expected);
});

test('resuming in the middle of an epoch gives the rest of it', async (t) => {
  const dataset = datasetOf(13);
  const options = { ...base, seed: 3, augmentation: AUGMENTATION };
  const whole = await collect(new ImageLoader(dataset, options).batches(5));
  for (let firstBatch = 0; firstBatch <= 5; firstBatch++) {
    t.deepEqual(await collect(new ImageLoader(dataset, options).batches(5, { firstBatch })), whole.slice(firstBatch));
  }
});

test('leaving the loop stops the work; prefetch is bounded', async (t) => {
  let read = 0;
  const dataset = datasetOf(100);
  const counting = dataset.samples.map((sample) => ({
    target: sample.target,
    get image() {
      read++;
      return sample.image;
    },
  }));
  const loader = new ImageLoader({ classes: dataset.classes, samples: counting }, { ...base, prefetch: 2, cacheMebibytes: 0 });
  for await (const batch of loader.batches(0)) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    t.is(read, 12 + 4 * batch.index);
    if (batch.index === 1) break;
  }
  const after = read;
  await new Promise((resolve) => setTimeout(resolve, 30));
  t.is(read, after);
});

test('an aborted signal rejects with its reason', async (t) => {
  const loader = new ImageLoader(datasetOf(40), base);
  const controller = new AbortController();
  const seen: number[] = [];
  const run = async () => {
    for await (const batch of loader.batches(0, { signal: controller.signal })) {
      seen.push(batch.index);
      if (batch.index === 2) controller.abort(new Error('enough'));
    }
  };
  await t.throwsAsync(run(), { message: 'enough' });
  t.deepEqual(seen, [0, 1, 2]);
  await t.throwsAsync(collect(loader.batches(0, { signal: AbortSignal.abort(new Error('before')) })), { message: 'before' });
});

async function imageFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-loader-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const [name, extension] of [
    ['cat', 'png'],
    ['dog', 'jpg'],
  ] as const) {
    await mkdir(join(folder, name));
    for (let i = 0; i < 3; i++) {
      const noise = Buffer.from(Uint8Array.from({ length: 40 * 30 * 3 }, (_, k) => (k * (i + 3)) % 251));
      await sharp(noise, { raw: { width: 40, height: 30, channels: 3 } }).toFile(join(folder, name, `${i}.${extension}`));
    }
  }
  return folder;
}

test('files: the same from disk and from the cache', async (t) => {
  const dataset = await readImageFolder(await imageFolder(t));
  for (const augmentation of [PHOTO_AUGMENTATION, { shift: 2 }]) {
    const options = { batchSize: 4, imageSize: 16, augmentation };
    const cached = new ImageLoader(dataset, options);
    await collect(cached.batches(0));
    const uncached = new ImageLoader(dataset, { ...options, cacheMebibytes: 0 });
    t.deepEqual(await collect(cached.batches(1)), await collect(uncached.batches(1)));
  }
});

test('an image that cannot be read ends the epoch with its name', async (t) => {
  const folder = await imageFolder(t);
  await writeFile(join(folder, 'dog', '1.jpg'), 'not an image');
  const loader = new ImageLoader(await readImageFolder(folder), { batchSize: 2, imageSize: 8 });
  await t.throwsAsync(collect(loader.batches(0)), { code: 'ERR_KW_DATA', message: /dog.1\.jpg: cannot be read as an image/ });
});

test('options out of range are refused by name', (t) => {
  const dataset = datasetOf(1);
  const cases: [Partial<LoaderOptions>, RegExp][] = [
    [{ batchSize: 0 }, /batchSize/],
    [{ imageSize: 1.5 }, /imageSize/],
    [{ seed: -1 }, /seed/],
    [{ cropRatio: 0 }, /cropRatio/],
    [{ kernel: 'blurry' as never }, /kernel/],
    [{ mean: [0, 0] }, /mean/],
    [{ standardDeviation: [1, 1, 0] }, /standardDeviation/],
    [{ prefetch: -1 }, /prefetch/],
    [{ augmentation: { shift: -1 } }, /shift/],
    [{ augmentation: { randomResizedCrop: { scale: [0, 1], ratio: [1, 1] } } }, /scale/],
    [{ augmentation: { randomResizedCrop: { scale: [0.5, 1], ratio: [2, 1] } } }, /ratio/],
  ];
  for (const [options, message] of cases) {
    t.throws(() => new ImageLoader(dataset, { ...base, ...options }), { code: 'ERR_KW_INVALID_ARGUMENT', message });
  }
  t.throws(() => new ImageLoader({ classes: [], samples: [] }, base), { code: 'ERR_KW_DATA' });
});

test('a random crop lies in the image and has the area and ratio asked for', (t) => {
  const side = fc.integer({ min: 1, max: 600 });
  const options = { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] } as const;
  const property = fc.property(side, side, fc.nat(1000), (width, height, index) => {
    const box = drawCrop(new RandomStream(1, 'crop', index), width, height, options);
    t.true(box.left >= 0 && box.top >= 0 && box.width >= 1 && box.height >= 1);
    t.true(box.left + box.width <= width && box.top + box.height <= height);
    if (width >= 100 && height >= 100 && width < 2 * height && height < 2 * width) {
      const ratio = box.width / box.height;
      t.true(ratio > 0.7 && ratio < 1.4);
      t.true((box.width * box.height) / (width * height) > 0.07);
    }
  });
  fc.assert(property, { numRuns: 300 });
});

test('shift and flip move whole pixels, black comes in', (t) => {
  const pixels: Pixels = { width: 2, height: 2, data: Uint8Array.from([1, 2, 3, 4].flatMap((value) => [value, value, value])) };
  const table = normalizationTable([0, 0, 0], [1 / 255, 1 / 255, 1 / 255]);
  const place = (right: number, down: number, mirrored: boolean) => {
    const output = new Float32Array(13).fill(-1);
    normalizeInto(output, 1, pixels, { right, down, mirrored }, table);
    t.is(output[0], -1);
    return [1, 4, 7, 10].map((i) => Math.round(output[i] as number));
  };
  t.deepEqual(place(0, 0, false), [1, 2, 3, 4]);
  t.deepEqual(place(1, 0, false), [0, 1, 0, 3]);
  t.deepEqual(place(0, -1, false), [3, 4, 0, 0]);
  t.deepEqual(place(0, 0, true), [2, 1, 4, 3]);
  t.deepEqual(place(1, 0, true), [0, 2, 0, 4]);
});

test('shifts reach both ends, flips come up half of the time, nothing is drawn that is not asked for', (t) => {
  const drawn = Array.from({ length: 400 }, (_, i) => drawPlacement(new RandomStream(1, 'x', i), { shift: 2, horizontalFlip: true }));
  t.deepEqual(
    [...new Set(drawn.map(({ right }) => right))].sort((a, b) => a - b),
    [-2, -1, 0, 1, 2],
  );
  t.deepEqual(
    [...new Set(drawn.map(({ down }) => down))].sort((a, b) => a - b),
    [-2, -1, 0, 1, 2],
  );
  const mirrored = drawn.filter((placement) => placement.mirrored).length;
  t.true(mirrored > 150 && mirrored < 250);
  t.deepEqual(drawPlacement(new RandomStream(1), {}), UNCHANGED);
});
