/** The reducer: every scenario's truth, the golden vectors and the laws of the schema. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { initial, step } from '../tocsin.js';
import { play } from '../vectors/bless.mjs';
import { SCENARIOS } from '../vectors/scenarios.mjs';

const VECTORS = new URL('../vectors/', import.meta.url);
const ONCE = new Set(['startup_ms', 'outcome']);

function totals(heartbeats) {
  const sum = {};
  for (const beat of heartbeats) {
    for (const [field, value] of Object.entries(beat)) {
      if (field === 'av_absmax_ms') sum[field] = Math.max(sum[field] || 0, value);
      else if (ONCE.has(field)) sum[field] = value;
      else if (typeof value === 'number') sum[field] = (sum[field] || 0) + value;
    }
  }
  sum.sessions = new Set(heartbeats.map((beat) => beat.n)).size;
  return sum;
}

function checkLaws(beat) {
  const parts = ['startup_wait_ms', 'playing_ms', 'rebuffer_ms', 'seek_wait_ms', 'paused_ms', 'ad_ms'].reduce((sum, field) => sum + (beat[field] || 0), 0);
  assert.ok(parts <= beat.interval_ms, `parts ${parts} of interval ${beat.interval_ms}`);
  assert.ok((beat.freeze_ms || 0) <= (beat.playing_ms || 0), 'freeze is part of playing');
  assert.ok((beat.frames_dropped || 0) <= (beat.frames_total || 0), 'dropped is part of total');
  assert.ok((beat.req_err_n || 0) <= (beat.req_n || 0), 'failed requests are part of requests');
  for (const [field, value] of Object.entries(beat)) {
    if (typeof value === 'number') assert.ok(Number.isInteger(value), `${field} is an integer`);
    if (typeof value === 'number' && field !== 'av_sum_ms') assert.ok(value >= 0, `${field} is not negative`);
  }
}

for (const { name, behaviour, inputs, truth } of SCENARIOS) {
  test(`${name}: ${behaviour}`, () => {
    const heartbeats = play(inputs);
    const sum = totals(heartbeats);
    for (const [field, value] of Object.entries(truth)) assert.equal(sum[field] || 0, value, field);
    heartbeats.forEach(checkLaws);
    const golden = JSON.parse(readFileSync(new URL(`${name}.json`, VECTORS)));
    assert.deepEqual(golden.inputs, inputs, 'the vector holds this scenario: run `node vectors/bless.mjs`');
    assert.deepEqual(golden.heartbeats, heartbeats);
  });
}

test('every vector file belongs to a scenario', () => {
  const files = readdirSync(VECTORS).filter((file) => file.endsWith('.json')).sort();
  assert.deepEqual(files, SCENARIOS.map(({ name }) => `${name}.json`).sort());
});

test('every interval adds up: with ticks all along, intervals sum to the time of the session', () => {
  const { inputs } = SCENARIOS.find(({ name }) => name === 'stall_by_events');
  const begun = inputs.find(({ type }) => type === 'play').t;
  assert.equal(totals(play(inputs)).interval_ms, inputs.at(-1).t - begun);
});

test('a step changes nothing of the state it was given', () => {
  const { inputs } = SCENARIOS.find(({ name }) => name === 'freeze');
  const freeze = (state) => { Object.values(state).forEach((value) => Object.freeze(value)); return Object.freeze(state); };
  let state = freeze(initial());
  for (const input of inputs) state = freeze(step(state, freeze(input))[0]);
  assert.equal(state.over, true);
});

test('random playbacks keep the laws and lose no time', () => {
  const types = ['tick', 'tick', 'tick', 'play', 'playing', 'waiting', 'pause', 'seeking', 'seeked', 'state'];
  let seed = 7;
  const random = () => { seed = (seed * 48271) % 2147483647; return seed / 2147483647; };
  for (let round = 0; round < 200; round += 1) {
    let t = 1000;
    let p = 0;
    const inputs = [{ type: 'play', t, ts: t, p }];
    for (let at = 0; at < 150; at += 1) {
      t += random() * 700;
      p += (random() - 0.2) * 0.8;
      const type = types[Math.floor(random() * types.length)];
      inputs.push({ type, t, ts: t, p, watch: random() < 0.7, pictures: Math.floor(random() * 3), picture_t: t - random() * 5, frames: [at, at * 9] });
    }
    inputs.push({ type: 'quit', t, ts: t, p });
    const heartbeats = play(inputs);
    heartbeats.forEach(checkLaws);
    const lost = totals(heartbeats).interval_ms - (t - 1000);
    assert.ok(Math.abs(lost) <= 4, `round ${round} lost ${lost} ms`);
  }
});
