/** JSON of a value; `JSON.stringify` of Node.js 20 breaks on raw JSON beside text beyond Latin-1. */
export function written(value) {
  if (JSON.isRawJSON(value)) return value.rawJSON;
  if (Array.isArray(value)) return `[${value.map(written).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const known = Object.entries(value).filter(([, item]) => item !== undefined);
  return `{${known.map(([name, item]) => `${JSON.stringify(name)}:${written(item)}`).join()}}`;
}
