/**
 * Our side of a comparison with PyTorch: prepares and runs networks as the coordinator (peers.mjs) asks. One JSON object a line on standard input, one
 * a line on standard output for each; peers.py is the other side and speaks the same:
 *   {"do": "prepare", "name", "network", "precision", "mode", "batch", "imageSize"} -> {"bytes"}: of the device, as planned
 *   {"do": "run", "name", "runs", "wait"} -> {"seconds"}: of all runs, by the wall clock; "wait": "end" queues them and waits once, "each" after each
 *   {"do": "facts"} -> versions; {"do": "quit"}
 * What fails answers {"error"} and leaves the process usable.
 */
import { createInterface } from 'node:readline';
import { networkContestant } from '../../dist/lib/bench/contestant.js';
import { selectModel } from '../../dist/lib/models/select.js';
import { Device } from '../../dist/lib/runtime/device.js';
import { packageVersion } from '../../dist/lib/runtime/machine.js';

const deviceName = process.argv[2] ?? 'cuda';
let device;
const contestants = new Map();

const actions = {
  facts: () => ({ version: packageVersion(), node: process.version, device: openDevice().description }),
  prepare: async ({ name, network, precision, mode, batch, imageSize }) => {
    const contestant = await networkContestant(openDevice(), {
      name,
      model: selectModel(network).model,
      precision,
      mode,
      batch,
      imageSize,
    });
    contestants.set(name, contestant);
    return { bytes: contestant.bytes };
  },
  run: async ({ name, runs, wait }) => {
    const contestant = contestants.get(name);
    const before = performance.now();
    if (wait === 'each') for (let run = 0; run < runs; run++) await contestant.run();
    else await Promise.all(Array.from({ length: runs }, () => contestant.run()));
    return { seconds: (performance.now() - before) / 1000 };
  },
};

function openDevice() {
  device ??= Device.open(deviceName);
  return device;
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.do === 'quit') break;
  const answer = await Promise.resolve()
    .then(() => actions[request.do](request))
    .catch((error) => ({ error: error.message }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
