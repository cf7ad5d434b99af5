/** Activations of single elements; relu stands in elementwise.ts. */
import type { Arguments } from './operation.js';
import { type Tensor, tensorOf } from './tensor.js';

function eachElement(x: Tensor, f: (value: number, position: number) => number): Tensor[] {
  return [tensorOf(x.shape, x.data.map(f))];
}

export function relu6(args: Arguments): Tensor[] {
  return eachElement(args.input(0), (value) => Math.min(Math.max(value, 0), 6));
}

export function relu6Backward(args: Arguments): Tensor[] {
  const y = args.input(1).data;
  return eachElement(args.input(0), (value, i) => (y[i]! > 0 && y[i]! < 6 ? value : 0));
}

export function sigmoid(args: Arguments): Tensor[] {
  return eachElement(args.input(0), (value) => 1 / (1 + Math.exp(-value)));
}

export function sigmoidBackward(args: Arguments): Tensor[] {
  const y = args.input(1).data;
  return eachElement(args.input(0), (value, i) => value * y[i]! * (1 - y[i]!));
}

/** erf by 2/√π exp(-x²) Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!: all terms have one sign, so nothing cancels. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x); // but for 2e-17
  let [term, sum] = [x, x];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** The standard normal distribution function. */
function cumulative(x: number): number {
  return 0.5 * (1 + erf(x / Math.SQRT2));
}

export function gelu(args: Arguments): Tensor[] {
  return eachElement(args.input(0), (value) => value * cumulative(value));
}

export function geluBackward(args: Arguments): Tensor[] {
  const x = args.input(1).data;
  return eachElement(args.input(0), (value, i) => {
    const density = Math.exp(-0.5 * x[i]! ** 2) / Math.sqrt(2 * Math.PI);
    return value * (cumulative(x[i]!) + x[i]! * density);
  });
}
