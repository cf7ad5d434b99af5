/** The public names. Everything else may change between versions. */

// Files of tensors.

export {
  type CheckpointFile,
  type OpenOptions,
  openCheckpoint,
  type TensorEntry,
  type TensorSource,
  tensorsInMemory,
} from './checkpoint/checkpoint_file.js';
export { convertCheckpoint } from './checkpoint/convert.js';
export { parseNpy, readNpy, writeNpy } from './checkpoint/npy.js';
export { readSafetensors, SafetensorsFile, writeSafetensors } from './checkpoint/safetensors.js';
export type { SafetensorsEntry } from './checkpoint/safetensors_header.js';
export { type StoredArray, type StoredTensor, type StoredType, toFloat32 } from './checkpoint/stored_tensor.js';

// Images.

export { type Augmentation, PHOTO_AUGMENTATION } from './data/augment.js';
export { type ImageDataset, type ImageSample, readImageFolder, readSplitFolder, type SplitDataset } from './data/folder.js';
export type { ImageSource, Pixels, ResizeKernel } from './data/image.js';
export { type Batch, IMAGENET_MEAN, IMAGENET_STANDARD_DEVIATION, ImageLoader, type LoaderOptions } from './data/loader.js';

// Errors.

export { type ErrorCode, KernelWarehouseError } from './errors.js';

// Networks.

export { type NetworkConfig, officialConfig, officialConfigNames, parseConfig, readConfig } from './configurations/configuration.js';
export type { Precision } from './graph/passes/precision.js';
export type { MethodOptions } from './methods/options.js';
export type { NamedTensor } from './models/arenas.js';
export { fitOptions } from './models/fitting.js';
export { type Controls, type FeatureMap, type InstanceOptions, inferencePlan, ModelInstance } from './models/instance.js';
export type { LoadOptions, LoadReport, MissingTensor, WrongShape } from './models/load_report.js';
export { Model } from './models/model.js';
export type { ModelOptions } from './models/model_options.js';
export { networkNames, registerNetwork } from './models/registry.js';
export { modelOptions, type Selection, selectModel } from './models/select.js';

// Your own networks.

export { describedNetwork } from './descriptions/described_network.js';
export { type LayerDescription, type NetworkDescription, parseDescription } from './descriptions/description.js';
export { type ReplaceableLayer, type ReplaceOptions, replaceConvolutions } from './descriptions/replace_convolutions.js';
export { type DeclarationOptions, Graph, type Value } from './graph/graph.js';
export * as ops from './graph/ops/builders.js';
export { linearLayer, staticConvolution } from './layers/convolution.js';
export { kernelWarehouseConvolution } from './layers/kernel_warehouse.js';
export {
  type BlockPlace,
  type ConvolutionFactory,
  type ConvolutionRole,
  type ConvolutionSpec,
  convolutionSpec,
  type LayerContext,
  type NetworkFeature,
  type Recalibration,
} from './layers/layer.js';
export { batchNormLayer, layerNormLayer } from './layers/normalization.js';
export type { BuildOptions, Network, NetworkOptions, NetworkOutput } from './networks/network.js';

// Warehouses as data.

export {
  type Allocation,
  type AllocationOptions,
  type AttentionNorm,
  type AttentionShape,
  allocate,
  type LayerAllocation,
  type LayerKind,
  type LayerShape,
  type NonlocalBasis,
  type PerWarehouse,
  type SharingRange,
  sharingName,
  softmaxTemperatureAt,
  type TemperatureSchedule,
  temperatureAt,
  type Warehouse,
} from './warehouse/index.js';

// Devices, plans and what runs them.

export type { DataType, Plan, PlanBuffer, PlanStep, PlanTensor } from './plan/plan.js';
export { DeviceBuffer } from './runtime/buffer.js';
export { Device, type DeviceMemory, type DeviceName, type DeviceOptions } from './runtime/device.js';
export { Program, type ProgramMemory, type StepTime } from './runtime/program.js';

// Training.

export { type OptimizerOptions, type TrainingPlanOptions, trainingPlan } from './models/training_plan.js';
export type { Accuracy } from './train/accuracy.js';
export {
  type Checkpoint,
  type Description,
  descriptionMetadata,
  type EpochSummary,
  readCheckpoint,
  readDescription,
  type TrainingProgress,
  trainingCheckpoint,
  writeCheckpoint,
} from './train/checkpoint.js';
export { type EvaluateOptions, evaluate } from './train/evaluate.js';
export { defaultTrainingOptions, type TrainingOptions } from './train/options.js';
export { type LearningRateSchedule, learningRateAt } from './train/schedule.js';
export { type StepInput, type StepResult, Trainer, type TrainerOptions } from './train/trainer.js';
export {
  type StartingPoint,
  type StepReport,
  type TrainingResult,
  type TrainingRun,
  train,
  validationLoaderOptions,
} from './train/training.js';
