// Each test file runs in its own process, so a crash in native code takes one file down and not the run.
export default {
  files: ['dist/test/**/*.test.js'],
  workerThreads: false,
  concurrency: 2,
  timeout: '5m',
  // 'auto' is the CPU: a GPU is tested where a test asks for it.
  environmentVariables: { KW_DEVICE: 'cpu' },
};
