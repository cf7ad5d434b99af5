/**
 * The figures that the paper prints beside parameter counts, in its Tables 1 to 4, 10 to 12, 16 and 17: accuracies on ImageNet in percent,
 * average precision on MS-COCO, frames per second, memory. Data only, for comparison. The counts for the same rows are in
 * `printed_counts.ts`.
 */

/** A figure in a row, by its name in results and reports. */
export type PaperFigure = keyof typeof figureHeads;

/** The headings of the columns. */
export const figureHeads = {
  top1: 'top-1',
  top5: 'top-5',
  boxAp: 'box\nAP',
  boxAp50: 'box\nAP50',
  boxAp75: 'box\nAP75',
  boxApSmall: 'box\nAP_S',
  boxApMedium: 'box\nAP_M',
  boxApLarge: 'box\nAP_L',
  maskAp: 'mask\nAP',
  maskAp50: 'mask\nAP50',
  maskAp75: 'mask\nAP75',
  maskApSmall: 'mask\nAP_S',
  maskApMedium: 'mask\nAP_M',
  maskApLarge: 'mask\nAP_L',
  framesPerSecond: 'FPS',
  trainingMegabytes: 'training\nMB',
  inferenceMegabytes: 'inference\nMB',
} as const;

export interface PaperLine {
  /** The configurations or networks of the row; usually one. */
  readonly configs: readonly string[];
  /** The static network with which the paper compares the row; for that network itself, its own name. */
  readonly baseline: string;
  /** The printed figures, in the order of the table. */
  readonly values: readonly number[];
}

export interface PaperTable {
  readonly number: number;
  readonly title: string;
  readonly figures: readonly PaperFigure[];
  readonly lines: readonly PaperLine[];
  /** A note about the table. */
  readonly note?: string;
}

type Row = readonly [configs: string | readonly string[], ...values: readonly number[]];

/** The row of a static network, and below it those of its dynamic variants. */
function family(baseline: string, rows: readonly Row[]): PaperLine[] {
  return rows.map(([configs, ...values]) => ({ configs: typeof configs === 'string' ? [configs] : configs, baseline, values }));
}

const accuracies = ['top1', 'top5'] as const;

const table1: PaperTable = {
  number: 1,
  title: 'ResNet18 on ImageNet, traditional training (100 epochs)',
  figures: accuracies,
  lines: family('resnet18', [
    ['resnet18', 70.25, 89.38],
    ['se_resnet18', 70.98, 90.03],
    ['cbam_resnet18', 71.01, 89.85],
    ['eca_resnet18', 70.6, 89.68],
    ['cgc_resnet18', 71.6, 90.35],
    [['weightnet_resnet18', 'weightnet_resnet18_floor8'], 71.56, 90.38],
    ['dcd_resnet18', 72.33, 90.65],
    ['condconv8x_resnet18', 71.99, 90.27],
    ['dyconv4x_resnet18', 72.76, 90.79],
    ['odconv4x_resnet18', 73.97, 91.35],
    ['kw1d2x_resnet18', 72.81, 90.66],
    ['kw1x_resnet18', 73.67, 91.17],
    ['kw2x_resnet18', 74.03, 91.37],
    ['kw4x_resnet18', 74.16, 91.42],
  ]),
};

const table2: PaperTable = {
  number: 2,
  title: 'ResNet18, ResNet50 and ConvNeXt-Tiny on ImageNet, advanced training (300 epochs)',
  figures: accuracies,
  lines: [
    ...family('resnet18', [
      ['resnet18', 70.44, 89.72],
      ['dyconv4x_resnet18', 73.82, 91.48],
      ['odconv4x_resnet18', 74.45, 91.67],
      [['kw1d4x_resnet18', 'kw1d4x_resnet18_reduction0.073'], 72.73, 90.83],
      ['kw1d2x_resnet18', 73.33, 91.42],
      ['kw1x_resnet18', 74.77, 92.13],
      ['kw2x_resnet18', 75.19, 92.18],
      ['kw4x_resnet18', 76.05, 92.68],
    ]),
    ...family('resnet50', [
      ['resnet50', 78.44, 94.24],
      ['dyconv4x_resnet50', 79.0, 94.27],
      ['odconv4x_resnet50', 80.62, 95.16],
      ['kw1d2x_resnet50', 79.3, 94.71],
      ['kw1x_resnet50', 80.38, 95.19],
      ['kw4x_resnet50', 81.05, 95.21],
    ]),
    ...family('convnext_tiny', [
      ['convnext_tiny', 82.07, 95.86],
      ['kw3d4x_convnext_tiny_split', 82.23, 95.88],
      ['kw1x_convnext_tiny_split', 82.55, 96.08],
    ]),
  ],
};

