// Runs every model of a folder with onnxruntime-web under node; writes each output's bytes to MODEL.OUTPUT.bin.
// node run_models.cjs FOLDER, with NODE_PATH at the folder that holds onnxruntime-web.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-web");

async function main(folder) {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  for (const name of fs.readdirSync(folder).filter((file) => file.endsWith(".onnx"))) {
    const session = await ort.InferenceSession.create(fs.readFileSync(path.join(folder, name)));
    const outputs = await session.run({});
    for (const [output, { data }] of Object.entries(outputs)) {
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      fs.writeFileSync(path.join(folder, `${name}.${output}.bin`), bytes);
    }
    await session.release();
  }
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
