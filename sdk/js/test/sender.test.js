/** The sender under a fake clock: retries, merging, limits, the end of a page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff, merge, sender } from '../tocsin.js';

const MINUTE_MS = 60000;
const T0 = 29453760 * MINUTE_MS;

/** A clock whose timers run in order, and a server whose answers the test gives. */
class World {
  constructor(answer, options = {}) {
    Object.assign(this, { time: T0, timers: [], posts: [], answer, next_id: 1, random: 0.5, hints: [] });
    this.queue = sender({
      url: 'https://t.example/v1/heartbeats',
      fetch: (url, init) => this.fetch(url, init),
      beacon: () => true,
      now: () => this.time,
      later: (run, ms) => { this.timers.push({ id: this.next_id, at: this.time + ms, run }); return this.next_id++; },
      cancel: (id) => { this.timers = this.timers.filter((timer) => timer.id !== id); },
      random: () => this.random,
      sample_rate: 1,
      on_hints: (hints) => this.hints.push(...hints),
      ...options,
    });
    this.session = { id: 'session-under-test', seq: 0, minute: 0, used: 0 };
    this.tags = { 'cdn.name': 'a' };
  }

  fetch(url, { body, keepalive, headers }) {
    this.posts.push({ at_ms: this.time - T0, bytes: Buffer.byteLength(body), keepalive, headers, ...JSON.parse(body) });
    return this.answer(this.posts.length, this);
  }

  beat(fields = {}, { session = this.session, tags = this.tags } = {}) {
    const beat = { n: 0, ts_ms: this.time, interval_ms: 1000, reason: 'interval', state: 'playing', playhead_ms: 0, playing_ms: 1000, ...fields };
    this.queue.push(session, tags, beat);
    this.queue.flush();
  }