const table3: PaperTable = {
  number: 3,
  title: 'Mask R-CNN on MS-COCO, by its backbone',
  note: 'The table prints no counts: those beside are of the backbones as classifiers, from Tables 2 and 4. The detector is not part of this package.',
  figures: [
    'boxAp',
    'boxAp50',
    'boxAp75',
    'boxApSmall',
    'boxApMedium',
    'boxApLarge',
    'maskAp',
    'maskAp50',
    'maskAp75',
    'maskApSmall',
    'maskApMedium',
    'maskApLarge',
  ],
  lines: [
    ...family('resnet50', [
      ['resnet50', 39.6, 61.6, 43.3, 24.4, 43.7, 50.0, 36.4, 58.7, 38.6, 20.4, 40.4, 48.4],
      ['dyconv4x_resnet50', 39.6, 62.1, 43.1, 24.7, 43.3, 50.5, 36.6, 59.1, 38.6, 20.9, 40.2, 49.1],
      ['odconv4x_resnet50', 42.1, 65.1, 46.1, 27.2, 46.1, 53.9, 38.6, 61.6, 41.4, 23.1, 42.3, 52.0],
      ['kw1x_resnet50', 41.8, 64.5, 45.9, 26.6, 45.5, 53.0, 38.4, 61.4, 41.2, 22.2, 42.0, 51.6],
      ['kw4x_resnet50', 42.4, 65.4, 46.3, 27.2, 46.2, 54.6, 38.9, 62.0, 41.5, 22.7, 42.6, 53.1],
    ]),
    ...family('mobilenetv2_100', [
      ['mobilenetv2_100', 33.8, 55.2, 35.8, 19.7, 36.5, 44.4, 31.7, 52.4, 33.3, 16.4, 34.4, 43.7],
      ['dyconv4x_mobilenetv2_100', 37.0, 58.6, 40.3, 21.9, 40.1, 47.9, 34.1, 55.7, 36.1, 18.6, 37.1, 46.3],
      ['odconv4x_mobilenetv2_100', 37.2, 59.4, 39.9, 22.6, 40.0, 48.0, 34.5, 56.4, 36.3, 19.3, 37.3, 46.8],
      ['kw1x_mobilenetv2_100', 36.4, 58.3, 39.2, 22.0, 39.6, 47.0, 33.7, 55.1, 35.7, 18.9, 36.7, 45.6],
      ['kw4x_mobilenetv2_100', 38.0, 60.0, 40.8, 23.1, 40.7, 50.0, 34.9, 56.6, 37.0, 19.4, 37.9, 47.8],
    ]),
    ...family('convnext_tiny', [
      ['convnext_tiny', 43.4, 65.8, 47.7, 27.6, 46.8, 55.9, 39.7, 62.6, 42.4, 23.1, 43.1, 53.7],
      ['kw3d4x_convnext_tiny_split', 44.1, 66.8, 48.4, 29.7, 47.4, 56.7, 40.2, 63.6, 43.0, 24.8, 43.6, 54.3],
      ['kw1x_convnext_tiny_split', 44.8, 67.7, 48.9, 29.8, 48.3, 57.3, 40.6, 64.4, 43.4, 24.7, 44.1, 54.8],
    ]),
  ],
};

const table4: PaperTable = {
  number: 4,
  title: 'MobileNetV2 on ImageNet, 150 epochs',
  figures: accuracies,
  lines: [
    ...family('mobilenetv2_050', [
      ['mobilenetv2_050', 64.3, 85.21],
      ['dyconv4x_mobilenetv2_050', 69.05, 88.37],
      ['odconv4x_mobilenetv2_050', 70.01, 89.01],
      ['kw1d2x_mobilenetv2_050', 65.19, 85.98],
      ['kw1x_mobilenetv2_050', 68.29, 87.93],
      ['kw4x_mobilenetv2_050', 70.26, 89.19],
    ]),
    ...family('mobilenetv2_100', [
      ['mobilenetv2_100', 72.02, 90.43],
      ['dyconv4x_mobilenetv2_100', 74.94, 91.83],
      ['odconv4x_mobilenetv2_100', 75.42, 92.18],
      ['kw1d2x_mobilenetv2_100', 72.59, 90.71],
      ['kw1x_mobilenetv2_100', 74.68, 91.9],
      ['kw4x_mobilenetv2_100', 75.92, 92.22],
    ]),
  ],
};

