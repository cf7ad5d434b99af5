/** A machine that no figure depends on. */
import type { MachineFacts } from '../../lib/bench/report.js';

export const facts: MachineFacts = {
  machine: {
    processor: 'Some <fast> & good processor',
    processors: 4,
    instructions: ['avx2'],
    memoryBytes: 2 ** 34,
    system: 'linux x64 6.1',
    device: 'cpu',
    deviceDescription: 'Some processor',
    tf32: false,
    threads: 2,
    physicalCores: 2,
  },
  versions: { kernelWarehouse: '0.0.0', node: 'v20', oneDnn: '/usr/lib/libdnnl.so.2.6' },
  command: 'kernel-warehouse bench',
  date: '2026-01-01T00:00:00.000Z',
};
