// Searches a clipsearch server from Node.js, with the messages read from the .proto files at run time.
//
//     npm ci
//     node search.mjs localhost:50051 "a red striped dress"
//     node search.mjs localhost:50051 photo.jpg --filter 'price < 50'
//
// Prints the hits, best first: score, id and metadata. Exit status 1 where the server refuses, with its reason.

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { getProtoPath } from "google-proto-files";

const OURS = new URL("../../proto", import.meta.url).pathname;
const GOOGLES = getProtoPath("..");
const DEADLINE_MS = 5_000;
const PICTURE = /\.(jpe?g|png|webp|gif|bmp|tiff?)$/i;

/** The package clipsearch.v1, and google.rpc for the details of errors. */
function load() {
  const options = { includeDirs: [OURS, GOOGLES], longs: String, enums: String, defaults: true, oneofs: true };
  const files = ["clipsearch/v1/search.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"];
  const definition = protoLoader.loadSync(files, options);
  return { ...grpc.loadPackageDefinition(definition).clipsearch.v1, definition };
}

/** A Struct, as it comes over the wire, as a plain object. */
function plain({ fields }) {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plainValue(value)]));
}

function plainValue(value) {
  if (value.kind === "structValue") return plain(value.structValue);
  if (value.kind === "listValue") return value.listValue.values.map(plainValue);
  return value.kind === "nullValue" ? null : value[value.kind];
}

/** The UPPER_SNAKE reason that the server gives for an error; empty where the error is not the server's. */
function reasonOf(error, definition) {
  const [details] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!details) return "";
  const status = definition["google.rpc.Status"].deserialize(details);
  const info = status.details.find((any) => any.type_url.endsWith("/google.rpc.ErrorInfo"));
  return info ? definition["google.rpc.ErrorInfo"].deserialize(info.value).reason : "";
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { filter: { type: "string", default: "" }, collection: { type: "string", default: "" } },
});
const [target, query] = positionals;
if (!target || !query) {
  console.error("usage: node search.mjs HOST:PORT (TEXT | PICTURE) [--filter FILTER] [--collection NAME]");
  process.exit(2);
}

const { SearchService, definition } = load();
// One client for the whole program: it holds the connection, and connects again where that breaks.
const client = new SearchService(target, grpc.credentials.createInsecure());
const request = {
  query: PICTURE.test(query) ? { image: await readFile(query) } : { text: query },
  top_k: 5,
  view: "VIEW_METADATA",
  ...values,
};
// The server is told the deadline, and does not begin what it cannot finish in time.
client.search(request, { deadline: Date.now() + DEADLINE_MS }, (error, response) => {
  if (error) {
    const reason = reasonOf(error, definition);
    console.error(`${grpc.status[error.code]}${reason && ` (${reason})`}: ${error.details}`);
    process.exitCode = 1;
  } else {
    for (const hit of response.hits) {
      console.log(hit.score.toFixed(3), hit.id, JSON.stringify(plain(hit.metadata)));
    }
  }
  client.close();
});
