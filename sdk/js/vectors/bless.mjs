/** Writes vectors/NAME.json for every scenario: {name, behaviour, interval_ms, inputs, heartbeats}. Review the diff. */
import { writeFileSync } from 'node:fs';
import { initial, step } from '../tocsin.js';
import { SCENARIOS } from './scenarios.mjs';

const INTERVAL_MS = 10000;

export function play(inputs) {
  let state = initial(INTERVAL_MS);
  const heartbeats = [];
  for (const input of inputs) {
    const [next, out] = step(state, input);
    state = next;
    heartbeats.push(...out);
  }
  return heartbeats;
}

const lines = (items) => '[\n' + items.map((item) => '    ' + JSON.stringify(item)).join(',\n') + '\n  ]';

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const { name, behaviour, inputs } of SCENARIOS) {
    const head = `{\n  "name": ${JSON.stringify(name)},\n  "behaviour": ${JSON.stringify(behaviour)},\n  "interval_ms": ${INTERVAL_MS},\n`;
    const body = `  "inputs": ${lines(inputs)},\n  "heartbeats": ${lines(play(inputs))}\n}\n`;
    writeFileSync(new URL(`${name}.json`, import.meta.url), head + body);
  }
}
