/**
 * Python wheels as a source of files: from a package index by pip where that is, else by https; of a wheel only what is asked for is unpacked.
 * Setup needs the headers before it has compiled any TypeScript, so the zip reader of lib/checkpoint/zip.ts, which reads `.pth` files, is not there yet.
 */
import { createHash } from 'node:crypto';
import { closeSync, createWriteStream, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32, inflateRawSync } from 'node:zlib';
import { run, ScriptError, tail } from './command.mjs';

const pip = ['-m', 'pip', '--disable-pip-version-check', '--retries', '1', '--timeout', '15'];

/**
 * Downloads the newest wheel of `name` with major version `major` for this machine.
 * @param {{ python?: string, index?: string }} [options] `index`: of PyPI's kind, for where there is no pip.
 * @returns {Promise<string>} Its path, in `folder`.
 * @throws {ScriptError} with what was tried.
 */
export async function downloadWheel(name, major, folder, { python = 'python3', index = 'https://pypi.org' } = {}) {
  mkdirSync(folder, { recursive: true });
  const hasPip = (await run(python, ['-m', 'pip', '--version'])).code === 0;
  if (!hasPip) return downloadFromIndex(name, major, folder, index);
  const { code, output } = await run(python, [
    ...pip,
    'download',
    '--no-deps',
    '--only-binary=:all:',
    '--dest',
    folder,
    `${name}==${major}.*`,
  ]);
  const prefix = `${name.replaceAll('-', '_')}-`;
  const file = readdirSync(folder).find((entry) => entry.startsWith(prefix) && entry.endsWith('.whl'));
  if (code !== 0 || !file) throw new ScriptError(`pip cannot download ${name} ${major}:\n${tail(output, 3)}`);
  return join(folder, file);
}

async function downloadFromIndex(name, major, folder, index) {
  const address = `${index}/pypi/${name}/json`;
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`status ${response.status}`);
    const wheel = chooseWheel((await response.json()).releases, major);
    if (!wheel) throw new Error(`it lists no wheel of version ${major} for linux-${process.arch}`);
    const path = join(folder, basename(wheel.filename));
    await downloadFile(wheel.url, path, wheel.digests.sha256);
    return path;
  } catch (error) {
    throw new ScriptError(`${address} gives no wheel (and python3 has no pip): ${error.cause?.message ?? error.message}`);
  }
}

function chooseWheel(releases, major) {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const parts = (version) => version.split('.').map(Number);
  const isFinal = (version) => parts(version).every(Number.isInteger) && parts(version)[0] === major;
  const isNewer = (a, b) => {
    const [left, right] = [parts(a), parts(b)];
    const place = left.findIndex((part, i) => part !== (right[i] ?? 0));
    return place === -1 ? right.length - left.length : (right[place] ?? 0) - left[place];
  };
  const isForThisMachine = ({ filename, yanked }) => !yanked && filename.endsWith(`_${machine}.whl`) && filename.includes('manylinux');
  for (const version of Object.keys(releases).filter(isFinal).sort(isNewer)) {
    const wheel = releases[version].find(isForThisMachine);
    if (wheel) return wheel;
  }
  return undefined;
}

/** Leaves no file behind when it fails. */
async function downloadFile(address, path, sha256) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: status ${response.status}`);
  const hash = createHash('sha256');
  const hashing = new Transform({
    transform(chunk, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  try {
    await pipeline(Readable.fromWeb(response.body), hashing, createWriteStream(path));
    const found = hash.digest('hex');
    if (found !== sha256) throw new Error(`${address} has SHA-256 ${found}, but the index says ${sha256}`);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/**
 * Unpacks the files of a wheel that lie in a folder named `include` into `folder`, without their path.
 * @returns {number} How many there were.
 * @throws {ScriptError} when the file is no zip, or a part of it is damaged.
 */
export function unpackHeaders(wheel, folder) {
  const file = openSync(wheel, 'r');
  const read = (offset, length) => {
    const bytes = Buffer.alloc(length);
    if (offset < 0 || readSync(file, bytes, 0, length, offset) !== length) throw new ScriptError(`${wheel} is cut off or no wheel`);
    return bytes;
  };
  try {
    const headers = listEntries(read, statSync(wheel).size, wheel).filter(({ name }) => /\/include\/[^/]+\.h(pp)?$/.test(name));
    mkdirSync(folder, { recursive: true });
    for (const { name, method, packed, checksum, offset } of headers) {
      // The local header repeats the name, and its extra field has a length of its own.
      const local = read(offset, 30);
      const bytes = read(offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28), packed);
      const text = method === 0 ? bytes : inflateRawSync(bytes);
      if (crc32(text) !== checksum) throw new ScriptError(`${wheel}: ${name} is damaged; download it again`);
      writeFileSync(join(folder, basename(name)), text);
    }
    return headers.length;
  } finally {
    closeSync(file);
  }
}

/** The zip's directory, which stands at its end; APPNOTE.TXT 4.3.12 and 4.3.16. */
function listEntries(read, size, wheel) {
  const length = Math.min(size, 65557);
  const end = read(size - length, length);
  const start = end.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (start < 0) throw new ScriptError(`${wheel} is cut off or no wheel`);
  const directory = read(end.readUInt32LE(start + 16), end.readUInt32LE(start + 12));
  const entries = [];
  for (let at = 0; at < directory.length; ) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field));
    entries.push({
      name: directory.toString('utf8', at + 46, at + 46 + nameLength),
      method: directory.readUInt16LE(at + 10),
      checksum: directory.readUInt32LE(at + 16),
      packed: directory.readUInt32LE(at + 20),
      offset: directory.readUInt32LE(at + 42),
    });
    at += 46 + nameLength + extraLength + commentLength;
  }
  return entries;
}
