/** `npm run test:sanitize`: the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer, in a build folder of their own. */
import { join } from 'node:path';
import { main, run, ScriptError, step } from './command.mjs';
import { withLock } from './lock.mjs';
import { installSystemPackages } from './system-packages.mjs';

const remedy = 'If the compiler or the libraries changed, delete the folder build/sanitize and run this again.';

const programs = ['kw_native_tests', ...(process.platform === 'linux' ? ['kw_cuda_kernel_tests'] : [])];

await main(async () => {
  await installSystemPackages();
  await withLock(async () => {
    await step('Configuring the sanitized build', 'sanitize-configure', remedy, 'cmake', ['--preset', 'sanitize']);
    await step('Building the sanitized tests', 'sanitize-build', remedy, 'cmake', [
      '--build',
      '--preset',
      'sanitize',
      '--target',
      ...programs,
    ]);
  });
  const options = { inherit: true, env: { UBSAN_OPTIONS: 'print_stacktrace=1', ASAN_OPTIONS: 'detect_stack_use_after_return=1' } };
  for (const program of programs) {
    const { code } = await run(join('build', 'sanitize', program), process.argv.slice(2), options);
    if (code !== 0) throw new ScriptError(`The sanitized ${program} ended with exit code ${code}; the report stands above.`);
  }
});
