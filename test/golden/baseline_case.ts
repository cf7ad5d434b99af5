/** layer-baseline-* and network-baseline-*: the methods that the paper compares with. Cases of KW* become cases of KernelWarehouse. */
import type { Value } from '../../lib/graph/graph.js';
import { channels } from '../../lib/graph/operation.js';
import { add } from '../../lib/graph/ops/add.js';
import { relu } from '../../lib/graph/ops/relu.js';
import { cbam } from '../../lib/layers/cbam.js';
import { cgcConvolution } from '../../lib/layers/cgc.js';
import { condconvConvolution } from '../../lib/layers/condconv.js';
import { staticConvolution } from '../../lib/layers/convolution.js';
import { dcdClassifier, dcdConvolution } from '../../lib/layers/dcd.js';
import { dyconvConvolution } from '../../lib/layers/dyconv.js';
import { eca, ecaKernel } from '../../lib/layers/eca.js';
import {
  type ConvolutionFactory,
  type ConvolutionSpec,
  convolutionSpec,
  type LayerContext,
  type Recalibration,
} from '../../lib/layers/layer.js';
import { batchNormLayer } from '../../lib/layers/normalization.js';
import { odconvConvolution } from '../../lib/layers/odconv.js';
import { squeezeExcitation } from '../../lib/layers/squeeze_excitation.js';
import { weightNetConvolution } from '../../lib/layers/weightnet.js';
import type { MethodOptions } from '../../lib/methods/options.js';
import { Model } from '../../lib/models/model.js';
import type { FilledTensor, GoldenLayer, LayerFile, LayerResult, NetworkFile } from './format.js';
import { type GoldenModule, runLayerCase, runModules } from './layer_case.js';
import { runNetworkCase } from './network_case.js';
import { buildOrSkip, NotRunnable } from './not_runnable.js';
import type { Machine } from './session.js';
import type { Figure } from './tolerance.js';

interface BaselineLayerFile extends Omit<LayerFile, 'case' | 'results'> {
  readonly case: {
    readonly name: string;
    readonly batch: number;
    readonly layers: readonly {
      readonly module: string;
      readonly options: Readonly<Record<string, unknown>>;
      /** C,H,W or, for linear layers, C. */
      readonly input: readonly number[];
    }[];
    readonly warehouse?: Readonly<Record<string, unknown>>;
  };
  readonly params: readonly FilledTensor[];
  readonly results: readonly LayerResult[];
}

interface BaselineNetworkFile extends Omit<NetworkFile, 'case'> {
  readonly case: Omit<NetworkFile['case'], 'model' | 'config' | 'tau'> & {
    readonly network: string;
    readonly module: string;
    readonly settings: { readonly temperature?: number; readonly tau?: number };
    readonly options?: Readonly<Record<string, unknown>>;
  };
  /** The modules that the method puts into the static network. */
  readonly modules: readonly { readonly name: string; readonly module: string; readonly options: Readonly<Record<string, unknown>> }[];
}

/** Appends a module called `name` for x; `options` are the case's. */
type ModuleBuilder = (context: LayerContext, x: Value, name: string, options: Readonly<Record<string, unknown>>) => Value;

/** What the cases call a method's options. */
const optionNames: Readonly<Record<string, keyof MethodOptions>> = { experts: 'kernels' };

/** The fields of a case's options that describe the convolution and not the method. */
const convolutionFields = ['in', 'out', 'kernel', 'stride', 'padding', 'groups', 'dilation'];

/** A case's option as that of the method. */
function methodOption(name: string, value: unknown): [name: string, value: unknown] {
  if (name === 'reduction' && typeof value === 'number' && value > 1) return [name, 1 / value];
  if (name === 'kernels' && Array.isArray(value)) return ['kernelSizes', value];
  return [optionNames[name] ?? name, value];
}

/** A case's options as those of the method. */
function methodOptionsOf(options: Readonly<Record<string, unknown>>): MethodOptions {
  const own = Object.entries(options).filter(([name]) => !convolutionFields.includes(name));
  return Object.fromEntries(own.map(([name, value]) => methodOption(name, value)));
}

function specOf(name: string, options: Readonly<Record<string, unknown>>, kind: ConvolutionSpec['kind']): ConvolutionSpec {
  const {
    in: inChannels,
    out: outChannels,
    kernel = 1,
    stride = 1,
    padding = 0,
    groups = 1,
    dilation = 1,
  } = options as unknown as GoldenLayer;
  return convolutionSpec({ name, kind, inChannels, outChannels, kernel, stride, padding, groups, dilation });
}

/** A module that a convolution factory makes, from the options of its method. */
export function convolutionModule(
  factory: (options: MethodOptions) => ConvolutionFactory,
  kind: ConvolutionSpec['kind'] = 'conv2d',
): ModuleBuilder {
  return (context, x, name, options) => factory(methodOptionsOf(options))(context, x, specOf(name, options, kind));
}

/** A module that recalibrates a feature map. */
function recalibrationModule(recalibration: (options: MethodOptions) => Recalibration): ModuleBuilder {
  return (context, x, name, { channels: _, ...options }) => recalibration(methodOptionsOf(options))(context, x, name);
}

/** Without `own_route` in its options a layer belongs to a block; a linear one never does. */
function condconvModule(kind: ConvolutionSpec['kind']): ModuleBuilder {
  const build = convolutionModule((options) => condconvConvolution({ kernels: 8, ...options }), kind);
  return (context, x, name, { own_route: ownRoute = kind === 'linear', ...options }) => {
    if (ownRoute !== true) throw new NotRunnable(`${name}: a condconv without own_route is part of a condconv_block`);
    return build(context, x, name, options);
  };
}