const table10: PaperTable = {
  number: 10,
  title: 'softmax and the contrasting attention function in dynamic convolutions of ResNet18 on ImageNet',
  figures: accuracies,
  lines: family('resnet18', [
    ['resnet18', 70.44, 89.72],
    ['dyconv4x_resnet18', 73.82, 91.48],
    ['dyconv4x_contrasting_resnet18', 73.74, 91.45],
    ['odconv4x_resnet18', 74.45, 91.67],
    ['odconv4x_contrasting_resnet18', 74.27, 91.62],
    ['kw1x_resnet18_softmax', 72.67, 90.82],
    ['kw1x_resnet18', 74.77, 92.13],
    ['kw4x_resnet18_softmax', 74.31, 91.75],
    ['kw4x_resnet18', 76.05, 92.68],
  ]),
};

const table11: PaperTable = {
  number: 11,
  title: 'DeiT on ImageNet',
  figures: accuracies,
  lines: [
    ...family('deit_small', [
      ['deit_small', 79.78, 94.99],
      ['kw3d4x_deit_small', 79.94, 95.05],
      ['kw1x_deit_small', 80.63, 95.24],
    ]),
    ...family('deit_tiny', [
      ['deit_tiny', 72.13, 91.32],
      ['kw1x_deit_tiny', 73.56, 91.82],
      ['kw4x_deit_tiny', 76.51, 93.05],
    ]),
  ],
};

const table12: PaperTable = {
  number: 12,
  title: 'speed of inference',
  note: "The paper's figures: an NVIDIA TITAN X, batch 100, 224 pixels.",
  figures: ['framesPerSecond'],
  lines: [
    ...family('resnet50', [
      ['resnet50', 647],
      ['dyconv4x_resnet50', 322.7],
      ['odconv4x_resnet50', 142.3],
      ['kw1d2x_resnet50', 227.8],
      ['kw1x_resnet50', 265.4],
      ['kw4x_resnet50', 191.1],
    ]),
    ...family('mobilenetv2_100', [
      ['mobilenetv2_100', 1410.8],
      ['dyconv4x_mobilenetv2_100', 862.4],
      ['odconv4x_mobilenetv2_100', 536.5],
      ['kw1d2x_mobilenetv2_100', 926],
      ['kw1x_mobilenetv2_100', 798.7],
      ['kw4x_mobilenetv2_100', 786.9],
    ]),
  ],
};

const table16: PaperTable = {
  number: 16,
  title: 'memory of training and inference',
  note: "The paper's figures: training at batch 128 (ResNet50) and 32 (MobileNetV2), inference at batch 100, 224 pixels, in MB of a GPU.",
  figures: ['trainingMegabytes', 'inferenceMegabytes'],
  lines: [
    ...family('resnet50', [
      ['resnet50', 11_084, 1249],
      ['dyconv4x_resnet50', 24_552, 2062],
      ['odconv4x_resnet50', 31_892, 5405],
      ['kw1d2x_resnet50', 23_323, 2121],
      ['kw1x_resnet50', 23_231, 2200],
      ['kw4x_resnet50', 24_905, 2762],
    ]),
    ...family('mobilenetv2_100', [
      ['mobilenetv2_100', 2486, 1083],
      ['dyconv4x_mobilenetv2_100', 2924, 1151],
      ['odconv4x_mobilenetv2_100', 4212, 1323],
      ['kw1d2x_mobilenetv2_100', 3002, 1076],
      ['kw1x_mobilenetv2_100', 2823, 1096],
      ['kw4x_mobilenetv2_100', 2916, 1144],
    ]),
  ],
};

const table17: PaperTable = {
  number: 17,
  title: 'KernelWarehouse joined with ODConv (KW*), MobileNetV2 on ImageNet',
  figures: accuracies,
  lines: family('mobilenetv2_100', [
    ['mobilenetv2_100', 72.02, 90.43],
    ['odconv4x_mobilenetv2_100', 75.42, 92.18],
    ['kw4x_mobilenetv2_100', 75.92, 92.22],
    ['kwstar4x_mobilenetv2_100', 76.54, 92.35],
  ]),
};

export const paperTables: readonly PaperTable[] = [table1, table2, table3, table4, table10, table11, table12, table16, table17];

/** The printed figure in the row of a configuration; undefined if the table has no such row or figure. */
export function paperValue({ figures, lines }: PaperTable, figure: PaperFigure, config: string): number | undefined {
  return lines.find(({ configs }) => configs.includes(config))?.values[figures.indexOf(figure)];
}
