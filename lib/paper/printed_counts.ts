/**
 * What the paper prints about its networks: parameter counts, Table 14 (m and n) and Table 15 (reassigned stages). Data only, for
 * comparison; nothing is built from it.
 */

export interface PaperRow {
  /** The row's name in the paper; it occurs twice if two configurations match the row. */
  readonly row: string;
  /** Where the count is printed. */
  readonly tables: readonly (number | 'README')[];
  /** The printed count in millions, to two decimals. */
  readonly millions: number;
  /** The configuration or network of the row. */
  readonly config: string;
  /** Where paper and released code disagree, or what the row's configuration is based on. */
  readonly note?: string;
}

const dyConvAttention =
  'the count fixes the attention: a hidden width of a quarter of the input channels, biases, every layer but the stem';
const condConvPlaces =
  'the count fits the 3x3 convolutions of the last three blocks and the classifier, a route for each block; it is not unique';
const contrasting = 'the paper gives no formula: here its function for a single mixture, without the zero cell, bound to the first kernel';
const dynamicStem = 'with its module in the stem too; the official network keeps the stem static: 11,512,149 (1.0x), 4,435,501 (0.5x)';
const reconstruction = 'reconstruction: no code was released for DeiT; layers, groups and ratios are inferred from the counts';
const roundedUp = 'Table 11 prints the counts rounded up';
const halfMobileNet =
  "the paper's text has the budgets of point-wise and depth-wise layers the other way round than Table 14 and the released code";
const staticLayers =
  'paper: all convolutions but the first two layers; released code: conv1, layer1.0.conv1 and layer1.0.downsample.0 are static';
const narrowTable14 = "Table 14 prints the 1.0x network's row for both widths";
const split =
  'Table 14 splits the third stage in three, the released code does not; a reduction of 1/32 gives the counts, the text says 16';

