/** layer-*: several KernelWarehouse layers that share one warehouse, at several temperatures, in training and in evaluation mode. */

import { allocationOptions, parseConfig } from '../../lib/configurations/configuration.js';
import { gradients } from '../../lib/graph/autodiff.js';
import { physicalShape } from '../../lib/graph/declaration.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { assign, output } from '../../lib/graph/ops/copy.js';
import { fuseMixing } from '../../lib/graph/passes/fuse_mixing.js';
import { kernelWarehouseConvolution } from '../../lib/layers/kernel_warehouse.js';
import { type ConvolutionSpec, convolutionSpec, type LayerContext, layerShape, newContext } from '../../lib/layers/layer.js';
import { type Allocation, allocate } from '../../lib/warehouse/index.js';
import { elementCount } from '../reference/tensor.js';
import { fillFrom } from './fill.js';
import type { GoldenLayer, LayerFile, LayerResult } from './format.js';
import { buildOrSkip, NotRunnable } from './not_runnable.js';
import { type Activation, type Machine, readActivation, readLogical, type Session, writeActivation } from './session.js';
import { checkStoredTensors, declarationOf, fillStoredTensors } from './stored_tensors.js';
import { type Figure, l2 } from './tolerance.js';

const kLayerFields = ['in', 'out', 'kernel', 'stride', 'padding', 'dilation', 'groups', 'bias', 'type', 'input'];

const kKinds: readonly string[] = ['conv1d', 'conv2d', 'conv3d', 'linear'];

type Size = number | readonly number[];

/** As the authors' code reads sizes: a list of one stands for every dimension. */
function sizes(fields: { readonly [field: string]: Size | undefined }): { readonly [field: string]: Size } {
  const given = Object.entries(fields).filter((entry): entry is [string, Size] => entry[1] !== undefined);
  return Object.fromEntries(given.map(([field, size]) => [field, typeof size !== 'number' && size.length === 1 ? size[0]! : size]));
}

function specOf(layer: GoldenLayer, index: number): ConvolutionSpec {
  const name = `layers.${index}`;
  const unknown = Object.keys(layer).filter((field) => !kLayerFields.includes(field));
  if (unknown.length > 0) throw new NotRunnable(`${name}: unknown fields ${unknown.join(', ')}`);
  const { type = 'conv2d', kernel, stride, padding, dilation } = layer;
  if (!kKinds.includes(type)) throw new NotRunnable(`${name}: no layers of type '${type}'`);
  return buildOrSkip(() =>
    convolutionSpec({
      name,
      kind: type as ConvolutionSpec['kind'],
      inChannels: layer.in,
      outChannels: layer.out,
      ...sizes({ kernel, stride, padding, dilation }),
      groups: layer.groups ?? 1,
      bias: layer.bias ?? false,
    }),
  );
}

/** A layer's input or output: N,C,sizes for convolutions, N,tokens,C for linear layers. */
function activationOf({ kind }: ConvolutionSpec, shape: readonly number[]): Activation {
  return kind === 'linear' ? { shape } : { shape, channelAxis: 1 };
}

/** The activation that is stored with this shape. */
function activationStoredAs({ kind }: ConvolutionSpec, shape: readonly number[]): Activation {
  if (kind === 'linear') return { shape };
  return { shape: [shape[0]!, shape.at(-1)!, ...shape.slice(1, -1)], channelAxis: 1 };
}

function allocationOf(file: LayerFile, specs: readonly ConvolutionSpec[]): Allocation {
  const { name: _name, batch: _batch, layers: _layers, norm = 'bn', ...options } = file.case;
  if (norm !== 'bn' && norm !== 'ln') throw new NotRunnable(`no attention norm '${String(norm)}'`);
  return buildOrSkip(() => {
    const shapes = specs.map((spec) => layerShape(spec, 'stage0_layer0_conv0'));
    const config = parseConfig({ model: 'layers', ...options }, file.case.name);
    return allocate(shapes, { ...allocationOptions(config), attentionNorm: norm === 'ln' ? 'layer' : 'batch' });
  });
}

/** A layer as a case tells of it. */
export interface GoldenModule {
  readonly input: Activation;
  readonly append: (context: LayerContext, x: Value) => Value;
  /** What y is in PyTorch's order. */
  readonly output: (y: Value) => Activation;
}

/** All modules of the case in one graph, with the gradients of the sum over modules of y times g. */
function buildGraph(modules: readonly GoldenModule[], training: boolean) {
  const graph = new Graph();
  const context = newContext(graph, training);
  const inputs = modules.map(({ input }) => input);
  const xs: Value[] = inputs.map((input, i) => graph.input(`x${i}`, physicalShape(input)));
  const ys = xs.map((x, i) => modules[i]!.append(context, x));
  const gs = ys.map((y, i) => graph.input(`g${i}`, y.shape));
  const parameters = [...graph.parameters.values()].map(({ name, shape, ...options }) => graph.parameter(name, shape, options));
  const derived = gradients(
    ys.map((value, i) => ({ value, gradient: gs[i]! })),
    [...xs, ...parameters],
  );
  ys.forEach((y, i) => output(`y${i}`, y));
  xs.forEach((_, i) => output(`dx${i}`, derived[i]!));
  parameters.forEach((parameter, i) => {
    const gradient = derived[xs.length + i];
    if (gradient) assign(graph.gradientOf(parameter), gradient);
  });
  const outputs = ys.map((y, i) => modules[i]!.output(y));
  return { graph: fuseMixing(graph), inputs, outputs };
}

