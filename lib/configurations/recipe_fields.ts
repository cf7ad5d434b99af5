/**
 * Fields of the authors' training recipes that training here does not read yet. A file may contain those that ask for what training does
 * anyway. The others are refused, because they would have no effect and nobody would notice.
 */
import { z } from 'zod';

const fromZero = z.number().nonnegative();
const probability = z.number().min(0).max(1);
const count = z.int().positive();
const range = z.tuple([probability, probability]).nullable();

export const recipeFields = {
  update_freq: count.optional(),
  clip_grad: z.number().positive().nullable().optional(),
  /** The authors write -1 for "as warmup_epochs". */
  warmup_steps: z.int().min(-1).optional(),
  weight_decay_end: fromZero.nullable().optional(),
  temp_init_value: probability.optional(),
  use_amp: z.boolean().optional(),
  model_ema: z.boolean().optional(),
  model_ema_decay: probability.optional(),
  model_ema_eval: z.boolean().optional(),
  traditional_preprocess: z.boolean().optional(),
  color_jitter: fromZero.optional(),
  /** AutoAugment policy; null is none. */
  aa: z.string().nullable().optional(),
  train_interpolation: z.enum(['random', 'bilinear', 'bicubic']).optional(),
  reprob: probability.optional(),
  remode: z.enum(['const', 'rand', 'pixel']).optional(),
  recount: count.optional(),
  mixup: fromZero.optional(),
  cutmix: fromZero.optional(),
  cutmix_minmax: range.optional(),
  mixup_prob: probability.optional(),
  mixup_switch_prob: probability.optional(),
  mixup_mode: z.enum(['batch', 'pair', 'elem']).optional(),
};

type RecipeField = keyof typeof recipeFields;

/** The values that mean what training does anyway. */
const done: Readonly<Partial<Record<RecipeField, unknown>>> = {
  update_freq: 1,
  clip_grad: null,
  warmup_steps: -1,
  weight_decay_end: null,
  temp_init_value: 1,
  use_amp: false,
  model_ema: false,
  traditional_preprocess: true,
  color_jitter: 0,
  aa: null,
  train_interpolation: 'bicubic',
  reprob: 0,
  mixup: 0,
  cutmix: 0,
  cutmix_minmax: null,
};

const mixing: readonly RecipeField[] = ['mixup', 'cutmix', 'cutmix_minmax'];

/** Fields that mean nothing unless another one asks for something. */
const detailsOf: Readonly<Partial<Record<RecipeField, readonly RecipeField[]>>> = {
  model_ema_decay: ['model_ema'],
  model_ema_eval: ['model_ema'],
  remode: ['reprob'],
  recount: ['reprob'],
  mixup_prob: mixing,
  mixup_switch_prob: mixing,
  mixup_mode: mixing,
};

type Given = Readonly<Partial<Record<RecipeField, unknown>>>;

function asksForMore(given: Given, field: RecipeField): boolean {
  if (given[field] === undefined) return false;
  const others = detailsOf[field];
  return others ? others.some((other) => asksForMore(given, other)) : given[field] !== done[field];
}

/** What is wrong with the recipe fields of a configuration, in one sentence; undefined if training does what they say. */
export function describeUnreadFields(given: Given): string | undefined {
  const unread = (Object.keys(recipeFields) as RecipeField[]).filter((field) => asksForMore(given, field));
  if (unread.length === 0) return undefined;
  const named = unread.map((field) => `${field} ${JSON.stringify(given[field])}`).join(', ');
  return `this version has no training recipes yet, so nothing reads ${named}; remove ${unread.length === 1 ? 'this field' : 'these fields'}`;
}
