/** Image folders: one folder for each class, as torchvision's ImageFolder and ImageNet have them. */
import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KernelWarehouseError } from '../errors.js';
import type { ImageSource } from './image.js';

const VALIDATION_FOLDERS = ['val', 'validation', 'valid', 'test'];
const IMAGE_NAME = /\.(png|jpe?g)$/i;
const LAYOUT = 'expected FOLDER/<class>/*.png|jpg|jpeg, or FOLDER/train/<class>/... and FOLDER/val/<class>/...';

export interface ImageSample {
  readonly image: ImageSource;
  /** Index into `ImageDataset.classes`. */
  readonly target: number;
}

export interface ImageDataset {
  readonly classes: readonly string[];
  readonly samples: readonly ImageSample[];
}

export interface SplitDataset {
  readonly train: ImageDataset;
  readonly validation: ImageDataset | undefined;
}

function fail(message: string, cause?: unknown): never {
  throw new KernelWarehouseError('ERR_KW_DATA', message, cause === undefined ? undefined : { cause });
}

/**
 * A folder with `train` inside, and `val` (or `validation`, `valid`, `test`) beside it, or else a folder of classes, all for training.
 * Both parts number the classes as `train` does; a class that only the validation part has is an error. Throws ERR_KW_DATA.
 */
export async function readSplitFolder(folder: string): Promise<SplitDataset> {
  if (!(await isFolder(folder))) fail(`${folder}: no such folder; ${LAYOUT}`);
  const trainFolder = join(folder, 'train');
  if (!(await isFolder(trainFolder))) return { train: await readImageFolder(folder), validation: undefined };
  const train = await readImageFolder(trainFolder);
  for (const name of VALIDATION_FOLDERS) {
    const validationFolder = join(folder, name);
    if (await isFolder(validationFolder)) return { train, validation: await readImageFolder(validationFolder, train.classes) };
  }
  return { train, validation: undefined };
}

/**
 * The images of FOLDER/<class>/, including those in folders inside a class. Classes, and the files of a class, are in the order of their
 * names' code points, as in torchvision (so `10` comes before `2`). Hidden files and files other than .png, .jpg and .jpeg are skipped;
 * links are followed. With `knownClasses` (from another part of the same data) the classes are numbered as there. Throws ERR_KW_DATA when
 * the folder is missing, has no classes, or a class has no images.
 */
export async function readImageFolder(folder: string, knownClasses?: readonly string[]): Promise<ImageDataset> {
  if (!(await isFolder(folder))) fail(`${folder}: no such folder; ${LAYOUT}`);
  const found: string[] = [];
  for (const name of await listFolder(folder)) if (await isFolder(join(folder, name))) found.push(name);
  if (found.length === 0) fail(`${folder}: no class folders in it; ${LAYOUT}`);
  const classes = knownClasses ?? found;
  const targets = new Map(classes.map((name, target) => [name, target]));
  const samples: ImageSample[] = [];
  for (const name of found) {
    const target = targets.get(name);
    if (target === undefined)
      fail(`${join(folder, name)}: no such class in the training part, which has ${classes.length} classes; remove it or add it there`);
    const images = await listImages(join(folder, name), new Set());
    if (images.length === 0) fail(`${join(folder, name)}: no .png, .jpg or .jpeg images in it; add some or remove the class`);
    for (const image of images) samples.push({ image, target });
  }
  return { classes, samples };
}

async function listImages(folder: string, visited: Set<string>): Promise<string[]> {
  // A link to a parent folder would otherwise be followed forever.
  const real = await realpath(folder);
  if (visited.has(real)) return [];
  visited.add(real);
  const images: string[] = [];
  for (const name of await listFolder(folder)) {
    const path = join(folder, name);
    if (IMAGE_NAME.test(name)) images.push(path);
    else if (await isFolder(path)) for (const image of await listImages(path, visited)) images.push(image);
  }
  return images;
}

/** Names in a folder except hidden ones, by code points. */
async function listFolder(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.')).sort(compareCodePoints);
  } catch (error) {
    fail(`${folder}: cannot be listed: ${(error as Error).message}`, error);
  }
}

async function isFolder(path: string): Promise<boolean> {
  const information = await stat(path).catch(() => undefined);
  return information?.isDirectory() ?? false;
}

/** JavaScript compares UTF-16 units, which puts characters beyond U+FFFF before some others. */
function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const unitA = a.charCodeAt(i);
    const unitB = b.charCodeAt(i);
    if (unitA === unitB) continue;
    const surrogateA = unitA >= 0xd800 && unitA <= 0xdfff;
    const surrogateB = unitB >= 0xd800 && unitB <= 0xdfff;
    return surrogateA === surrogateB ? unitA - unitB : surrogateA ? 1 : -1;
  }
  return a.length - b.length;
}
