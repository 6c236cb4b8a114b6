// Requests for jobs as values: a spec over its preset over its defaults, and what differs from both.

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Base with the other's values put over it, object by object, as the server does it. */
export function merge(base, over) {
  if (!isObject(base) || !isObject(over)) return over;
  const merged = { ...base };
  for (const [name, value] of Object.entries(over)) {
    merged[name] = name in base ? merge(base[name], value) : value;
  }
  return merged;
}

/** What of a value is not as in the base; undefined where nothing is. */
export function differ(value, base) {
  if (!isObject(value) || !isObject(base)) return same(value, base) ? undefined : value;
  const found = {};
  for (const [name, item] of Object.entries(value)) {
    const changed = differ(item, base[name]);
    if (changed !== undefined) found[name] = changed;
  }
  return Object.keys(found).length > 0 ? found : undefined;
}

/** The value at a JSON pointer; undefined where there is none. */
export function lookUp(value, pointer) {
  return pointer.split("/").slice(1).reduce((inner, name) => inner?.[name], value);
}

/** Puts a value at a JSON pointer, making the objects on the way. */
export function put(root, pointer, value) {
  const names = pointer.split("/").slice(1);
  const last = names.pop();
  let inner = root;
  for (const name of names) inner = inner[name] ??= {};
  inner[last] = value;
}