  async settle() {
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  async run(ms) {
    const end = this.time + ms;
    await this.settle();
    for (;;) {
      const due = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((timer) => timer !== due);
      this.time = due.at;
      due.run();
      await this.settle();
    }
    this.time = end;
  }

  events() {
    return this.posts.flatMap((post) => post.events);
  }
}

const reply = (status, headers = {}, body = '') => Promise.resolve(new Response(status === 204 ? null : body, { status, headers }));
const accepted = () => reply(204);
const sum = (items, field) => items.reduce((total, item) => total + (item[field] || 0), 0);
const distinct = (events) => [...new Map(events.map((event) => [event.seq, event])).values()];

for (const random of [0, 0.5, 1]) {
  test(`503 for 20 s is answered with at most 6 POSTs, and nothing is lost (jitter ${random})`, async () => {
    const world = new World((_, { time }) => reply(time - T0 < 20000 ? 503 : 204));
    world.random = random;
    for (let at = 0; at < 20; at += 1) {
      world.beat();
      await world.run(1000);
    }
    assert.ok(world.posts.length <= 6, `${world.posts.length} POSTs`);
    await world.run(10 * MINUTE_MS);
    assert.equal(world.queue.held(), 0);
    assert.equal(sum(distinct(world.events()), 'playing_ms'), 20000);
  });
}

test('what was sent is never changed: every attempt repeats the same bytes of an event under its seq', async () => {
  const world = new World((n) => (n < 4 ? Promise.reject(new TypeError('network')) : accepted()));
  for (let at = 0; at < 30; at += 1) {
    world.beat();
    await world.run(2000);
  }
  await world.run(5 * MINUTE_MS);
  const seen = new Map();
  for (const event of world.events()) {
    const bytes = JSON.stringify(event);
    assert.equal(seen.get(event.seq) ?? bytes, bytes);
    seen.set(event.seq, bytes);
  }
  assert.deepEqual([...seen.keys()], [...seen.keys()].map((_, index) => index), 'seq without gaps from 0');
  assert.equal(sum(distinct(world.events()), 'playing_ms'), 30000);
});

test('410 ends it: nothing is sent and nothing is held any more', async () => {
  const world = new World(() => reply(410));
  world.beat();
  await world.run(1000);
  for (let at = 0; at < 5; at += 1) world.beat();
  await world.run(10 * MINUTE_MS);
  assert.equal(world.posts.length, 1);
  assert.equal(world.queue.held(), 0);
  assert.equal(world.queue.stopped(), true);
});

test('an outage of an hour merges within minutes, sends each minute apart and loses nothing', async () => {
  const world = new World((_, { time }) => (time - T0 < 60 * MINUTE_MS ? reply(503) : accepted()));
  for (let at = 0; at < 366; at += 1) {
    world.beat();
    await world.run(10000);
  }
  await world.run(10 * MINUTE_MS);
  const events = distinct(world.events());
  assert.equal(sum(events, 'playing_ms'), 366000);
  assert.ok(new Set(events.map((event) => Math.floor(event.ts_ms / MINUTE_MS))).size >= 60, 'each minute keeps its own sums');
});

test('a full queue merges across minutes and stays bounded', async () => {
  const world = new World(() => reply(503));
  for (let minute = 0; minute < 400; minute += 1) {
    world.beat();
    await world.run(MINUTE_MS);
    assert.ok(world.queue.held() <= 128, `${world.queue.held()} held`);
  }
  world.answer = accepted;
  await world.run(60 * MINUTE_MS);
  assert.equal(world.queue.held(), 0);
  assert.equal(sum(distinct(world.events()), 'playing_ms'), 400000);
});

test('at most 64 heartbeats of a session carry the same minute, the end included, and none is lost', async () => {
  const world = new World(accepted);
  for (let at = 0; at < 100; at += 1) {
    world.beat({ interval_ms: 100, playing_ms: 100, reason: 'state' });
    await world.run(500);
  }
  world.queue.push(world.session, world.tags, { n: 0, ts_ms: world.time, interval_ms: 100, playing_ms: 100, reason: 'exit', state: 'quit', playhead_ms: 0, outcome: 'quit' });
  world.queue.flush(true);
  await world.run(1000);
  const events = world.events();
  assert.equal(events.length, 64);
  assert.equal(events.at(-1).outcome, 'quit');
  assert.equal(sum(events, 'playing_ms'), 10100);
});

test('a full minute joins the next one when the session goes on', async () => {
  const world = new World(accepted);
  for (let at = 0; at < 240; at += 1) {
    world.beat({ interval_ms: 500, playing_ms: 500 });
    await world.run(500);
  }
  await world.run(MINUTE_MS);
  world.beat();
  await world.run(1000);
  const by_minute = {};
  for (const event of world.events()) (by_minute[Math.floor(event.ts_ms / MINUTE_MS)] ||= []).push(event);
  assert.deepEqual(Object.values(by_minute).map((events) => events.length), [63, 63, 1]);
  assert.equal(sum(world.events(), 'playing_ms'), 121000);
});

test('Retry-After is kept, in seconds and as a date', async () => {
  for (const header of ['40', new Date(T0 + 40000).toUTCString()]) {
    const world = new World((n) => (n === 1 ? reply(429, { 'Retry-After': header }) : accepted()));
    world.beat();
    await world.run(39000);
    assert.equal(world.posts.length, 1);
    await world.run(6000);
    assert.equal(world.posts.length, 2);
  }
});

test('a refusal for good is not repeated, and slows down what follows', async () => {
  const world = new World(() => reply(400));
  world.beat();
  await world.run(5 * MINUTE_MS);
  assert.equal(world.posts.length, 1);
  assert.equal(world.queue.held(), 0);
});

test('a request that never answers is given up after 30 s and repeated', async () => {
  const world = new World(() => accepted());
  world.fetch = function hang(url, { body, signal }) {
    this.posts.push(JSON.parse(body));
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))));
  };
  world.beat();
  await world.run(29000);
  assert.equal(world.posts.length, 1);
  await world.run(10000);
  assert.ok(world.posts.length >= 2);
});

