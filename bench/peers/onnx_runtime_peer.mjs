// ONNX Runtime on the tutorial's model: inference. Speaks the protocol of peer_server.h; tasks are
//
//   inference BATCH
//   nothing            one element passed through: what a call costs from here
//
// node onnx_runtime_peer.mjs NPM_FOLDER THREADS
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const [, , npmFolder, threads] = process.argv;
const require = createRequire(join(resolve(npmFolder), 'package.json'));
const ort = require('onnxruntime-node');
const { onnx } = require('onnx-proto');

const FLOAT = onnx.TensorProto.DataType.FLOAT;
const INTS = onnx.AttributeProto.AttributeType.INTS;
const IR_VERSION = 8, OPSET = 13;

// Numbers without a pattern in (-scale, scale); the same in every run.
let state = 1;
function numbers(count, scale) {
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}

function weights(name, ...dims) {
  const count = dims.reduce((a, b) => a * b, 1);
  return { name, dims, dataType: FLOAT, rawData: new Uint8Array(numbers(count, 0.05).buffer) };
}
const ints = (name, ...values) => ({ name, type: INTS, ints: values });
const node = (opType, input, output, ...attribute) => ({ opType, input, output: [output], attribute });
function value(name, ...dims) {
  const dim = dims.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d }));
  return { name, type: { tensorType: { elemType: FLOAT, shape: { dim } } } };
}
function model(graph) {
  const message = { irVersion: IR_VERSION, opsetImport: [{ domain: '', version: OPSET }], graph };
  return onnx.ModelProto.encode(onnx.ModelProto.fromObject(message)).finish();
}

function tutorial() {
  const window = ints('kernel_shape', 3, 3), padding = ints('pads', 1, 1, 1, 1);
  return model({
    name: 'tutorial',
    input: [value('x', 'N', 3, 32, 32)],
    output: [value('y', 'N', 10)],
    initializer: [weights('k1', 32, 3, 3, 3), weights('b1', 32), weights('k2', 32, 32, 3, 3), weights('b2', 32),
      weights('d1', 8192, 512), weights('c1', 512), weights('d2', 512, 10), weights('c2', 10)],
    node: [
      node('Conv', ['x', 'k1', 'b1'], 'conv1', window, padding), node('Relu', ['conv1'], 'relu1'),
      node('Conv', ['relu1', 'k2', 'b2'], 'conv2', window, padding), node('Relu', ['conv2'], 'relu2'),
      node('MaxPool', ['relu2'], 'pool', ints('kernel_shape', 2, 2), ints('strides', 2, 2)),
      node('Flatten', ['pool'], 'flat'),
      node('Gemm', ['flat', 'd1', 'c1'], 'dense1'), node('Relu', ['dense1'], 'relu3'),
      node('Gemm', ['relu3', 'd2', 'c2'], 'dense2'), node('Sigmoid', ['dense2'], 'y'),
    ],
  });
}
const nothing = () => model({
  name: 'nothing', input: [value('x', 1)], output: [value('y', 1)], node: [node('Identity', ['x'], 'y')],
});

async function makeTask(words) {
  const [kind, batch] = words;
  if (kind !== 'inference' && kind !== 'nothing') throw new Error(`unknown task ${kind}`);
  const dims = kind === 'nothing' ? [1] : [Number(batch), 3, 32, 32];
  // As a user would: threads spin between their jobs for a while.
  const session = await ort.InferenceSession.create(kind === 'nothing' ? nothing() : tutorial(), {
    intraOpNumThreads: Number(threads), interOpNumThreads: 1, graphOptimizationLevel: 'all',
  });
  const x = new ort.Tensor('float32', numbers(dims.reduce((a, b) => a * b, 1), 1), dims);
  return { session, run: () => session.run({ x }) };
}

async function medianSeconds(run, iterations) {
  for (let i = 0; i < Math.max(1, Math.floor(iterations / 2)); i++) await run();
  const seconds = [];
  for (let i = 0; i < Math.max(1, iterations); i++) {
    const begin = process.hrtime.bigint();
    await run();
    seconds.push(Number(process.hrtime.bigint() - begin) * 1e-9);
  }
  return seconds.sort((a, b) => a - b)[seconds.length >> 1];
}

let current;
async function answer(line) {
  const [command, ...words] = line.trim().split(/\s+/);
  if (command === 'version') return `version ONNX Runtime ${ort.env.versions.node ?? ort.env.versions.common}`;
  if (command === 'task') {
    await current?.session.release();
    current = undefined;
    current = await makeTask(words);
    return `ready ${words[0]}`;
  }
  if (command === 'run' && current) return `seconds ${await medianSeconds(current.run, Number(words[0]))}`;
  return `error no such command, or no task to run: ${line}`;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(await answer(line).catch((error) => `declined ${String(error.message).replaceAll('\n', ' ')}`));
}
