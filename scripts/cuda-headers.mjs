/**
 * The headers of cuDNN 9 and cuBLASLt 13, whose types the CUDA plug-in is compiled with; it links neither library. Looked for on this machine, else
 * taken from NVIDIA's wheels. `node scripts/cuda-headers.mjs` says where they are, and fetches what is missing.
 */
import { existsSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main, root, run, ScriptError } from './command.mjs';
import { downloadWheel, unpackHeaders } from './wheel.mjs';

export const headerLibraries = [
  {
    name: 'cuDNN',
    variable: 'KW_CUDNN_INCLUDE',
    header: 'cudnn.h',
    versionHeader: 'cudnn_version.h',
    versionMacro: 'CUDNN_MAJOR',
    major: 9,
    wheel: 'nvidia-cudnn-cu13',
  },
  {
    name: 'cuBLASLt',
    variable: 'KW_CUBLAS_INCLUDE',
    header: 'cublasLt.h',
    versionHeader: 'cublas_api.h',
    versionMacro: 'CUBLAS_VER_MAJOR',
    major: 13,
    wheel: 'nvidia-cublas',
  },
];

const fetched = join(root, 'build', 'cuda-headers');
const target = process.arch === 'arm64' ? 'sbsa-linux' : 'x86_64-linux';

/** The path of nvcc: of CUDA_HOME or CUDA_PATH, on PATH, or in /usr/local/cuda; undefined where there is none. */
export function findNvcc(env = process.env) {
  const homes = [env.CUDA_HOME, env.CUDA_PATH].filter(Boolean).map((home) => join(home, 'bin'));
  const path = (env.PATH ?? '').split(delimiter).filter(Boolean);
  return [...homes, ...path, '/usr/local/cuda/bin'].map((folder) => join(folder, 'nvcc')).find((candidate) => existsSync(candidate));
}

function subfolders(folder, pattern) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));
}

async function listIncludeFolders(env) {
  const nvcc = findNvcc(env);
  const toolkits = [env.CUDA_HOME, env.CUDA_PATH, nvcc && dirname(dirname(realpathSync(nvcc)))].filter(Boolean);
  const roots = [...toolkits, ...subfolders('/usr/local', /^cuda-13/), '/usr/local/cuda', env.CONDA_PREFIX].filter(Boolean);
  // Every place from which this Python imports: its environment's, the user's and the system's.
  const python = await run('python3', ['-c', 'import sys; print(chr(10).join(sys.path))'], { env });
  const packages = python.code === 0 ? python.output.split('\n').filter(Boolean) : [];
  return [
    ...roots.flatMap((folder) => [join(folder, 'include'), join(folder, 'targets', target, 'include')]),
    '/usr/include',
    ...subfolders('/usr/include', /-linux-gnu$/),
    ...packages.flatMap((folder) => subfolders(join(folder, 'nvidia'), /./)).map((folder) => join(folder, 'include')),
  ];
}

/** The major version of the library's headers in `folder`; undefined where they are not, or not all. */
export function headerVersion({ header, versionHeader, versionMacro }, folder) {
  if (![header, versionHeader].every((name) => existsSync(join(folder, name)))) return undefined;
  const text = readFileSync(join(folder, versionHeader), 'utf8');
  const major = text.match(new RegExp(`^\\s*#\\s*define\\s+${versionMacro}\\s+(\\d+)`, 'm'))?.[1];
  return major === undefined ? undefined : Number(major);
}

/**
 * Looks for the headers on this machine: in the folders that KW_CUDNN_INCLUDE and KW_CUBLAS_INCLUDE name ("none": build without), in what was fetched
 * before, in toolkits, the system, conda, and Python's packages.
 * @returns {Promise<Record<string, string | undefined>>} By variable, the folder, 'none', or undefined.
 * @throws {ScriptError} when a variable names a folder without the right headers.
 */
export async function findCudaHeaders({ env = process.env, folders, fetchedFolder = fetched } = {}) {
  const candidates = folders ?? (await listIncludeFolders(env));
  const find = (library) => {
    const chosen = env[library.variable];
    if (chosen === 'none') return chosen;
    if (chosen && headerVersion(library, chosen) === library.major) return chosen;
    if (chosen) {
      const found = headerVersion(library, chosen);
      const what = found === undefined ? `no ${library.header} and ${library.versionHeader}` : `${library.name} ${found}`;
      throw new ScriptError(
        `${library.variable}=${chosen} must be a folder with the headers of ${library.name} ${library.major}; it has ${what}.`,
      );
    }
    return [join(fetchedFolder, library.wheel), ...candidates].find((folder) => headerVersion(library, folder) === library.major);
  };
  return Object.fromEntries(headerLibraries.map((library) => [library.variable, find(library)]));
}

/**
 * Fetches from NVIDIA's wheels the headers that `found` lacks. Where that fails, says so and leaves them out: the plug-in is then built without that
 * library, and its own kernels do the work.
 */
export async function fetchCudaHeaders(found, { fetchedFolder = fetched, download = downloadWheel, log = console.log } = {}) {
  const complete = { ...found };
  for (const library of headerLibraries.filter(({ variable }) => found[variable] === undefined)) {
    const folder = join(fetchedFolder, library.wheel);
    const downloads = join(fetchedFolder, 'download');
    log(
      `Fetching the headers of ${library.name} from NVIDIA's wheel ${library.wheel} (half a gigabyte, of which the headers are kept) ...`,
    );
    try {
      unpackHeaders(await download(library.wheel, library.major, downloads), folder);
      if (headerVersion(library, folder) !== library.major)
        throw new ScriptError(`${library.wheel} has no headers of version ${library.major}`);
      complete[library.variable] = folder;
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      rmSync(folder, { recursive: true, force: true });
      log(
        `The CUDA plug-in is built without ${library.name}: its headers are not on this machine, and ${error.message}\n` +
          `To use it, install ${library.name} ${library.major} or name the folder of ${library.header} in ${library.variable}, and build again.`,
      );
    } finally {
      rmSync(downloads, { recursive: true, force: true });
    }
  }
  return complete;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const headers = await fetchCudaHeaders(await findCudaHeaders());
    for (const { name, variable } of headerLibraries) console.log(`${name}: ${headers[variable] ?? 'missing'}`);
  });
}