export const paperRows: readonly PaperRow[] = [
  { row: 'ResNet18', tables: [1, 2, 5, 6, 8, 9, 10, 13], millions: 11.69, config: 'resnet18' },
  { row: 'ResNet18 + SE', tables: [1], millions: 11.78, config: 'se_resnet18' },
  { row: 'ResNet18 + CBAM', tables: [1], millions: 11.78, config: 'cbam_resnet18' },
  { row: 'ResNet18 + ECA', tables: [1], millions: 11.69, config: 'eca_resnet18' },
  {
    row: 'ResNet18 + CGC',
    tables: [1],
    millions: 11.69,
    config: 'cgc_resnet18',
    note: 'reproduced by nothing known: 11.69M leaves fewer than 5,488 parameters for the method, its code adds 32,279',
  },
  {
    row: 'ResNet18 + WeightNet',
    tables: [1],
    millions: 11.93,
    config: 'weightnet_resnet18',
    note: 'reproduced by no public code',
  },
  {
    row: 'ResNet18 + WeightNet',
    tables: [1],
    millions: 11.93,
    config: 'weightnet_resnet18_floor8',
    note: 'a numerical fit: an attention of at least 8 hidden values, where the public code has 16',
  },
  { row: 'ResNet18 + DCD', tables: [1], millions: 14.7, config: 'dcd_resnet18' },
  { row: 'ResNet18 + CondConv (8x)', tables: [1], millions: 81.35, config: 'condconv8x_resnet18', note: condConvPlaces },
  { row: 'ResNet18 + DY-Conv (4x)', tables: [1, 2, 10], millions: 45.47, config: 'dyconv4x_resnet18', note: dyConvAttention },
  { row: 'ResNet18 + ODConv (4x)', tables: [1, 2, 10], millions: 44.9, config: 'odconv4x_resnet18' },
  {
    row: 'ResNet18 + DY-Conv (4x), contrasting',
    tables: [10],
    millions: 45.47,
    config: 'dyconv4x_contrasting_resnet18',
    note: contrasting,
  },
  { row: 'ResNet18 + ODConv (4x), contrasting', tables: [10], millions: 44.9, config: 'odconv4x_contrasting_resnet18', note: contrasting },
  {
    row: 'ResNet18 + KW (1/4x)',
    tables: [2],
    millions: 4.08,
    config: 'kw1d4x_resnet18',
    note: 'reproduced by no documented choice: Table 14 fixes all but the attentions, which would need some 48,000 parameters more',
  },
  {
    row: 'ResNet18 + KW (1/4x)',
    tables: [2],
    millions: 4.08,
    config: 'kw1d4x_resnet18_reduction0.073',
    note: 'a numerical fit of the reduction, documented nowhere',
  },
  { row: 'ResNet18 + KW (1/2x)', tables: [1, 2, 13], millions: 7.43, config: 'kw1d2x_resnet18' },
  {
    row: 'ResNet18 + KW (1x)',
    tables: [1, 2, 5, 6, 8, 9, 10, 13],
    millions: 11.93,
    config: 'kw1x_resnet18',
    note: 'Table 15 lists the 3x3 convolutions; the 1x1 shortcuts follow the convolution that they stand beside',
  },
  { row: 'ResNet18 + KW (2x)', tables: [1, 2], millions: 23.24, config: 'kw2x_resnet18' },
  { row: 'ResNet18 + KW (4x)', tables: [1, 2, 10, 13], millions: 45.86, config: 'kw4x_resnet18' },
  {
    row: 'ResNet18 + KW (1x), without kernel partition',
    tables: [5],
    millions: 11.78,
    config: 'kw1x_resnet18_without_partition',
    note: 'a warehouse for each layer; the count fits the next line alike',
  },
  {
    row: 'ResNet18 + KW (1x), without kernel partition',
    tables: [5],
    millions: 11.78,
    config: 'kw1x_resnet18_without_partition_within_stage',
    note: 'kernels of equal shape share within a stage',
  },
  { row: 'ResNet18 + KW (1x), within each layer', tables: [6], millions: 11.81, config: 'kw1x_resnet18_within_layer' },
  {
    row: 'ResNet18 + KW (1x), without sharing',
    tables: [6],
    millions: 11.78,
    config: 'kw1x_resnet18_without_sharing',
    note: "every mixture sees only its own cell, cut by the layer's common divisors; the count fits the next line alike",
  },
  {
    row: 'ResNet18 + KW (1x), without sharing',
    tables: [6],
    millions: 11.78,
    config: 'kw1x_resnet18_without_sharing_within_stage',
    note: "every mixture sees only its own cell, cut by the stage's common divisors",
  },
  { row: 'ResNet18 + KW (1x), softmax', tables: [8, 10], millions: 11.93, config: 'kw1x_resnet18_softmax' },
  { row: 'ResNet18 + KW (1x), sigmoid', tables: [8], millions: 11.93, config: 'kw1x_resnet18_sigmoid' },
  { row: 'ResNet18 + KW (1x), max(z, 0)', tables: [8], millions: 11.93, config: 'kw1x_resnet18_rectified' },
  { row: 'ResNet18 + KW (4x), softmax', tables: [10], millions: 45.86, config: 'kw4x_resnet18_softmax' },
  {
    row: 'ResNet18 + KW (1x), without attentions initialization',
    tables: [9, 13],
    millions: 11.93,
    config: 'kw1x_resnet18_without_initialization',
  },
  { row: 'ResNet18 + KW (1x), all the cells to 1 mixture', tables: [13], millions: 11.93, config: 'kw1x_resnet18_all_to_one' },
  { row: 'ResNet18 + KW (4x), 4 cells to 1 mixture', tables: [13], millions: 45.86, config: 'kw4x_resnet18_several_to_one' },
  { row: 'ResNet18 + KW (1/2x), 1 cell to 2 mixtures', tables: [13], millions: 7.43, config: 'kw1d2x_resnet18_one_to_several' },

  { row: 'ResNet50', tables: [2, 7, 12, 16], millions: 25.56, config: 'resnet50' },
  { row: 'ResNet50 + DY-Conv (4x)', tables: [2, 12, 16], millions: 100.88, config: 'dyconv4x_resnet50', note: dyConvAttention },
  { row: 'ResNet50 + ODConv (4x)', tables: [2, 12, 16], millions: 90.67, config: 'odconv4x_resnet50' },
  {
    row: 'ResNet50 + KW (1/2x)',
    tables: [2, 12, 16],
    millions: 17.64,
    config: 'kw1d2x_resnet50',
    note: staticLayers,
  },
  { row: 'ResNet50 + KW (1x)', tables: [2, 7, 12, 16], millions: 28.05, config: 'kw1x_resnet50', note: staticLayers },
  { row: 'ResNet50 + KW (4x)', tables: [2, 12, 16], millions: 102.02, config: 'kw4x_resnet50', note: staticLayers },
  {
    row: 'ResNet50 + KW (1x), same dimensioned kernels',
    tables: [7],
    millions: 26.95,
    config: 'kw1x_resnet50_same_dimension',
    note:
      "a stage's first, second and third convolutions of a block share, shortcuts with the first; kernels of strictly " +
      'equal shape give 26.93M',
  },

  { row: 'ConvNeXt-Tiny', tables: [2], millions: 28.59, config: 'convnext_tiny' },
  {
    row: 'ConvNeXt-Tiny + KW (3/4x)',
    tables: [2],
    millions: 24.53,
    config: 'kw3d4x_convnext_tiny_split',
    note: split,
  },
  { row: 'ConvNeXt-Tiny + KW (1x)', tables: [2], millions: 32.99, config: 'kw1x_convnext_tiny_split', note: split },
  {
    row: 'ConvNeXt-Tiny + KW (1x), as released',
    tables: ['README'],
    millions: 39.37,
    config: 'kw1x_convnext_tiny',
    note: 'the released configuration: the third stage whole, a reduction of 1/16',
  },

  { row: 'MobileNetV2 (0.5x)', tables: [4], millions: 1.97, config: 'mobilenetv2_050' },
  { row: 'MobileNetV2 (0.5x) + DY-Conv (4x)', tables: [4], millions: 4.57, config: 'dyconv4x_mobilenetv2_050', note: dyConvAttention },
  { row: 'MobileNetV2 (0.5x) + ODConv (4x)', tables: [4], millions: 4.44, config: 'odconv4x_mobilenetv2_050', note: dynamicStem },
  {
    row: 'MobileNetV2 (0.5x) + KW (1/2x)',
    tables: [4],
    millions: 1.47,
    config: 'kw1d2x_mobilenetv2_050',
    note: `${halfMobileNet}; ${narrowTable14}`,
  },
  {
    row: 'MobileNetV2 (0.5x) + KW (1x)',
    tables: [4],
    millions: 2.85,
    config: 'kw1x_mobilenetv2_050',
    note: narrowTable14,
  },
  {
    row: 'MobileNetV2 (0.5x) + KW (4x)',
    tables: [4],
    millions: 4.65,
    config: 'kw4x_mobilenetv2_050',
    note: narrowTable14,
  },
  { row: 'MobileNetV2 (1.0x)', tables: [4, 12, 16, 17], millions: 3.5, config: 'mobilenetv2_100' },
  {
    row: 'MobileNetV2 (1.0x) + DY-Conv (4x)',
    tables: [4, 12, 16],
    millions: 12.4,
    config: 'dyconv4x_mobilenetv2_100',
    note: dyConvAttention,
  },
  {
    row: 'MobileNetV2 (1.0x) + ODConv (4x)',
    tables: [4, 12, 16, 17],
    millions: 11.52,
    config: 'odconv4x_mobilenetv2_100',
    note: dynamicStem,
  },
  {
    row: 'MobileNetV2 (1.0x) + KW (1/2x)',
    tables: [4, 12, 16],
    millions: 2.65,
    config: 'kw1d2x_mobilenetv2_100',
    note: halfMobileNet,
  },
  { row: 'MobileNetV2 (1.0x) + KW (1x)', tables: [4, 12, 16], millions: 5.17, config: 'kw1x_mobilenetv2_100' },
  { row: 'MobileNetV2 (1.0x) + KW (4x)', tables: [4, 12, 16, 17], millions: 11.38, config: 'kw4x_mobilenetv2_100' },
  {
    row: 'MobileNetV2 (1.0x) + KW* (4x)',
    tables: [17],
    millions: 12.51,
    config: 'kwstar4x_mobilenetv2_100',
    note: 'no code was released; the count needs the filter attention in depth-wise convolutions too, which ODConv leaves out',
  },

  { row: 'DeiT-Small', tables: [11], millions: 22.06, config: 'deit_small', note: roundedUp },
  {
    row: 'DeiT-Small + KW (3/4x)',
    tables: [11],
    millions: 19.23,
    config: 'kw3d4x_deit_small',
    note: reconstruction,
  },
  { row: 'DeiT-Small + KW (1x)', tables: [11], millions: 24.36, config: 'kw1x_deit_small', note: reconstruction },
  { row: 'DeiT-Tiny', tables: [11], millions: 5.72, config: 'deit_tiny' },
  {
    row: 'DeiT-Tiny + KW (1x)',
    tables: [11],
    millions: 6.39,
    config: 'kw1x_deit_tiny',
    note: `${reconstruction}; ${roundedUp}`,
  },
  { row: 'DeiT-Tiny + KW (4x)', tables: [11], millions: 20.44, config: 'kw4x_deit_tiny', note: reconstruction },
];

