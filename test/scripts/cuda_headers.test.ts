/** Where the headers of NVIDIA's libraries come from: this machine, a wheel by pip, a wheel by https. */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { makeFolder } from '../cli/program.js';

type Headers = Readonly<Record<string, string | undefined>>;

interface HeaderScript {
  findCudaHeaders(options: { env: Headers; folders: readonly string[]; fetchedFolder: string }): Promise<Headers>;
  fetchCudaHeaders(
    found: Headers,
    options: {
      fetchedFolder: string;
      download: (name: string, major: number, folder: string) => Promise<string>;
      log: (text: string) => void;
    },
  ): Promise<Headers>;
}

interface WheelScript {
  downloadWheel(name: string, major: number, folder: string, options: { python: string; index?: string }): Promise<string>;
  unpackHeaders(wheel: string, folder: string): number;
}

const script = async <T>(name: string): Promise<T> => (await import(new URL(`../../../scripts/${name}`, import.meta.url).href)) as T;
const { findCudaHeaders, fetchCudaHeaders } = await script<HeaderScript>('cuda-headers.mjs');
const { downloadWheel, unpackHeaders } = await script<WheelScript>('wheel.mjs');

const cudnn = { 'cudnn.h': '#include "cudnn_version.h"\n', 'cudnn_version.h': '#define CUDNN_MAJOR 9\n' };
const cublas = { 'cublasLt.h': '#include "cublas_api.h"\n', 'cublas_api.h': '#define CUBLAS_VER_MAJOR 13\n' };

function temporary(t: ExecutionContext): string {
  const { path, remove } = makeFolder();
  t.teardown(remove);
  return path;
}

