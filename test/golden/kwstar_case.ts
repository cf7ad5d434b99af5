/** layer-baseline-* and network-baseline-*: of their methods KW* is known here; its cases become cases like the others. */
import type { GoldenLayer, LayerFile, LayerResult, NetworkFile } from './format.js';
import { NotRunnable } from './not_runnable.js';

export interface BaselineLayerFile extends Omit<LayerFile, 'case' | 'results'> {
  readonly case: {
    readonly name: string;
    readonly batch: number;
    readonly layers: readonly {
      readonly module: string;
      readonly options: Omit<GoldenLayer, 'input'>;
      readonly input: readonly number[];
    }[];
    readonly warehouse?: Readonly<Record<string, unknown>>;
  };
  readonly results: readonly (LayerResult & { readonly temperature: number })[];
  readonly starts: readonly number[];
}

export interface BaselineNetworkFile extends Omit<NetworkFile, 'case'> {
  readonly case: Omit<NetworkFile['case'], 'model' | 'config' | 'tau'> & {
    readonly network: string;
    readonly module: string;
    readonly settings: { readonly temperature: number; readonly tau: number };
    readonly options: Readonly<Record<string, unknown>>;
  };
  /** The layers that the method replaces. */
  readonly modules: readonly { readonly name: string; readonly options: { readonly warehouse: number; readonly start: number } }[];
}

function expectKwstar(modules: readonly string[]): void {
  const other = modules.find((module) => module !== 'kwstar');
  if (other !== undefined) throw new NotRunnable(`the baseline method ${other} is not supported yet`);
}

/** The case at each temperature of its sigmoids, which is not a run-time scalar but part of the layers. */
export function kwstarLayerFiles(file: BaselineLayerFile): LayerFile[] {
  const { layers, warehouse, name, batch } = file.case;
  expectKwstar(layers.map(({ module }) => module));
  return [...new Set(file.results.map(({ temperature }) => temperature))].map((temperature) => ({
    ...file,
    case: {
      name,
      batch,
      layers: layers.map(({ options, input }) => ({ ...options, input })),
      ...warehouse,
      odconv_attentions: true,
      odconv_temperature: temperature,
    },
    results: file.results.filter((result) => result.temperature === temperature),
  }));
}

export function kwstarNetworkFile(file: BaselineNetworkFile): NetworkFile {
  const { network, module, settings, options, ...rest } = file.case;
  expectKwstar([module]);
  return {
    ...file,
    case: {
      ...rest,
      model: `kw_${network}`,
      tau: settings.tau,
      config: { ...options, odconv_attentions: true, odconv_temperature: settings.temperature },
    },
    starts: file.modules.map(({ name, options: { warehouse, start } }) => ({ name, warehouse, start })),
  };
}