/** A row of Table 14: m and n of each warehouse. */
interface Table14Row {
  /** The configurations of this row. */
  readonly configs: readonly string[];
  readonly m: readonly number[];
  readonly n: readonly number[];
}

const convNext = [16, 4, 4, 4, 147, 24, 147, 24, 147, 24, 147, 24, 147, 24, 147, 24];
const mobileNet = [9, 36, 34, 78, 18, 42, 27, 102, 36, 120, 27, 58, 27];

export const table14: readonly Table14Row[] = [
  { configs: ['kw1d4x_resnet18'], m: [224, 188, 188, 108], n: [56, 47, 47, 27] },
  { configs: ['kw1d2x_resnet18'], m: [224, 188, 188, 108], n: [112, 94, 94, 54] },
  { configs: ['kw1x_resnet18'], m: [56, 47, 47, 27], n: [56, 47, 47, 27] },
  { configs: ['kw2x_resnet18'], m: [56, 47, 47, 27], n: [112, 94, 94, 54] },
  { configs: ['kw4x_resnet18'], m: [56, 47, 47, 27], n: [224, 188, 188, 108] },
  { configs: ['kw1d2x_resnet50'], m: [348, 416, 552, 188], n: [174, 208, 276, 94] },
  { configs: ['kw1x_resnet50'], m: [87, 104, 138, 47], n: [87, 104, 138, 47] },
  { configs: ['kw4x_resnet50'], m: [87, 104, 138, 47], n: [348, 416, 552, 188] },
  { configs: ['kw1x_convnext_tiny', 'kw1x_convnext_tiny_split'], m: convNext, n: convNext },
  {
    configs: ['kw3d4x_convnext_tiny_split'],
    m: [16, 4, 4, 4, 147, 24, 147, 24, 147, 24, 147, 24, 147, 96, 147, 96],
    n: [16, 4, 4, 4, 147, 24, 147, 24, 147, 24, 147, 24, 147, 48, 147, 48],
  },
  {
    configs: ['kw1d2x_mobilenetv2_100', 'kw1d2x_mobilenetv2_050'],
    m: [9, 36, 18, 27, 36, 27, 12, 27, 80, 40],
    n: [9, 36, 18, 27, 36, 27, 6, 27, 40, 20],
  },
  { configs: ['kw1x_mobilenetv2_100', 'kw1x_mobilenetv2_050'], m: mobileNet, n: mobileNet },
  {
    configs: ['kw4x_mobilenetv2_100', 'kw4x_mobilenetv2_050'],
    m: [9, 36, 11, 1, 2, 18, 7, 3, 27, 4, 4, 36, 9, 3, 27, 11, 3, 27, 20],
    n: [36, 144, 44, 4, 8, 72, 28, 12, 108, 16, 16, 144, 36, 12, 108, 44, 12, 108, 80],
  },
];

