// Asks the worker, so that the page stays responsive; where there is none, the page's own thread.

import { answer, readModel } from "./network.js";

/**
 * Start the engine on the page's data.
 *
 * evaluate(image, iterations), primary(image) and reconstruct(pose, k) give promises of what evaluate,
 * primaryCapsules and reconstruct in network.js return. Of each kind one request runs and one may
 * wait; a newer one takes the place of the waiting one, whose promise then gives null.
 */
export function startEngine(data) {
  const run = startWorker(data) ?? startHere(data);
  const evaluations = lane(run);
  const primaries = lane(run);
  const reconstructions = lane(run);
  return {
    evaluate: (image, iterations) => evaluations({ kind: "evaluate", image, iterations }),
    primary: (image) => primaries({ kind: "primary", image }),
    reconstruct: (pose, k) => reconstructions({ kind: "reconstruct", pose, k }),
  };
}

/** One request at a time; of those that come meanwhile, the newest is next. */
function lane(run) {
  let running = false;
  let waiting = null;
  const start = async (job) => {
    running = true;
    await run(job.request).then(job.resolve, job.reject);
    running = false;
    if (waiting === null) return;
    const next = waiting;
    waiting = null;
    start(next);
  };
  return (request) =>
    new Promise((resolve, reject) => {
      const job = { request, resolve, reject };
      if (!running) {
        start(job);
        return;
      }
      if (waiting !== null) waiting.resolve(null);
      waiting = job;
    });
}

/** A function from requests to promises, answered by a worker; null where none can be had. */
function startWorker(data) {
  const source = globalThis.torchcapsWorkerSource; // put into the page beside these modules
  let worker;
  try {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    worker = new Worker(address);
  } catch {
    return null;
  }
  const open = new Map(); // id → {request, resolve, reject}
  let here = null; // what answers once the worker has failed
  let last = 0;
  worker.onmessage = ({ data: { id, result, error } }) => {
    const job = open.get(id);
    if (job === undefined) return; // the model could not be read: every request will say so
    open.delete(id);
    if (error === undefined) job.resolve(result);
    else job.reject(new Error(error));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    here ??= startHere(data);
    for (const { request, resolve, reject } of open.values()) here(request).then(resolve, reject);
    open.clear();
  };
  worker.postMessage({ kind: "model", data: { config: data.config, tensors: data.tensors } });
  return (request) => {
    if (here !== null) return here(request);
    return new Promise((resolve, reject) => {
      last += 1;
      open.set(last, { request, resolve, reject });
      worker.postMessage({ ...request, id: last });
    });
  };
}

/** The same without a worker. The page is drawn between two requests. */
function startHere(data) {
  let model = null;
  return (request) =>
    new Promise((resolve, reject) => {
      setTimeout(() => {
        try {
          model ??= readModel(data);
          resolve(answer(model, request));
        } catch (error) {
          reject(error);
        }
      });
    });
}
