/** The adapters on a fake page: what the browser's and the players' events become, and what the page's end does. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { monitor } from '../tocsin.js';

const REPLACED = ['navigator', 'document', 'performance', 'fetch', 'setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'Date', 'addEventListener', 'removeEventListener'];
const GENUINE = REPLACED.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
const GenuineDate = Date;

const put = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

class Target {
  constructor() { this.listeners = []; }

  addEventListener(name, f) { this.listeners.push([name, f]); }

  removeEventListener(name, f) { this.listeners = this.listeners.filter(([one, g]) => one !== name || g !== f); }

  // The players' way to say the same.
  on(name, f) { this.addEventListener(name, f); }

  fire(name, ...args) { for (const [one, f] of this.listeners) if (one === name) f(...args); }
}

class Video extends Target {
  constructor() {
    super();
    Object.assign(this, { currentTime: 0, playbackRate: 1, paused: true, readyState: 0, videoWidth: 480, autoplay: false, seeking: false, error: null, dropped: 0, total: 0 });
  }

  getVideoPlaybackQuality() { return { droppedVideoFrames: this.dropped, totalVideoFrames: this.total }; }

  requestVideoFrameCallback(f) { this.onFrame = f; }

  fire(type) { super.fire(type, { type }); }
}

class Page {
  constructor() {
    Object.assign(this, { mono: 5000, wall: 1767225600000, ticks: [], posts: [], video: new Video(), document: Object.assign(new Target(), { hidden: false }), window: new Target(), status: 204, frame: 0 });
    put('navigator', { userAgentData: { mobile: false, platform: 'Linux' }, connection: { effectiveType: '4g' } });
    put('document', this.document);
    put('performance', { now: () => this.mono });
    put('Date', class extends GenuineDate { static now() { return page.wall; } });
    put('fetch', (url, { body }) => {
      this.posts.push({ url, ...JSON.parse(body) });
      return Promise.resolve(new Response(null, { status: this.status }));
    });
    put('setInterval', (f) => this.ticks.push(f));
    put('clearInterval', () => { this.ticks = []; });
    put('setTimeout', () => 0);
    put('clearTimeout', () => {});
    put('addEventListener', (name, f) => this.window.addEventListener(name, f));
    put('removeEventListener', (name, f) => this.window.removeEventListener(name, f));
  }

  async settle() { for (let turn = 0; turn < 8; turn += 1) await new Promise((resolve) => setImmediate(resolve)); }

  /** `ms` go by in ticks of 250 ms; the playhead runs at `rate`; one of `pictures` is shown a tick. */
  async run(ms, { rate = 1, pictures = true } = {}) {
    for (let left = ms; left > 0; left -= 250) {
      const dt = Math.min(250, left);
      this.mono += dt;
      this.wall += dt;
      this.video.currentTime += (dt / 1000) * rate;
      if (pictures && rate) {
        this.frame += 1;
        this.video.total += 6;
        const shown = this.video.onFrame;
        if (shown) shown(this.mono, { presentedFrames: this.frame, mediaTime: this.video.currentTime - 0.01, expectedDisplayTime: this.mono + 5 });
      }
      this.ticks.forEach((tick) => tick());
      await this.settle();
    }
  }

  async start() {
    this.video.paused = false;
    this.video.fire('play');
    await this.run(500, { rate: 0 });
    this.video.fire('playing');
    await this.settle();
  }

  events() { return this.posts.flatMap((post) => post.events); }

  total(field) { return this.events().reduce((sum, event) => sum + (event[field] || 0), 0); }
}

let page;
beforeEach(() => { page = new Page(); });
afterEach(() => { for (const [name, descriptor] of GENUINE) descriptor ? Object.defineProperty(globalThis, name, descriptor) : delete globalThis[name]; });

const options = (more = {}) => ({ url: 'https://t.example/v1/heartbeats', key: 'a key', tags: { 'content.id': 'film', 'cdn.name': null }, ...more });

test('a playback from start to end: one session, seq from 0, tags and key in every post', async () => {
  monitor(page.video, options());
  await page.start();
  await page.run(12000);
  page.video.fire('ended');
  await page.settle();
  const events = page.events();
  assert.deepEqual(events.map((event) => event.reason), ['start', 'state', 'interval', 'ended']);
  assert.deepEqual(events.map((event) => event.seq), [0, 1, 2, 3]);
  assert.equal(new Set(events.map((event) => event.session_id)).size, 1);
  assert.match(events[0].session_id, /^[0-9a-f]{32}$/);
  assert.equal(events[1].startup_ms, 500);
  assert.equal(page.total('playing_ms'), 12000);
  for (const post of page.posts) {
    assert.equal(post.schema, 'tocsin.heartbeat/1');
    assert.equal(post.url, 'https://t.example/v1/heartbeats?key=a%20key');
    assert.deepEqual(post.tags, { 'device.category': 'desktop', 'os.name': 'Linux', 'network.type': '4g', 'content.id': 'film' });
  }
});