/** A 3x3 convolution of Table 15. Cells are [output, input channels]. */
export interface Table15Row {
  readonly outChannels: number;
  readonly inChannels: number;
  /** The stage by the resolution of its input. */
  readonly originalStage: number;
  readonly originalCell: readonly [number, number];
  /** The stage by the dimensions of its kernel. */
  readonly reassignedStage: number;
  readonly reassignedCell: readonly [number, number];
}

function table15Rows(
  count: number,
  [inChannels, outChannels]: readonly [number, number],
  [originalStage, originalCell]: readonly [number, readonly [number, number]],
  [reassignedStage, side]: readonly [number, number],
): readonly Table15Row[] {
  return new Array(count).fill({ outChannels, inChannels, originalStage, originalCell, reassignedStage, reassignedCell: [side, side] });
}

/** For ResNet18, KW (1x), in the network's order. */
export const table15 = {
  config: 'kw1x_resnet18',
  rows: [
    ...table15Rows(4, [64, 64], [1, [64, 64]], [1, 64]),
    ...table15Rows(1, [64, 128], [2, [128, 64]], [1, 64]),
    ...table15Rows(3, [128, 128], [2, [128, 64]], [2, 128]),
    ...table15Rows(1, [128, 256], [3, [256, 128]], [2, 128]),
    ...table15Rows(3, [256, 256], [3, [256, 128]], [3, 256]),
    ...table15Rows(1, [256, 512], [4, [512, 256]], [3, 256]),
    ...table15Rows(3, [512, 512], [4, [512, 256]], [4, 512]),
  ],
} as const;
