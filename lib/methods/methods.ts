/** All methods, by the names that networks have in them. What they compute is in `lib/layers`; the files here say where they do it. */
import { adjustingMethods } from './adjusting_methods.js';
import { kernelWarehouse } from './kernel_warehouse.js';
import type { Method } from './method.js';
import { mixingMethods } from './mixing_methods.js';
import { recalibratingMethods } from './recalibrating_methods.js';

export const methods: readonly Method[] = [kernelWarehouse, ...mixingMethods, ...adjustingMethods, ...recalibratingMethods];
