/** All methods, by their names in networks. `lib/layers` computes them; the files here say which layers they change. */
import { adjustingMethods } from './adjusting_methods.js';
import { kernelWarehouse } from './kernel_warehouse.js';
import type { Method } from './method.js';
import { mixingMethods } from './mixing_methods.js';
import { recalibratingMethods } from './recalibrating_methods.js';

export const methods: readonly Method[] = [kernelWarehouse, ...mixingMethods, ...adjustingMethods, ...recalibratingMethods];