test('nothing is sent before somebody asks to play', async () => {
  monitor(page.video, options());
  await page.run(30000, { rate: 0 });
  page.window.fire('pagehide');
  await page.settle();
  assert.equal(page.posts.length, 0);
});

test('Global Privacy Control: nothing is measured and nothing is sent', async () => {
  navigator.globalPrivacyControl = true;
  const handle = monitor(page.video, options());
  await page.start();
  await page.run(20000);
  handle.setTags({ 'cdn.name': 'b' });
  handle.error('x');
  handle.stop();
  assert.equal(page.posts.length, 0);
  assert.equal(page.video.listeners.length, 0);
});

test('410 detaches: no listener and no timer is left', async () => {
  page.status = 410;
  monitor(page.video, options());
  await page.start();
  await page.run(1000);
  assert.equal(page.posts.length, 1);
  assert.equal(page.video.listeners.length, 0);
  assert.equal(page.ticks.length, 0);
});

test('sampling is by session: one in k is reported, with its rate', async () => {
  const random = Math.random;
  for (const [draw, sent] of [[0.24, true], [0.26, false]]) {
    page = new Page();
    Math.random = () => draw;
    const handle = monitor(page.video, options({ sample_k: 4 }));
    await page.start();
    await page.run(11000);
    handle.stop();
    Math.random = random;
    await page.settle();
    assert.equal(page.posts.length > 0, sent);
    if (sent) assert.ok(page.posts.every((post) => post.sample_rate === 0.25));
  }
});

test('a change of tags closes the interval: what was before belongs to the old CDN', async () => {
  const handle = monitor(page.video, options({ tags: { 'cdn.name': 'a' } }));
  await page.start();
  await page.run(3000);
  handle.setTags({ 'cdn.name': 'b' });
  handle.setTags({ 'cdn.name': 'b' });
  await page.run(2000);
  handle.stop();
  await page.settle();
  const by_cdn = {};
  for (const post of page.posts) for (const event of post.events) {
    const cdn = (event.tags || post.tags)['cdn.name'];
    by_cdn[cdn] = (by_cdn[cdn] || 0) + (event.playing_ms || 0);
  }
  assert.deepEqual(by_cdn, { a: 3000, b: 2000 });
});

test('the picture stands still while the playhead runs: a freeze; a hidden page has none', async () => {
  monitor(page.video, options());
  await page.start();
  await page.run(3000);
  await page.run(2000, { pictures: false });
  await page.run(3000);
  page.document.hidden = true;
  page.document.fire('visibilitychange');
  await page.run(3000, { pictures: false });
  page.window.fire('pagehide');
  await page.settle();
  assert.equal(page.total('freeze_ms'), 2250, 'from the last picture to the next one, a tick later');
  assert.equal(page.total('rebuffer_ms'), 0);
  assert.equal(page.events().at(-1).outcome, 'quit');
});

test('the A/V offset is the shown time less the audio clock at that moment', async () => {
  monitor(page.video, options());
  await page.start();
  await page.run(2000);
  page.video.fire('ended');
  await page.settle();
  const n = page.total('av_n');
  assert.ok(n >= 7);
  assert.equal(page.total('av_sum_ms'), -15 * n);
  assert.equal(page.total('av_sumsq_ms2'), 225 * n);
});

test('a waiting event inside a seek is no stall', async () => {
  monitor(page.video, options());
  await page.start();
  await page.run(2000);
  Object.assign(page.video, { seeking: true, currentTime: 50 });
  page.video.fire('waiting');
  page.video.fire('seeking');
  await page.run(1000, { rate: 0 });
  page.video.seeking = false;
  page.video.fire('seeked');
  page.video.fire('playing');
  await page.run(1000);
  page.video.fire('ended');
  await page.settle();
  assert.equal(page.total('rebuffer_count'), 0);
  assert.equal(page.total('seek_wait_ms'), 1000);
});

test('autoplay: start-up counts from the load, not from the first data', async () => {
  page.video.autoplay = true;
  monitor(page.video, options());
  page.video.fire('loadstart');
  await page.run(1500, { rate: 0 });
  page.video.paused = false;
  page.video.fire('play');
  page.video.fire('playing');
  await page.settle();
  assert.equal(page.total('startup_ms'), 1500);
});

test('a media error before the first frame: start_failed, with its code and a bounded message', async () => {
  monitor(page.video, options());
  page.video.fire('play');
  page.video.error = { code: 4, message: `${'é'.repeat(255)}\ud83d and more` };
  page.video.fire('error');
  await page.settle();
  const last = page.events().at(-1);
  assert.equal(last.outcome, 'start_failed');
  assert.equal(last.error.code, 'media.4');
  assert.equal(last.error.message, `${'é'.repeat(255)}\ufffd`);
});

