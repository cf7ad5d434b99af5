import test from 'ava';
import { type CudaLibrary, type CudaReport, missingLibraries } from '../../lib/runtime/cuda_report.js';

const there = (name: string): CudaLibrary => ({
  name,
  soname: '',
  path: `/lib/${name}`,
  version: '1',
  isUsed: true,
  problem: '',
  attempts: [{ origin: 'the dynamic linker', path: name, problem: '' }],
});
const missed = (name: string): CudaLibrary => ({ ...there(name), path: '', problem: `${name} was not found. Install it.` });
const forbidden = (name: string): CudaLibrary => ({ ...missed(name), attempts: [] });

function missing(cudnn: CudaLibrary, cublasLt: CudaLibrary, nvrtc: CudaLibrary): string {
  const report: CudaReport = { driver: { ...there('driver'), release: '' }, devices: [], problem: '', libraries: [cudnn, cublasLt, nvrtc] };
  return missingLibraries(report);
}

test('libraries that are missed are named with their remedies, and others are not', (t) => {
  t.is(missing(there('cuDNN'), there('cuBLASLt'), there('NVRTC')), '');
  t.is(
    missing(missed('cuDNN'), missed('cuBLASLt'), missed('NVRTC')),
    'cuDNN was not found. Install it. cuBLASLt was not found. Install it.',
  );
  t.is(missing(there('cuDNN'), there('cuBLASLt'), missed('NVRTC')), 'NVRTC was not found. Install it.');
  t.is(missing(forbidden('cuDNN'), forbidden('cuBLASLt'), missed('NVRTC')), '');
  const unused = { ...missed('cuDNN'), isUsed: false };
  t.regex(missing(unused, there('cuBLASLt'), there('NVRTC')), /^cuDNN is not used: its headers were missing/);
});
