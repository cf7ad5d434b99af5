/** Runs the built command as a user does, and makes small folders of images for it. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const main = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Another copy of the program. */
  readonly program?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Sent one after the other as soon as standard output, or the other stream where that is said, matches `when`. */
  readonly signals?: { readonly when: RegExp; readonly names: readonly NodeJS.Signals[]; readonly stream?: 'stderr' };
}

export function kernelWarehouse(
  argumentsOfVerb: readonly string[],
  { env = {}, signals, program = main }: RunOptions = {},
): Promise<Outcome> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('KW_')));
  const child = spawn(process.execPath, [program, ...argumentsOfVerb], {
    env: { ...inherited, KW_DEVICE: 'cpu', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  let sent = 0;
  const sendNext = (): void => {
    const name = signals?.names[sent++];
    if (name) child.kill(name);
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    if (sent === 0 && signals?.stream === undefined && signals?.when.test(stdout)) sendNext();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (sent === 0 && signals?.stream === 'stderr' && signals.when.test(stderr)) return sendNext();
    // The program answers a signal with a line; only then the next one is another signal and not the same one again.
    if (sent > 0 && /^SIG/m.test(text)) sendNext();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

export function makeFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'kernel-warehouse-cli-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Images of 8 x 8 pixels in FOLDER/train/<class>/ and, where `val` is given, FOLDER/val/<class>/; each class has a brightness of its own. */
export async function makeImages(folder: string, counts: { readonly train: number; readonly val?: number }): Promise<void> {
  const size = 8;
  for (const [part, count] of Object.entries(counts)) {
    for (const [target, name] of ['dark', 'light'].entries()) {
      mkdirSync(join(folder, part, name), { recursive: true });
      for (let image = 0; image < count; image++) {
        const data = Buffer.from(Array.from({ length: size * size * 3 }, (_, i) => target * 120 + ((i * 37 + image * 53) % 100)));
        const encoder = sharp(data, { raw: { width: size, height: size, channels: 3 } });
        await encoder.png().toFile(join(folder, part, name, `${image}.png`));
      }
    }
  }
}
