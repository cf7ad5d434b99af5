/** Random changes of training images, and the conversion from 8-bit pixels to the network's input. */
import type { RandomStream } from '../random.js';
import type { Box, Pixels } from './image.js';

const CROP_ATTEMPTS = 10;

/** What training changes at random; absent changes are not made. */
export interface Augmentation {
  /** A box with a share of the area in `scale` (of 1) and width/height in `ratio`, resized to the input size (Szegedy et al. 2015). */
  readonly randomResizedCrop?: { readonly scale: readonly [number, number]; readonly ratio: readonly [number, number] };
  /** Shifts the image by up to so many pixels in each direction; black comes in from the border. For small images. */
  readonly shift?: number;
  /** Mirrors half of the images; not for digits or text. */
  readonly horizontalFlip?: boolean;
}

/** The usual choice for photographs. */
export const PHOTO_AUGMENTATION: Augmentation = { randomResizedCrop: { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] }, horizontalFlip: true };

/** How the pixels are placed in the input: shifted right and down by whole pixels, mirrored. */
export interface Placement {
  readonly right: number;
  readonly down: number;
  readonly mirrored: boolean;
}

export const UNCHANGED: Placement = { right: 0, down: 0, mirrored: false };

/** Draws shift and flip. */
export function drawPlacement(random: RandomStream, augmentation: Augmentation): Placement {
  const shift = augmentation.shift ?? 0;
  const right = shift > 0 ? random.integer(2 * shift + 1) - shift : 0;
  const down = shift > 0 ? random.integer(2 * shift + 1) - shift : 0;
  return { right, down, mirrored: augmentation.horizontalFlip === true && random.uniform() < 0.5 };
}

/** Draws the box of a random resized crop, by torchvision's rule: ten attempts, then the largest central box within the ratios. */
export function drawCrop(
  random: RandomStream,
  width: number,
  height: number,
  options: NonNullable<Augmentation['randomResizedCrop']>,
): Box {
  const [lowestRatio, highestRatio] = options.ratio;
  for (let attempt = 0; attempt < CROP_ATTEMPTS; attempt++) {
    const area = width * height * random.uniform(...options.scale);
    const ratio = Math.exp(random.uniform(Math.log(lowestRatio), Math.log(highestRatio)));
    const boxWidth = Math.round(Math.sqrt(area * ratio));
    const boxHeight = Math.round(Math.sqrt(area / ratio));
    if (boxWidth < 1 || boxHeight < 1 || boxWidth > width || boxHeight > height) continue;
    const left = random.integer(width - boxWidth + 1);
    return { left, top: random.integer(height - boxHeight + 1), width: boxWidth, height: boxHeight };
  }
  const boxWidth = Math.max(1, Math.min(width, Math.round(height * highestRatio)));
  const boxHeight = Math.max(1, Math.min(height, Math.round(width / lowestRatio)));
  return { left: Math.floor((width - boxWidth) / 2), top: Math.floor((height - boxHeight) / 2), width: boxWidth, height: boxHeight };
}

/** Normalised values of all bytes: `table[channel * 256 + byte] = (byte / 255 - mean[channel]) / standardDeviation[channel]`. */
export function normalizationTable(mean: readonly number[], standardDeviation: readonly number[]): Float32Array {
  return Float32Array.from({ length: 3 * 256 }, (_, i) => {
    const channel = i >> 8;
    return ((i & 255) / 255 - (mean[channel] as number)) / (standardDeviation[channel] as number);
  });
}

/** Writes square pixels as normalised float32 [size, size, 3] into `output` from `offset` on. */
export function normalizeInto(output: Float32Array, offset: number, pixels: Pixels, placement: Placement, table: Float32Array): void {
  const { width: size, data } = pixels;
  const { right, down, mirrored } = placement;
  let target = offset;
  for (let y = 0; y < size; y++) {
    const sourceY = y - down;
    for (let x = 0; x < size; x++) {
      const sourceX = mirrored ? size - 1 - (x - right) : x - right;
      const inside = sourceY >= 0 && sourceY < size && sourceX >= 0 && sourceX < size;
      const source = (sourceY * size + sourceX) * 3;
      for (let channel = 0; channel < 3; channel++) {
        output[target++] = table[channel * 256 + (inside ? (data[source + channel] as number) : 0)] as number;
      }
    }
  }
}
