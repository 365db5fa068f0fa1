// Runs a model in ONNX Runtime Web on WebAssembly: node web.mjs FOLDER MODEL INPUTS.json OUTPUTS.json
// FOLDER holds, or lies below what holds, node_modules with onnxruntime-web. Arrays are base64 of their bytes.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const VIEWS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array, int8: Int8Array,
  uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  int64: BigInt64Array, uint64: BigUint64Array,
};
const [folder, model, given, made] = process.argv.slice(2);
const ort = createRequire(join(folder, 'here.js'))('onnxruntime-web/wasm');
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

function tensor({ type, dims, data }) {
  const bytes = Uint8Array.from(Buffer.from(data, 'base64'));
  return new ort.Tensor(type, new VIEWS[type](bytes.buffer), dims);
}

function plain({ type, dims, data }) {
  return { type, dims, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64') };
}

const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ['wasm'] });
const outputs = [];
for (const sample of JSON.parse(readFileSync(given, 'utf8'))) {
  const feeds = Object.fromEntries(Object.entries(sample).map(([name, array]) => [name, tensor(array)]));
  const found = await session.run(feeds);
  outputs.push(Object.fromEntries(Object.entries(found).map(([name, array]) => [name, plain(array)])));
}
writeFileSync(made, JSON.stringify({ version: ort.env.versions?.web ?? '', outputs }));
