/** Finds the weights, and what is known about the run, in a file of a training script. */
import { type Fail, shown } from './failure.js';
import { TorchTensor } from './torch_values.js';
import { PickleGlobal, PickleObject, type PickleValue } from './unpickle.js';

/** Where scripts put the state dict: the authors' script, and most others. */
const MODEL_KEYS = ['model', 'state_dict'];
const MAXIMUM_SETTINGS = 10_000;
const MAXIMUM_SETTINGS_CHARACTERS = 1_000_000;
const MAXIMUM_SETTINGS_DEPTH = 16;
const SHOWN_KEYS = 12;

/**
 * The tensors of the state dict by name: under `model` or `state_dict`, whichever has tensors, or the value itself; or the one under `model_ema`.
 */
export function findWeights(value: PickleValue, choice: 'model' | 'model_ema', fail: Fail): ReadonlyMap<string, TorchTensor> {
  if (value instanceof PickleObject) return failWholeModule(value, fail);
  if (!(value instanceof Map)) fail('it holds no dict of tensors');
  const keys = choice === 'model_ema' ? [choice] : MODEL_KEYS;
  const places = [...keys.map((key) => value.get(key)), ...(choice === 'model_ema' ? [] : [value])];
  const found = places.map(tensorsIn).find(({ size }) => size > 0);
  if (found) return found;
  const whole = places.find((place) => place instanceof PickleObject);
  return whole ? failWholeModule(whole, fail) : failWithoutTensors(value, keys, fail);
}

function tensorsIn(value: PickleValue): ReadonlyMap<string, TorchTensor> {
  const tensors = new Map<string, TorchTensor>();
  if (!(value instanceof Map)) return tensors;
  for (const [name, tensor] of value) if (typeof name === 'string' && tensor instanceof TorchTensor) tensors.set(name, tensor);
  return tensors;
}

/** Says what was found instead of tensors, and what to do about it. */
function failWithoutTensors(value: ReadonlyMap<PickleValue, PickleValue>, keys: readonly string[], fail: Fail): never {
  const place = keys.find((key) => value.get(key) instanceof Map);
  const dict = place === undefined ? value : (value.get(place) as ReadonlyMap<PickleValue, PickleValue>);
  const names = [...dict.keys()].filter((name) => typeof name === 'string');
  const list = names.slice(0, SHOWN_KEYS).map(shown).join(', ') || 'nothing';
  const problem =
    place === undefined ? `no tensors under ${keys.join(' or ')}; it has ${list}` : `no tensors under ${place}, which has ${list}`;
  if ([...dict.values()].some((item) => item instanceof PickleObject && item.className.startsWith('numpy'))) {
    fail(
      `${problem}, NumPy arrays among them; in Python, save tensors: {name: torch.from_numpy(array) for name, array in weights.items()}`,
    );
  }
  if (!keys.includes('model_ema') && tensorsIn(value.get('model_ema')).size > 0) {
    fail(`${problem}; for the moving average give --ema, in a program weights: 'model_ema'`);
  }
  return fail(problem);
}

function failWholeModule({ className }: PickleObject, fail: Fail): never {
  const name = shown(className.replace(' ', '.'));
  fail(`it holds a whole ${name}, not its weights; in Python, save those: torch.save(model.state_dict(), 'weights.pth')`);
}

/** `epoch`, and `args` as JSON, of a training script's checkpoint. */
export function describeRun(value: PickleValue, fail: Fail): Readonly<Record<string, string>> {
  if (!(value instanceof Map)) return {};
  const epoch = value.get('epoch');
  const args = value.get('args');
  const settings = args instanceof PickleObject ? args.state : args;
  return {
    ...(typeof epoch === 'number' ? { epoch: String(epoch) } : {}),
    ...(settings instanceof Map ? { args: JSON.stringify(new Settings(fail).plain(settings, 0)) } : {}),
  };
}

type Plain = null | boolean | number | string | readonly Plain[] | { readonly [name: string]: Plain };

/**
 * Settings as plain data. A few bytes of a pickle can refer to each other so often that they would fill any memory, so everything is
 * counted.
 */
class Settings {
  readonly #fail: Fail;
  #count = 0;
  #characters = 0;

  constructor(fail: Fail) {
    this.#fail = fail;
  }

  plain(value: PickleValue, depth: number): Plain {
    this.#count += 1;
    if (this.#count > MAXIMUM_SETTINGS) this.#fail(`its args have more than ${MAXIMUM_SETTINGS} values`);
    // A setting that no network needs must not cost the weights.
    if (depth > MAXIMUM_SETTINGS_DEPTH) return '<too deep>';
    if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
    if (typeof value === 'string') return this.#text(value);
    if (value === null || typeof value === 'boolean') return value;
    if (typeof value === 'bigint') return String(value);
    if (Array.isArray(value) || value instanceof Set) return [...value].map((item) => this.plain(item, depth + 1));
    if (value instanceof Map) {
      // fromEntries defines a property, whereas assigning to __proto__ would do something else.
      return Object.fromEntries([...value].map(([key, item]) => [String(this.plain(key, depth + 1)), this.plain(item, depth + 1)]));
    }
    if (value instanceof PickleGlobal) return this.#text(value.name.replace(' ', '.'));
    return value instanceof PickleObject ? this.#text(`<${value.className.replace(' ', '.')}>`) : '<binary>';
  }

  #text(text: string): string {
    this.#characters += text.length;
    if (this.#characters > MAXIMUM_SETTINGS_CHARACTERS) this.#fail(`its args have more than ${MAXIMUM_SETTINGS_CHARACTERS} characters`);
    return text;
  }
}