function allocationFigures(file: LayerFile, { warehouses }: Allocation): Figure[] {
  const [warehouse] = warehouses;
  if (!warehouse || warehouses.length !== 1) throw new Error(`expected one warehouse but the layers have ${warehouses.length}`);
  const figure = (name: string, expected: readonly number[], actual: readonly number[]): Figure => ({
    name,
    kind: 'value',
    expected,
    actual,
  });
  return [
    figure('cell', file.cell, warehouse.cell),
    figure('n', [file.n], [warehouse.n]),
    figure(
      'mixtures',
      file.mixtures,
      warehouse.layers.map(({ mixtures }) => mixtures),
    ),
    ...(file.starts
      ? [
          figure(
            'start cells',
            file.starts,
            warehouse.layers.map(({ startCell }) => startCell),
          ),
        ]
      : []),
  ];
}

/** What every layer case has. */
type ModuleFile = Pick<LayerFile, 'params' | 'results'> & { readonly case: Pick<LayerFile['case'], 'name'> };

/** Every figure of the case's modules as computed on `machine`. */
export async function runModules(
  file: ModuleFile,
  modules: readonly GoldenModule[],
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  machine: Machine,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const training of [true, false]) {
    const built = buildOrSkip(() => buildGraph(modules, training));
    checkStoredTensors(built.graph, file.params);
    const session = await machine.prepare(built.graph, `${file.case.name} ${training ? 'train' : 'eval'}`);
    for (const result of file.results.filter(({ train }) => train === training)) {
      figures.push(...(await runOnce(file, tensors, built, session, result)));
    }
    session.close();
  }
  return figures;
}

/** Every figure of the case as computed on `machine`. */
export async function runLayerCase(file: LayerFile, tensors: ReadonlyMap<string, ArrayLike<number>>, machine: Machine): Promise<Figure[]> {
  const specs = file.case.layers.map(specOf);
  const allocation = allocationOf(file, specs);
  const convolution = kernelWarehouseConvolution(allocation);
  const modules = specs.map(
    (spec, i): GoldenModule => ({
      input: activationOf(spec, [file.case.batch, ...file.case.layers[i]!.input]),
      append: (context, x) => convolution(context, x, spec),
      output: ({ shape }) => activationStoredAs(spec, shape),
    }),
  );
  return [...allocationFigures(file, allocation), ...(await runModules(file, modules, tensors, machine))];
}

async function runOnce(
  file: ModuleFile,
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  { graph, inputs, outputs }: ReturnType<typeof buildGraph>,
  session: Session,
  result: LayerResult,
): Promise<Figure[]> {
  const expected = (key: string) => tensors.get(key) ?? missing(key);
  await fillStoredTensors(session, graph, file.params);
  const fill = (name: string, activation: Activation) =>
    writeActivation(session, name, activation, fillFrom(`${file.case.name}/${name}`, -1, 1, elementCount(activation.shape)));
  for (const [i, input] of inputs.entries()) {
    await fill(`x${i}`, input);
    await fill(`g${i}`, outputs[i]!);
  }
  const { tau = 0, temperature = 1 } = result;
  await session.write('control', 'temperature', [tau]);
  await session.write('control', 'softmaxTemperature', [temperature]);
  await session.run();

  const run = `tau ${tau} T ${temperature} ${result.train ? 'train' : 'eval'}`;
  const figures: Figure[] = [];
  for (const [i, { y }] of result.layers.entries()) {
    figures.push({
      name: `${run} y${i}`,
      kind: 'value',
      expected: expected(y),
      actual: await readActivation(session, `y${i}`, outputs[i]!),
    });
  }
  const largestGradient = Math.max(
    ...result.layers.map(({ dx }) => l2(expected(dx))),
    ...Object.values(result.grads).map((key) => l2(expected(key))),
  );
  for (const [i, { dx }] of result.layers.entries()) {
    const actual = await readActivation(session, `dx${i}`, inputs[i]!);
    figures.push({ name: `${run} dx${i}`, kind: 'gradient', expected: expected(dx), actual, largestGradient });
  }
  for (const [name, key] of Object.entries(result.grads)) {
    const actual = await readLogical(session, 'gradient', declarationOf(graph, name).declaration);
    figures.push({ name: `${run} gradient of ${name}`, kind: 'gradient', expected: expected(key), actual, largestGradient });
  }
  for (const [name, values] of Object.entries(result.running)) {
    const actual = await readLogical(session, 'state', declarationOf(graph, name).declaration);
    figures.push({ name: `${run} ${name}`, kind: 'value', expected: values, actual: actual.subarray(0, values.length) });
  }
  return figures;
}

function missing(key: string): never {
  throw new Error(`the case's safetensors file has no tensor '${key}'`);
}
