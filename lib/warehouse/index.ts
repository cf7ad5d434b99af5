export * from './allocate.js';
export { type AttentionInitialization, assignCells, attentionInitializations, cellCount, cellsOfLayer } from './assignment.js';
export * from './attention.js';
export * from './declarations.js';
export { type LayerKind, type LayerShape, moduleName, spatialDimensions, weightShape } from './layer.js';
export { type Partition, type PartitionOptions, partition } from './partition.js';
export { fuseSharingName, groupLayers, type SharingGroup, type SharingRange } from './sharing.js';
export * from './stages.js';
export * from './temperature.js';
