/** The network of a golden case, by its official name and configuration. */
import { allocationOptions, officialConfig, officialConfigNames, parseConfig } from '../../lib/configurations/configuration.js';
import { imageSizeOption, Model } from '../../lib/models/model.js';
import { networkNames } from '../../lib/models/registry.js';
import { buildOrSkip, NotRunnable } from './not_runnable.js';

interface ModelCase {
  readonly model: string;
  readonly classes: number;
  readonly size: number;
  readonly config?: Readonly<Record<string, unknown>>;
}

/** `model` is a network such as kw_resnet18 with its configuration in the case, or the name of an official configuration that the case changes. */
export function goldenModel({ model, classes, size, config = {} }: ModelCase): Model {
  return buildOrSkip(() => {
    const official = !networkNames().includes(model) && officialConfigNames().includes(model) ? officialConfig(model) : { model };
    const whole = parseConfig({ ...official, ...config }, `golden case of ${model}`);
    const dropout = whole.dropout ?? 0;
    if (dropout > 0) throw new NotRunnable(`dropout of ${dropout} is random, so there is nothing to compare with`);
    const warehouse = allocationOptions(whole);
    const imageSize = imageSizeOption(whole.model, size);
    return new Model({ network: whole.model, classes, ...imageSize, ...(Object.keys(warehouse).length > 0 ? { warehouse } : {}) });
  });
}