test('hls.js: bitrate, requests, failed requests and fatal errors; its stall errors are not counted', async () => {
  class Hls extends Target { static version = '1.7.4'; }
  const hls = Object.assign(new Hls(), { levels: [{ bitrate: 700000 }, { bitrate: 1400000 }] });
  monitor(page.video, options({ hls }));
  await page.start();
  hls.fire('hlsLevelSwitched', 'hlsLevelSwitched', { level: 0 });
  hls.fire('hlsFragLoaded', '', { frag: { stats: { loading: { start: 10, end: 90 }, total: 125000 } } });
  await page.run(2000);
  hls.fire('hlsLevelSwitched', '', { level: 1 });
  hls.fire('hlsError', '', { details: 'bufferStalledError', fatal: false });
  hls.fire('hlsError', '', { details: 'fragLoadTimeOut', fatal: false, frag: {} });
  hls.fire('hlsError', '', { details: 'fragLoadError', fatal: true, frag: {}, error: new Error('HTTP 500') });
  await page.run(1000);
  page.video.fire('ended');
  await page.settle();
  assert.equal(page.posts.at(-1).tags['player.name'], 'hls.js');
  assert.equal(page.posts.at(-1).tags['player.version'], '1.7.4');
  assert.deepEqual(page.events().at(-1).bitrate_kbps, { video: 1400, audio: 0 });
  const totals = Object.fromEntries(['req_n', 'req_err_n', 'req_ms_sum', 'req_kb', 'upshift_count', 'error_count', 'bits_kb'].map((field) => [field, page.total(field)]));
  assert.deepEqual(totals, { req_n: 3, req_err_n: 2, req_ms_sum: 80, req_kb: 1000, upshift_count: 1, error_count: 2, bits_kb: 2800 });
  assert.deepEqual(page.events().find((event) => event.error).error, { code: 'hls.fragLoadError', fatal: true, technical: true, message: 'HTTP 500' });
});

test('dash.js: the rendition on screen, its requests, its errors', async () => {
  const dash = Object.assign(new Target(), { getVersion: () => '5.2.1' });
  monitor(page.video, options({ dash }));
  await page.start();
  dash.fire('qualityChangeRendered', { mediaType: 'video', newRepresentation: { bitrateInKbit: 330.2 } });
  dash.fire('qualityChangeRendered', { mediaType: 'audio', newRepresentation: { bitrateInKbit: 67.4 } });
  dash.fire('fragmentLoadingCompleted', { request: { startDate: new GenuineDate(100), endDate: new GenuineDate(160), bytesLoaded: 1000 } });
  dash.fire('error', { error: { code: 27, message: 'fragment not available' } });
  page.video.fire('ended');
  await page.settle();
  assert.deepEqual(page.events().at(-1).bitrate_kbps, { video: 330, audio: 67 });
  assert.equal(page.total('req_ms_sum'), 60);
  assert.equal(page.total('req_kb'), 8);
  assert.equal(page.events().find((event) => event.error).error.code, 'dash.27');
});

test('shaka: the active variant and its critical errors; it fires no waiting, the watchdog finds the stall', async () => {
  class Player extends Target { static version = 'v5.2.12'; }
  const shaka = Object.assign(new Player(), { getVariantTracks: () => [{ active: false }, { active: true, bandwidth: 1500000, audioBandwidth: 100000 }] });
  monitor(page.video, options({ shaka }));
  await page.start();
  shaka.fire('adaptation');
  await page.run(3000);
  await page.run(4000, { rate: 0 });
  await page.run(3000);
  shaka.fire('error', { detail: { code: 1001, severity: 2, message: 'BAD_HTTP_STATUS' } });
  page.video.fire('ended');
  await page.settle();
  assert.deepEqual(page.events().at(-1).bitrate_kbps, { video: 1400, audio: 100 });
  assert.equal(page.total('rebuffer_ms'), 4000);
  assert.equal(page.total('rebuffer_count'), 1);
  assert.equal(page.events().find((event) => event.error).error.code, 'shaka.1001');
});

test('a machine that slept: the clock moves on, the sleep is neither playing nor a stall', async () => {
  monitor(page.video, options());
  await page.start();
  await page.run(3000);
  page.mono += 60000;
  page.wall += 120000; // the monotonic clock stood still for a part of it
  await page.run(3000);
  page.video.fire('ended');
  await page.settle();
  assert.equal(page.total('playing_ms'), 5750);
  assert.equal(page.total('rebuffer_ms'), 0);
  assert.ok(Math.abs(page.events().at(-1).ts_ms - page.wall) < 1000);
});
