/** The formula that stands for the golden cases' tensors: values from a key and an interval, so that no weights are stored. */

/** FNV-1a, 32 bits, of the UTF-8 bytes of `key`. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** `count` float32 values in [lo, hi], in PyTorch's row-major order. */
export function fillFrom(key: string, lo: number, hi: number, count: number): Float32Array {
  const values = new Float32Array(count);
  const seed = hashOf(key);
  for (let i = 0; i < count; i++) {
    let x = (seed + Math.imul(i, 0x9e3779b9)) | 0;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    x ^= x >>> 15;
    values[i] = lo + ((hi - lo) * (x >>> 0)) / 2 ** 32;
  }
  return values;
}

/** A batch of images [N, 3, size, size]: noise plus one colour for each sample and channel, added in float32. */
export function imageBatch(key: string, batch: number, size: number): Float32Array {
  const pixels = size * size;
  const images = fillFrom(key, -0.5, 0.5, batch * 3 * pixels);
  const colours = fillFrom(`${key}/colour`, -2, 2, batch * 3);
  for (let i = 0; i < images.length; i++) images[i]! += colours[Math.floor(i / pixels)]!;
  return images;
}
