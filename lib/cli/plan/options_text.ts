/** What `kernel-warehouse plan --options` prints: the options of every method. */
import { type ListedOption, listOptions } from '../../methods/option_list.js';
import { ruledTable } from '../table.js';
import type { PlanFlags } from './flags.js';

function row({ field, option, defaults, help }: ListedOption): string[] {
  const values = Object.entries(defaults).map(([method, value]) => `${method} ${JSON.stringify(value)}`);
  return [field ?? '-', option, values.join(', '), help];
}

export function printOptions({ json }: PlanFlags): void {
  const options = listOptions();
  const head = ['field', 'option of Model', 'default', 'meaning'];
  console.log(json ? JSON.stringify(options, null, 2) : ruledTable(head, options.map(row), [], { 2: 30, 3: 60 }));
}
