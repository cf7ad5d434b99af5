/** The hidden width of the two linear layers that gate channels (SE, CBAM). */
import { KernelWarehouseError } from '../errors.js';

/**
 * floor(channels * reduction)
 * @param name the layer's, for messages
 * @throws ERR_KW_UNSUPPORTED if that is 0.
 */
export function squeezedWidth(name: string, channelCount: number, reduction: number): number {
  const width = Math.floor(channelCount * reduction);
  if (width >= 1) return width;
  throw new KernelWarehouseError(
    'ERR_KW_UNSUPPORTED',
    `${name}: a reduction of ${reduction} leaves no hidden value for ${channelCount} channels; expected at least ${Math.ceil(1 / reduction)} ` +
      'channels, or a larger reduction',
  );
}