/** A basic block of a ResNet, its two convolutions CondConv's. */
const condconvBlock: ModuleBuilder = (context, x, name, options) => {
  const { out: outChannels, stride = 1 } = options as unknown as GoldenLayer;
  const block = { name, input: x };
  const dynamic = condconvConvolution({ kernels: 8, ...methodOptionsOf(options) });
  const convolution = (input: Value, layer: string, kernel: number, step: GoldenLayer['stride'], factory: ConvolutionFactory) => {
    const shape = { inChannels: channels(input), outChannels, kernel, stride: step ?? 1, padding: (kernel - 1) / 2 };
    return factory(context, input, convolutionSpec({ name: `${name}.${layer}`, ...shape, block }));
  };
  const first = relu(batchNormLayer(context, convolution(x, 'conv1', 3, stride, dynamic), `${name}.bn1`));
  const second = batchNormLayer(context, convolution(first, 'conv2', 3, 1, dynamic), `${name}.bn2`);
  const isSame = stride === 1 && channels(x) === outChannels;
  const shortcut = isSame
    ? x
    : batchNormLayer(context, convolution(x, 'downsample.0', 1, stride, staticConvolution), `${name}.downsample.1`);
  return relu(add(second, shortcut));
};

/** How to build each module of a layer case. */
const modules: Readonly<Record<string, ModuleBuilder>> = {
  dyconv: convolutionModule((options) => dyconvConvolution({ kernels: 4, attention: 'softmax', reduction: 1 / 4, ...options })),
  odconv: convolutionModule((options) => odconvConvolution({ kernels: 4, attention: 'softmax', reduction: 1 / 16, ...options })),
  condconv: condconvModule('conv2d'),
  condconv_linear: condconvModule('linear'),
  condconv_block: condconvBlock,
  cgc: convolutionModule(() => cgcConvolution),
  weightnet: convolutionModule(({ floor = 16 }) => weightNetConvolution({ floor })),
  dcd: convolutionModule(() => dcdConvolution),
  dcd_linear: convolutionModule(() => dcdClassifier, 'linear'),
  se: recalibrationModule(({ reduction = 1 / 16, bias = false }) => squeezeExcitation({ reduction, bias })),
  cbam: recalibrationModule(({ reduction = 1 / 16 }) => cbam({ reduction })),
  eca: (context, x, name, { kernel }) => eca(kernel === undefined ? ecaKernel : () => kernel as number)(context, x, name),
};

function goldenModule({ module, options, input }: BaselineLayerFile['case']['layers'][number], batch: number, index: number): GoldenModule {
  const build = modules[module];
  if (!build) throw new NotRunnable(`the baseline module ${module} is not supported yet`);
  const isImage = input.length > 1;
  return {
    input: { shape: [batch, ...input], ...(isImage ? { channelAxis: 1 } : {}) },
    append: (context, x) => build(context, x, `layers.${index}`, options),
    output: (y) => (isImage ? { shape: [batch, channels(y), ...y.shape.slice(1, -1)], channelAxis: 1 } : { shape: y.shape }),
  };
}

/** The case at each temperature of its sigmoids, which in KW* is not a run-time scalar but part of the layers. */
function kwstarLayerFiles(file: BaselineLayerFile): LayerFile[] {
  const { layers, warehouse, name, batch } = file.case;
  return [...new Set(file.results.map(({ temperature = 1 }) => temperature))].map((temperature) => ({
    ...file,
    case: {
      name,
      batch,
      layers: layers.map(({ options, input }) => ({ ...(options as unknown as Omit<GoldenLayer, 'input'>), input })),
      ...warehouse,
      odconv_attentions: true,
      odconv_temperature: temperature,
    },
    results: file.results.filter((result) => result.temperature === temperature),
  }));
}

/** Every figure of the case as computed on `machine`. */
export async function runBaselineLayerCase(
  file: BaselineLayerFile,
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  machine: Machine,
): Promise<Figure[]> {
  const { layers, batch } = file.case;
  if (!layers.every(({ module }) => module === 'kwstar')) {
    return runModules(
      file,
      layers.map((layer, index) => goldenModule(layer, batch, index)),
      tensors,
      machine,
    );
  }
  const figures: Figure[] = [];
  for (const each of kwstarLayerFiles(file)) figures.push(...(await runLayerCase(each, tensors, machine)));
  return figures;
}

function kwstarNetworkFile(file: BaselineNetworkFile): NetworkFile {
  const { network, module: _, settings, options, ...rest } = file.case;
  return {
    ...file,
    case: {
      ...rest,
      model: `kw_${network}`,
      tau: settings.tau ?? 0,
      config: { ...options, odconv_attentions: true, odconv_temperature: settings.temperature ?? 1 },
    },
    starts: file.modules.map(({ name, options: { warehouse, start } }) => ({
      name,
      warehouse: warehouse as number,
      start: start as number,
    })),
  };
}

/** Every figure of the case as computed on `machine`. */
export async function runBaselineNetworkCase(file: BaselineNetworkFile, machine: Machine): Promise<Figure[]> {
  const { network, module, settings, options = {}, classes } = file.case;
  if (module === 'kwstar') return runNetworkCase(kwstarNetworkFile(file), machine);
  const name = `${module}_${network}`;
  const method = methodOptionsOf(options);
  const model = buildOrSkip(() => new Model({ network: name, classes, method }));
  return runNetworkCase({ ...file, case: { ...file.case, ...settings, model: name } }, machine, model);
}
