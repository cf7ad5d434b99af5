/** Options, each declared once: reading, checking, documenting and listing them all follow from the declaration. */
import { z } from 'zod';

export interface OptionDeclaration {
  /** The values that it takes. */
  readonly type: z.ZodType;
  /** The name of its field in configuration files; absent if it has none. */
  readonly field?: string;
  /** The default; absent if that depends on the method. */
  readonly default?: unknown;
  /** What it means, in one line. */
  readonly help: string;
}

export type OptionDeclarations = Readonly<Record<string, OptionDeclaration>>;

type Immutable<T> = T extends readonly (infer Item)[] ? readonly Item[] : T;

/** An object of these options; each may be left out. */
export type OptionsOf<Declarations extends OptionDeclarations> = {
  readonly [Name in keyof Declarations]?: Immutable<z.infer<Declarations[Name]['type']>>;
};

type OptionFields<Declarations extends OptionDeclarations> = {
  readonly [Name in keyof Declarations]: z.ZodExactOptional<Declarations[Name]['type']>;
};

/** The fields of a schema for such an object. */
export function optionFields<Declarations extends OptionDeclarations>(declarations: Declarations): OptionFields<Declarations> {
  const entries = Object.entries(declarations).map(([name, { type }]) => [name, type.exactOptional()]);
  return Object.fromEntries(entries) as OptionFields<Declarations>;
}

type FieldOf<Declaration> = Declaration extends { readonly field: infer Field extends string } ? Field : never;

type ConfigurationFields<Declarations extends OptionDeclarations> = {
  readonly [Name in keyof Declarations as FieldOf<Declarations[Name]>]: z.ZodOptional<Declarations[Name]['type']>;
};

/** The fields of the schema of a configuration file that set these options. */
export function configurationFields<Declarations extends OptionDeclarations>(
  declarations: Declarations,
): ConfigurationFields<Declarations> {
  const entries = Object.values(declarations).flatMap(({ field, type }) => (field === undefined ? [] : [[field, type.optional()]]));
  return Object.fromEntries(entries) as ConfigurationFields<Declarations>;
}

/** The options that a configuration's fields set; those that it leaves out are absent. */
export function optionsFromFields<Declarations extends OptionDeclarations>(
  declarations: Declarations,
  configuration: Readonly<Record<string, unknown>>,
): OptionsOf<Declarations> {
  const entries = Object.entries(declarations).flatMap(([name, { field }]) => {
    const value = field === undefined ? undefined : configuration[field];
    return value === undefined ? [] : [[name, value]];
  });
  return Object.fromEntries(entries) as OptionsOf<Declarations>;
}

/** A value, or a list of them with one for each warehouse. */
export function oneOrList<Type extends z.ZodType>(type: Type, expected: string): z.ZodUnion<[Type, z.ZodArray<Type>]> {
  return z.union([type, z.array(type).nonempty('expected at least one value')], { error: `expected ${expected}, or a list of them` });
}
