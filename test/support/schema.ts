// SPDX-License-Identifier: Apache-2.0
/** The published JSON Schemas (docs/schema), as a check that says what is wrong. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';

/** Why `value` does not match the schema of that name; empty when it does. */
export function schemaErrors(name: string, value: unknown): string[] {
  const schema = JSON.parse(
    readFileSync(new URL(`../../docs/schema/${name}.schema.json`, import.meta.url), 'utf8'),
  ) as object;
  const validate = new Ajv2020({
    allErrors: true,
    strict: true,
    strictRequired: false,
    allowUnionTypes: true,
  }).compile(schema);
  return validate(value)
    ? []
    : (validate.errors ?? []).map(
        ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
      );
}
