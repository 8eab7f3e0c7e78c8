// @ts-check
// What is to be said to people of a JSON schema of the API's document: a value to begin with, and the types that it names.

/** So many items at most of an array that needs some. */
const MAX_ITEMS = 16;

/**
 * A value that the schema allows: the one that it gives itself, else the smallest of its kind with all its properties.
 * @param {any} schema
 * @param {any} api the document that references lead into
 * @param {string[]} within the types that it is part of: one that contains itself ends there
 * @returns {unknown}
 */
export function example(schema, api, within = []) {
  if (!schema || typeof schema !== "object" || within.includes(schema.$ref)) return null;
  const given = [schema.const, schema.default, schema.examples?.[0], schema.enum?.[0]].find((value) => value !== undefined);
  if (given !== undefined) return given;
  if (schema.$ref) return example(resolved(schema.$ref, api), api, [...within, schema.$ref]);
  const inside = (/** @type {any} */ part) => example(part, api, within);
  const choices = [schema.anyOf?.[0], schema.oneOf?.[0]].filter((choice) => choice !== undefined);
  const parts = [...(schema.allOf ?? []), ...choices].map(inside);
  const kind = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (kind === "object" || schema.properties) {
    const own = Object.entries(schema.properties ?? {}).map(([name, part]) => [name, inside(part)]);
    return Object.assign({}, Object.fromEntries(own), ...parts.filter((part) => part && typeof part === "object"));
  }
  if (parts.length > 0) return parts[0];
  if (kind === "array") {
    const first = (schema.prefixItems ?? []).map(inside);
    const more = Math.min(schema.minItems ?? 0, MAX_ITEMS) - first.length;
    return [...first, ...Array.from({ length: Math.max(more, 0) }, () => inside(schema.items))];
  }
  const number = Math.min(Math.max(0, schema.minimum ?? 0), schema.maximum ?? Infinity);
  const kinds = { integer: number, number, string: " ".repeat(Math.min(schema.minLength ?? 0, MAX_ITEMS)), boolean: false };
  return /** @type {Record<string, unknown>} */ (kinds)[kind] ?? null;
}

/**
 * The schema, and beneath it the types that it names, as they stand in the document.
 * @param {any} schema
 * @param {any} api
 */
export function explained(schema, api) {
  /** @type {Record<string, unknown>} */
  const types = {};
  const gather = (/** @type {any} */ part) => {
    if (!part || typeof part !== "object") return;
    if (typeof part.$ref === "string") {
      const name = part.$ref.split("/").pop();
      if (!(name in types)) gather((types[name] = resolved(part.$ref, api)));
    }
    Object.values(part).forEach(gather);
  };
  gather(schema);
  return Object.keys(types).length > 0 ? { ...schema, components: { schemas: types } } : schema;
}

/**
 * @param {string} reference
 * @param {any} api
 */
function resolved(reference, api) {
  const [file, ...path] = reference.split("/");
  return file === "#" ? path.reduce((value, name) => value?.[name], api) : undefined;
}