function writeFiles(folder: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

/** A zip as pip makes it; the odd entries are stored, the even ones compressed. */
function zip(files: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [i, [name, text]] of Object.entries(files).entries()) {
    const method = i % 2 === 0 ? 8 : 0;
    const packed = method === 8 ? deflateRawSync(text) : Buffer.from(text);
    const extra = Buffer.from('local');
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    local.writeUInt16LE(extra.length, 28);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(crc32(text), 16);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    directory.push(entry, Buffer.from(name));
    parts.push(local, Buffer.from(name), extra, packed);
    offset += local.length + name.length + extra.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt32LE(Buffer.concat(directory).length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}

const wheelFiles = {
  'nvidia/cudnn/include/cudnn.h': cudnn['cudnn.h'],
  'nvidia/cudnn/include/cudnn_version.h': cudnn['cudnn_version.h'],
  'nvidia/cudnn/lib/libcudnn.so.9': 'a library',
  'nvidia_cudnn_cu13-9.1.dist-info/METADATA': 'include/other.txt',
};

test('headers on this machine: only those of the right version count, the variables come first', async (t) => {
  const folder = temporary(t);
  const fetchedFolder = join(folder, 'fetched');
  const old = writeFiles(join(folder, 'old'), { ...cudnn, 'cudnn_version.h': '#define CUDNN_MAJOR 8\n' });
  const half = writeFiles(join(folder, 'half'), { 'cublasLt.h': '' });
  const right = writeFiles(join(folder, 'right'), { ...cudnn, ...cublas });
  const find = (env: Headers, folders: readonly string[]) => findCudaHeaders({ env, folders, fetchedFolder });
  t.deepEqual(await find({}, [old, half]), { KW_CUDNN_INCLUDE: undefined, KW_CUBLAS_INCLUDE: undefined });
  t.deepEqual(await find({}, [old, half, right]), { KW_CUDNN_INCLUDE: right, KW_CUBLAS_INCLUDE: right });
  const own = writeFiles(join(folder, 'own'), cudnn);
  t.deepEqual(await find({ KW_CUDNN_INCLUDE: own, KW_CUBLAS_INCLUDE: 'none' }, [right]), {
    KW_CUDNN_INCLUDE: own,
    KW_CUBLAS_INCLUDE: 'none',
  });
  await t.throwsAsync(find({ KW_CUDNN_INCLUDE: old }, [right]), {
    message: `KW_CUDNN_INCLUDE=${old} must be a folder with the headers of cuDNN 9; it has cuDNN 8.`,
  });
  await t.throwsAsync(find({ KW_CUBLAS_INCLUDE: half }, [right]), {
    message: `KW_CUBLAS_INCLUDE=${half} must be a folder with the headers of cuBLASLt 13; it has no cublasLt.h and cublas_api.h.`,
  });
});

test('what is missing is fetched from a wheel, of which only the headers stay; what cannot be had is left out with a message', async (t) => {
  const fetchedFolder = temporary(t);
  const lines: string[] = [];
  const download = async (name: string, _major: number, folder: string): Promise<string> => {
    mkdirSync(folder, { recursive: true });
    const path = join(folder, `${name}.whl`);
    writeFileSync(path, name === 'nvidia-cublas' ? zip({ 'nvidia/cu13/lib/x.so': '' }) : zip(wheelFiles));
    return path;
  };
  const missing = { KW_CUDNN_INCLUDE: undefined, KW_CUBLAS_INCLUDE: undefined };
  const headers = await fetchCudaHeaders(missing, { fetchedFolder, download, log: (text) => lines.push(text) });
  const folder = join(fetchedFolder, 'nvidia-cudnn-cu13');
  t.deepEqual(headers, { KW_CUDNN_INCLUDE: folder, KW_CUBLAS_INCLUDE: undefined });
  t.deepEqual(readdirSync(folder).sort(), ['cudnn.h', 'cudnn_version.h']);
  t.is(readFileSync(join(folder, 'cudnn_version.h'), 'utf8'), cudnn['cudnn_version.h']);
  t.deepEqual(readdirSync(fetchedFolder), ['nvidia-cudnn-cu13']);
  t.is(
    lines[2],
    'The CUDA plug-in is built without cuBLASLt: its headers are not on this machine, and nvidia-cublas has no headers of version 13\n' +
      'To use it, install cuBLASLt 13 or name the folder of cublasLt.h in KW_CUBLAS_INCLUDE, and build again.',
  );
  t.deepEqual(await findCudaHeaders({ env: {}, folders: [], fetchedFolder }), headers);
  const chosen = { KW_CUDNN_INCLUDE: '/own', KW_CUBLAS_INCLUDE: 'none' };
  t.deepEqual(await fetchCudaHeaders(chosen, { fetchedFolder, download: () => t.fail() as never, log: () => t.fail() }), chosen);
});

test('a wheel that is damaged, cut off or no wheel is refused', (t) => {
  const folder = temporary(t);
  const path = join(folder, 'a.whl');
  const bytes = zip(wheelFiles);
  const refusal = (contents: Uint8Array): string | undefined => {
    writeFileSync(path, contents);
    return t.throws(() => unpackHeaders(path, join(folder, 'unpacked')))?.message;
  };
  t.is(refusal(Buffer.from('hello')), `${path} is cut off or no wheel`);
  t.is(refusal(bytes.subarray(100)), `${path} is cut off or no wheel`);
  const damaged = Buffer.from(bytes);
  damaged.write('8', damaged.indexOf('CUDNN_MAJOR 9') + 12);
  t.is(refusal(damaged), `${path}: nvidia/cudnn/include/cudnn_version.h is damaged; download it again`);
});

test('pip downloads the wheel where it is there', async (t) => {
  const folder = temporary(t);
  const python = join(folder, 'python3');
  const write = (body: string) => {
    writeFileSync(python, `#!/bin/sh\n${body}\n`);
    chmodSync(python, 0o755);
  };
  write(`[ "$3" = --version ] && exit 0\necho "$@" > ${folder}/arguments\ntouch ${folder}/wheels/nvidia_cublas-13.2-any.whl`);
  t.is(await downloadWheel('nvidia-cublas', 13, join(folder, 'wheels'), { python }), join(folder, 'wheels', 'nvidia_cublas-13.2-any.whl'));
  t.regex(readFileSync(join(folder, 'arguments'), 'utf8'), / download --no-deps --only-binary=:all: --dest \S+ nvidia-cublas==13\.\*$/m);
  write('[ "$3" = --version ] && exit 0\necho "no network" >&2; exit 1');
  await t.throwsAsync(downloadWheel('nvidia-cublas', 13, join(folder, 'wheels'), { python }), {
    message: /^pip cannot download nvidia-cublas 13:\nno network$/,
  });
});

test('without pip the index gives the newest wheel of that major version, and its hash is checked', async (t) => {
  const folder = temporary(t);
  const wheel = zip(wheelFiles);
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  let sha256 = createHash('sha256').update(wheel).digest('hex');
  const server = createServer(({ url }, response) => {
    const entry = (version: string, platform: string) => ({
      filename: `nvidia_cudnn_cu13-${version}-py3-none-${platform}.whl`,
      url: `${origin}/${version}/${platform}`,
      digests: { sha256 },
    });
    const linux = `manylinux_2_27_${machine}`;
    const releases = {
      '9.10.1': [entry('9.10.1', 'win_amd64'), entry('9.10.1', linux)],
      '9.9.2': [entry('9.9.2', linux)],
      '9.11.0': [{ ...entry('9.11.0', linux), yanked: true }],
      '10.0.0': [entry('10.0.0', linux)],
      '9.12.0rc1': [entry('9.12.0rc1', linux)],
    };
    if (url === '/pypi/nvidia-cudnn-cu13/json') response.end(JSON.stringify({ releases }));
    else if (url === `/9.10.1/${linux}`) response.end(wheel);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const options = { python: join(folder, 'no-python'), index: origin };
  const path = await downloadWheel('nvidia-cudnn-cu13', 9, folder, options);
  t.deepEqual(readFileSync(path), wheel);
  t.is(unpackHeaders(path, join(folder, 'unpacked')), 2);

  sha256 = sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
  await t.throwsAsync(downloadWheel('nvidia-cudnn-cu13', 9, join(folder, 'again'), options), { message: /but the index says/ });
  t.deepEqual(readdirSync(join(folder, 'again')), []);
  const none = { message: /json gives no wheel \(and python3 has no pip\): it lists no wheel of version 11 for linux-/ };
  await t.throwsAsync(downloadWheel('nvidia-cudnn-cu13', 11, folder, options), none);
  await t.throwsAsync(downloadWheel('nvidia-other', 9, folder, options), { message: /status 404$/ });
  await t.throwsAsync(downloadWheel('nvidia-other', 9, folder, { ...options, index: 'http://127.0.0.1:1' }), {
    message: /and python3 has no pip\): .+/,
  });
});
