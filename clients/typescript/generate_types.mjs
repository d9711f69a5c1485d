// Writes src/messages/*.ts from the JSON Schemas of the contract: `npm run types`.
import { readFile, writeFile } from "node:fs/promises";
import { compile } from "json-schema-to-typescript";

const schemas = new URL("../../docs/schemas/", import.meta.url);
const messages = new URL("src/messages/", import.meta.url);

for (const name of ["command", "event", "reply"]) {
  const schema = JSON.parse(await readFile(new URL(`${name}.json`, schemas), "utf8"));
  const types = await compile(schema, name, {
    additionalProperties: false, // readers ignore unknown members; senders should not write them
    bannerComment: `// Made by generate_types.mjs from docs/schemas/${name}.json.`,
  });
  await writeFile(new URL(`${name}.ts`, messages), types);
}
