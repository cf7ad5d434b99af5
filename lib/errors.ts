/** Every intentional error of this package. `code` is stable; the message says what was expected, what came, and what to do. */
export type ErrorCode =
  | 'ERR_KW_INVALID_ARGUMENT'
  | 'ERR_KW_SHAPE'
  | 'ERR_KW_ALLOCATION'
  | 'ERR_KW_CONFIG'
  | 'ERR_KW_UNKNOWN_NETWORK'
  | 'ERR_KW_DATA'
  | 'ERR_KW_CHECKPOINT'
  | 'ERR_KW_NATIVE_MISSING'
  | 'ERR_KW_CUDA_UNAVAILABLE'
  | 'ERR_KW_INVALID_PLAN'
  | 'ERR_KW_UNSUPPORTED'
  | 'ERR_KW_OUT_OF_MEMORY'
  | 'ERR_KW_NOT_BOUND'
  | 'ERR_KW_DISPOSED'
  | 'ERR_KW_INTERNAL';

export class KernelWarehouseError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KernelWarehouseError';
    this.code = code;
  }
}
