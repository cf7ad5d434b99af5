/** What the shapes in a checkpoint tell about its network. */
import type { TensorSource } from '../checkpoint/checkpoint_file.js';
import type { Stem } from '../networks/network.js';
import { sameShape } from './load_report.js';
import { Model } from './model.js';
import type { ModelOptions } from './model_options.js';
import { findNetwork } from './registry.js';

/** Two numbers of classes, to see which tensors depend on them. Both have the divisors that a mixed classifier needs. */
const [SOME_CLASSES, OTHER_CLASSES] = [1000, 500] as const;

function shapesOf(options: ModelOptions): ReadonlyMap<string, readonly number[]> {
  return new Map(new Model(options).declarations.map(({ name, shape }) => [name, shape]));
}

/** Names of the tensors whose shapes depend on the number of classes: the classifier. */
export function classifierNames(options: ModelOptions, classes: number, otherClasses: number): readonly string[] {
  const others = shapesOf({ ...options, classes: otherClasses });
  return [...shapesOf({ ...options, classes })].filter(([name, shape]) => !sameShape(shape, others.get(name))).map(([name]) => name);
}

/** The number of classes of a checkpoint: the one that fits most tensors of its classifier; undefined if none fits. */
function classesOf(options: ModelOptions, source: TensorSource): number | undefined {
  const others = shapesOf({ ...options, classes: OTHER_CLASSES });
  const classifier = [...shapesOf({ ...options, classes: SOME_CLASSES })].flatMap(([name, shape]) => {
    const other = others.get(name);
    const axis = shape.findIndex((size, index) => size === SOME_CLASSES && other?.[index] === OTHER_CLASSES);
    return axis < 0 || !source.has(name) ? [] : [{ axis, expected: shape, found: source.entry(name).shape }];
  });
  const fitting = (count: number) => classifier.filter(({ axis, expected, found }) => sameShape(expected.with(axis, count), found)).length;
  // A tensor of another shape, such as a transposed weight, must not outvote one that fits.
  return classifier
    .map(({ axis, found }) => found[axis])
    .filter((count) => count !== undefined && count > 0)
    .reduce<number | undefined>((best, count = 0) => (best === undefined || fitting(count) > fitting(best) ? count : best), undefined);
}

/** The stem whose shapes agree with most of the checkpoint's; `large` if they do not tell. */
function stemOf(options: ModelOptions, source: TensorSource): ModelOptions['stem'] {
  const { stems = ['large'] } = findNetwork(options.network).network;
  const fitting = (stem: (typeof stems)[number]) => new Model({ ...options, stem }).compare(source).loaded.length;
  const counts = stems.map((stem) => ({ stem, count: fitting(stem) }));
  const most = Math.max(...counts.map(({ count }) => count));
  const best = counts.filter(({ count }) => count === most).map(({ stem }) => stem);
  return best.includes('large') ? 'large' : best[0];
}

/** Stems other than that of `options` with the same names and shapes: the weights do not tell for which of these they were trained. */
export function stemsAlike(options: ModelOptions): readonly Stem[] {
  const { network, options: resolved } = new Model(options);
  const own = shapesOf(options);
  const { stems = [] } = findNetwork(network).network;
  return stems.filter(
    (stem) => stem !== resolved.stem && [...shapesOf({ ...options, stem })].every(([name, shape]) => sameShape(shape, own.get(name))),
  );
}

/** The image size of the position embeddings in a checkpoint; undefined if its shapes do not tell. */
function imageSizeOf({ network }: ModelOptions, source: TensorSource): number | undefined {
  return findNetwork(network).network.imageSizeOf?.((name) => (source.has(name) ? source.entry(name).shape : undefined));
}

/** `options`, completed from the shapes in a checkpoint: image size of position embeddings, stem, number of classes. */
export function fitOptions(options: ModelOptions, source: TensorSource): ModelOptions {
  const imageSize = options.imageSize ?? imageSizeOf(options, source);
  const sized = { ...options, ...(imageSize === undefined ? {} : { imageSize }) };
  const stem = options.stem ?? stemOf(sized, source);
  const withStem = { ...sized, ...(stem === undefined ? {} : { stem }) };
  const classes = options.classes ?? classesOf(withStem, source);
  return { ...withStem, ...(classes === undefined ? {} : { classes }) };
}
