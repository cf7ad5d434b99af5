/** Decoding and resizing of images with sharp, which works on threads of its own (libuv's pool; UV_THREADPOOL_SIZE sets how many). */
import { readFile } from 'node:fs/promises';
import type { Sharp } from 'sharp';
import { KernelWarehouseError } from '../errors.js';

/** Pixels in memory: RGB, 8 bits each, `data[(y * width + x) * 3 + channel]`. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A PNG or JPEG file's path, or pixels. */
export type ImageSource = string | Pixels;

export type ResizeKernel = 'nearest' | 'linear' | 'cubic' | 'mitchell' | 'lanczos2' | 'lanczos3';

export const RESIZE_KERNELS: readonly ResizeKernel[] = ['nearest', 'linear', 'cubic', 'mitchell', 'lanczos2', 'lanczos3'];

/** A rectangle in whole pixels. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Loaded at first use, so that everything without images works where sharp has no binary. */
async function loadSharp(): Promise<typeof import('sharp').default> {
  try {
    return (await import('sharp')).default;
  } catch (error) {
    throw new KernelWarehouseError('ERR_KW_DATA', `images need the package sharp, which cannot be loaded: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * The whole image as RGB pixels: grey spread over three channels, transparency laid on black, 16 bits scaled to 8, other colour spaces
 * converted to sRGB, EXIF orientation applied. Throws ERR_KW_DATA, naming the file, when it cannot be read or decoded.
 */
export async function decodeImage(source: ImageSource): Promise<Pixels> {
  if (typeof source !== 'string') return source;
  const sharp = await loadSharp();
  try {
    // Read here, because libvips caches a file by its name even after it has changed.
    const file = await readFile(source);
    const decoder = sharp(file, { failOn: 'error' }).autoOrient().flatten({ background: '#000000' }).toColourspace('srgb');
    const { data, info } = await decoder.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data };
  } catch (error) {
    const [reason] = (error as Error).message.split('\n'); // libvips adds lines of details
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${source}: cannot be read as an image: ${reason}; expected a PNG or JPEG file, repair or remove it`,
      { cause: error },
    );
  }
}

/** The part `box` of an image, resized to a square of `size` pixels. Throws ERR_KW_DATA when libvips cannot. */
export async function cropAndResize(image: Pixels, box: Box, size: number, kernel: ResizeKernel): Promise<Pixels> {
  return squareOf(image, size, (input) => input.extract({ ...box }).resize(size, size, { fit: 'fill', kernel }));
}

/**
 * The usual view for evaluation: the shorter side is resized to `size / cropRatio` (smaller images are enlarged), then the central square
 * of `size` pixels is cut out. `cropRatio` is in (0, 1]; 0.875 gives 256 and 224. Throws ERR_KW_DATA when libvips cannot.
 */
export async function resizeAndCropCentre(image: Pixels, size: number, cropRatio: number, kernel: ResizeKernel): Promise<Pixels> {
  const shorter = Math.round(size / cropRatio);
  const scale = shorter / Math.min(image.width, image.height);
  const width = Math.round(image.width * scale);
  const height = Math.round(image.height * scale);
  if (width === size && height === size && image.width === size && image.height === size) return image;
  const centre: Box = { left: Math.floor((width - size) / 2), top: Math.floor((height - size) / 2), width: size, height: size };
  return squareOf(image, size, (input) => input.resize(width, height, { fit: 'fill', kernel }).extract({ ...centre }));
}

async function squareOf(image: Pixels, size: number, apply: (input: Sharp) => Sharp): Promise<Pixels> {
  const sharp = await loadSharp();
  const { width, height } = image;
  try {
    const input = sharp(image.data, { raw: { width, height, channels: 3 } });
    return { width: size, height: size, data: await apply(input).raw({ depth: 'uchar' }).toBuffer() };
  } catch (error) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `an image of ${width} x ${height} pixels cannot be resized: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}
