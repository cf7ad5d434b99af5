/** A list of every option of every method. */
import type { OptionDeclaration } from '../validation/option.js';
import { warehouseOptions } from '../warehouse/index.js';
import { kernelWarehouse } from './kernel_warehouse.js';
import { methods } from './methods.js';
import { type MethodOptions, methodOptions } from './options.js';

export interface ListedOption {
  /** Its name in programs: in `ModelOptions.warehouse` for KernelWarehouse, in `ModelOptions.method` for the others. */
  readonly option: string;
  /** Its name in configuration files; absent if it has none. */
  readonly field?: string;
  /** The methods that take it, each with its default. */
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly help: string;
}

function listed(option: string, { field, help }: OptionDeclaration, defaults: ListedOption['defaults']): ListedOption {
  return { option, ...(field === undefined ? {} : { field }), defaults, help };
}

/** KernelWarehouse's first. */
export function listOptions(): readonly ListedOption[] {
  const own = Object.entries(warehouseOptions).map(([option, declaration]) =>
    listed(option, declaration, { [kernelWarehouse.name]: declaration.default }),
  );
  const others = (Object.keys(methodOptions) as (keyof MethodOptions)[]).map((option) => {
    const takers = methods.filter(({ defaults }) => Object.hasOwn(defaults, option));
    return listed(option, methodOptions[option], Object.fromEntries(takers.map(({ name, defaults }) => [name, defaults[option]])));
  });
  return [...own, ...others];
}
