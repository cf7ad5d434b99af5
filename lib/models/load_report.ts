/** How the tensors of a source fit the stored tensors of a model, name by name. */
import type { TensorSource } from '../checkpoint/checkpoint_file.js';
import { shown } from '../checkpoint/failure.js';
import type { TensorDeclaration } from '../graph/declaration.js';
import { nearestName } from '../validation/nearest_name.js';
import { isIgnored } from './ignored_tensors.js';

export interface WrongShape {
  readonly name: string;
  /** The model's shape, in PyTorch's order. */
  readonly expected: readonly number[];
  /** The source's. */
  readonly found: readonly number[];
}

export interface MissingTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** The most similar of the unexpected names of this shape, where one is similar. */
  readonly nearest?: string;
}

/**
 * Every name in the model is in `loaded`, `missing` or `wrongShape`; every name in the source is in `loaded`, `wrongShape`, `unexpected` or
 * `ignored`.
 */
export interface LoadReport {
  readonly loaded: readonly string[];
  readonly missing: readonly MissingTensor[];
  readonly wrongShape: readonly WrongShape[];
  /** In the source, but not in the model. */
  readonly unexpected: readonly string[];
  /** In the source, but useless to any model here: PyTorch's counters of batches, the optimizer's state of a training checkpoint. */
  readonly ignored: readonly string[];
}

export interface LoadOptions {
  /** Whether every tensor of the model must be in the source, and the other way round (the default). Shapes must agree in any case. */
  readonly strict?: boolean;
  /** Tensors that may have another shape in the source and then keep their values: the classifier, to train it for other classes. */
  readonly replaced?: Iterable<string>;
}

const SHOWN_NAMES = 5;
/** Comparing names takes time that grows with their number and length, and a file from elsewhere may have any. */
const COMPARED_NAMES = 2000;
const COMPARED_LENGTH = 200;
/** Names of tensors are long and often share half of their letters by chance. */
const CHANGED_SHARE = 1 / 4;

/** Compares names and shapes; nothing is read. */
export function compareTensors(declarations: Iterable<TensorDeclaration>, source: TensorSource): LoadReport {
  const loaded: string[] = [];
  const missing: MissingTensor[] = [];
  const wrongShape: WrongShape[] = [];
  const known = new Set<string>();
  for (const { name, shape } of declarations) {
    known.add(name);
    const found = source.has(name) ? source.entry(name).shape : undefined;
    if (!found) missing.push({ name, shape });
    else if (sameShape(shape, found)) loaded.push(name);
    else wrongShape.push({ name, expected: shape, found });
  }
  const others = source.names.filter((name) => !known.has(name));
  const unexpected = others.filter((name) => !isIgnored(name));
  return {
    loaded,
    missing: withNearest(missing, unexpected, source),
    wrongShape,
    unexpected,
    ignored: others.filter(isIgnored),
  };
}

/** Tensors with another shape or a less similar name belong to other layers. Each is suggested once. */
function withNearest(missing: readonly MissingTensor[], unexpected: readonly string[], source: TensorSource): readonly MissingTensor[] {
  const candidates = new Set(unexpected.filter(({ length }) => length <= COMPARED_LENGTH).slice(0, COMPARED_NAMES));
  return missing.map((tensor, index) => {
    if (index >= SHOWN_NAMES) return tensor;
    const alike = [...candidates].filter((name) => sameShape(source.entry(name).shape, tensor.shape));
    const nearest = nearestName(tensor.name, alike, CHANGED_SHARE);
    if (nearest === undefined) return tensor;
    candidates.delete(nearest);
    return { ...tensor, nearest };
  });
}

export function sameShape(a: readonly number[], b: readonly number[] | undefined): boolean {
  return b !== undefined && a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** What does not fit, in one line; undefined if everything does. */
export function describeMisfit({ missing, wrongShape, unexpected }: LoadReport): string | undefined {
  const parts = [
    listed(
      'missing',
      missing.map(
        ({ name, shape, nearest }) => `'${name}' [${shape.join(', ')}]${nearest === undefined ? '' : ` (the file has ${shown(nearest)})`}`,
      ),
    ),
    listed(
      'wrong shape',
      wrongShape.map(({ name, expected, found }) => `'${name}' is [${found.join(', ')}], expected [${expected.join(', ')}]`),
    ),
    listed('unexpected', unexpected.slice(0, SHOWN_NAMES).map(shown), unexpected.length),
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : parts.join('; ');
}

function listed(title: string, items: readonly string[], count = items.length): string | undefined {
  if (count === 0) return undefined;
  const rest = count > SHOWN_NAMES ? ` and ${count - SHOWN_NAMES} more` : '';
  return `${title} (${count}): ${items.slice(0, SHOWN_NAMES).join(', ')}${rest}`;
}