test('no body is over 57,344 bytes, even after a long outage with long error messages', async () => {
  const world = new World((_, { time }) => (time - T0 < 100 * MINUTE_MS ? reply(503) : accepted()));
  for (let minute = 0; minute < 100; minute += 1) {
    world.beat({ error_count: 1, error: { code: 'x', fatal: false, technical: true, message: '€'.repeat(256) } });
    await world.run(MINUTE_MS);
  }
  await world.run(20 * MINUTE_MS);
  assert.ok(Math.max(...world.posts.map((post) => post.bytes)) <= 57344);
  assert.equal(world.queue.held(), 0);
  assert.equal(sum(distinct(world.events()), 'error_count'), 100);
});

test('bodies go as text/plain with keepalive, so no preflight is asked', async () => {
  const world = new World(accepted);
  world.beat();
  await world.run(100);
  assert.deepEqual(world.posts[0].headers, { 'Content-Type': 'text/plain' });
  assert.equal(world.posts[0].keepalive, true);
});

test('a change of tags keeps heartbeats apart; an event carries the tags that differ from the envelope', async () => {
  const world = new World((n) => (n === 1 ? reply(503) : accepted()));
  world.beat();
  await world.settle();
  world.beat();
  world.beat({}, { tags: { 'cdn.name': 'b' } });
  await world.run(10000);
  const last = world.posts.at(-1);
  assert.deepEqual(last.tags, { 'cdn.name': 'a' });
  assert.deepEqual(last.events.map((event) => event.tags), [undefined, { 'cdn.name': 'b' }]);
});

test('the end of a page is sent at once, though a back-off is running', async () => {
  const world = new World(() => reply(503));
  world.beat();
  await world.run(100);
  world.queue.push(world.session, world.tags, { n: 0, ts_ms: world.time, interval_ms: 100, reason: 'exit', state: 'quit', playhead_ms: 0, outcome: 'quit' });
  world.queue.flush(true);
  await world.settle();
  assert.deepEqual(world.posts.at(-1).events.map((event) => event.seq), [0, 1]);
});

test('sendBeacon is used only where fetch is missing', async () => {
  const sent = [];
  const world = new World(accepted, { fetch: undefined, beacon: (url, text) => sent.push(JSON.parse(text)) > 0 });
  world.beat();
  await world.settle();
  assert.equal(sent.length, 1);
  assert.equal(world.queue.held(), 0);
});

test('hints of a reply reach the callback; a reply that is no JSON does no harm', async () => {
  const errors = [];
  const world = new World((n) => reply(200, {}, n === 1 ? '{"hints":[{"avoid":{"cdn.name":"a"}}]}' : '<html>'), { on_error: (error) => errors.push(error) });
  world.beat();
  await world.run(1000);
  world.beat();
  await world.run(1000);
  assert.deepEqual(world.hints, [{ avoid: { 'cdn.name': 'a' } }]);
  assert.equal(errors.length, 1);
  assert.equal(world.queue.held(), 0);
});

test('merging adds sums, takes the larger A/V extreme and keeps start, fatal error and outcome', () => {
  const a = { n: 0, ts_ms: 1, interval_ms: 5, reason: 'error', state: 'starting', playhead_ms: 3, startup_ms: 800, av_n: 1, av_sum_ms: -9, av_absmax_ms: 9, error: { code: 'f', fatal: true } };
  const b = { n: 0, ts_ms: 2, interval_ms: 6, reason: 'interval', state: 'playing', playhead_ms: 4, playing_ms: 6, av_n: 2, av_sum_ms: 3, av_absmax_ms: 4, outcome: 'quit', error: { code: 'n', fatal: false } };
  assert.deepEqual(merge(a, b), {
    n: 0, ts_ms: 2, interval_ms: 11, reason: 'error', state: 'playing', playhead_ms: 4, startup_ms: 800, playing_ms: 6,
    av_n: 3, av_sum_ms: -6, av_absmax_ms: 9, outcome: 'quit', error: { code: 'f', fatal: true },
  });
});

test('back-off is full jitter between 1 and 300 s', () => {
  assert.equal(backoff(1, 0), 1000);
  assert.equal(backoff(3, 1), 8000);
  assert.equal(backoff(50, 1), 300000);
  assert.equal(backoff(50, 0), 20000);
});
