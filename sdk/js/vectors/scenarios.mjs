/**
 * The playbacks behind the golden vectors: what happened, told as events and ticks, and what is true of it.
 *
 * `truth` is written by hand from the story, not from the reducer. `node vectors/bless.mjs` writes each scenario with
 * the reducer's heartbeats to vectors/NAME.json, which every SDK with the same reducer must reproduce.
 */

const EPOCH_MS = 1767225600000; // 2026-01-01T00:00:00Z

/** A clock, a playhead and the inputs they give. Times in ms, `rate` in media seconds a second. */
class Story {
  constructor() {
    Object.assign(this, { t: 1000, p: 0, inputs: [], fields: {} });
  }

  /** What every later input carries, e.g. {watch: true}. */
  set(fields) {
    Object.assign(this.fields, fields);
    return this;
  }

  event(type, extra = {}) {
    this.inputs.push({ type, t: this.t, ts: EPOCH_MS + this.t, p: Math.round(this.p * 1e6) / 1e6, ...this.fields, ...extra });
    return this;
  }

  /** Time goes by with a watchdog tick every `every` ms; the playhead runs unless `still`; `each` adds fields to a tick. */
  run(ms, { still = false, rate = 1, every = 250, each = () => ({}) } = {}) {
    for (let left = ms; left > 0; left -= every) {
      const dt = Math.min(every, left);
      this.t += dt;
      if (!still) this.p += (dt / 1000) * rate;
      this.event('tick', { ...(rate === 1 ? {} : { rate }), ...each(this.t) });
    }
    return this;
  }

  wait(ms) {
    return this.run(ms, { still: true });
  }

  seek(to) {
    this.p = to;
    return this.event('seeking');
  }

  /** Start, with a first frame after `ms`. */
  start(ms = 700) {
    return this.event('play').wait(ms).event('playing');
  }
}

const story = () => new Story();
const pictures = (t) => ({ watch: true, pictures: 6, picture_t: t - 10 });
const stillPicture = () => ({ watch: true, pictures: 0, picture_t: 0 });

export const SCENARIOS = [
  {
    name: 'plain_playback',
    behaviour: 'start-up of 700 ms, 30 s of playing at one bitrate, the end',
    inputs: story().event('bitrate', { video: 2000, audio: 128 }).start().run(30000).event('pause').event('ended').inputs,
    truth: { startup_ms: 700, startup_wait_ms: 700, playing_ms: 30000, media_ms: 30000, bits_kb: 63840, rebuffer_ms: 0, outcome: 'completed' },
  },
  {
    name: 'stall_by_events',
    behaviour: 'waiting to playing is the stall, whatever the playhead does',
    inputs: story().start().run(5100).event('waiting').wait(4330).event('playing').run(6000).event('quit').inputs,
    truth: { rebuffer_ms: 4330, rebuffer_count: 1, playing_ms: 11100, outcome: 'quit' },
  },
  {
    name: 'stall_by_watchdog',
    behaviour: 'a player that fires no waiting: the playhead stands still for 3,100 ms between ticks',
    inputs: story().start().run(5000).run(100, { every: 100 }).wait(3100).run(6000).event('quit').inputs,
    truth: { rebuffer_ms: 3100, rebuffer_count: 1, playing_ms: 11100 },
  },
  {
    name: 'short_standstill',
    behaviour: 'a playhead that stands still for less than a second without an event is jitter, not a stall',
    inputs: story().start().run(5000).wait(750).run(5000).event('quit').inputs,
    truth: { rebuffer_ms: 0, rebuffer_count: 0, playing_ms: 10750, media_ms: 10000 },
  },
  {
    name: 'seek',
    behaviour: 'a seek that waits 1,300 ms is a seek, not a stall, though waiting fires inside it',
    inputs: story().start().run(4000).seek(120).event('waiting').wait(900).event('seeked').wait(400).event('playing').run(3000).event('quit').inputs,
    truth: { seek_wait_ms: 1300, seek_count: 1, rebuffer_ms: 0, rebuffer_count: 0, playing_ms: 7000, media_ms: 7000 },
  },
  {
    name: 'seek_while_paused',
    behaviour: 'who seeks while paused does not wait',
    inputs: story().start().run(2000).event('pause').wait(1000).seek(60).wait(500).event('seeked').wait(500).event('play').event('playing').run(1000).event('quit').inputs,
    truth: { paused_ms: 2000, seek_count: 1, seek_wait_ms: 0, playing_ms: 3000 },
  },
  {
    name: 'nudge_in_stall',
    behaviour: 'a player that hops 0.1 s over a hole while stalled has not been sought by the viewer',
    inputs: story().start().run(5000).event('waiting').wait(2000).seek(5.1).event('seeked').wait(500).event('playing').run(2000).event('quit').inputs,
    truth: { rebuffer_ms: 2500, rebuffer_count: 1, seek_count: 0, seek_wait_ms: 0, playing_ms: 7000 },
  },
  {
    name: 'no_playing_event',
    behaviour: 'a first frame that no event shows: a playhead that runs for a second has started when it began to run',
    inputs: story().event('play').wait(800).run(5000).event('quit').inputs,
    truth: { startup_ms: 800, startup_wait_ms: 800, playing_ms: 5000, media_ms: 5000 },
  },
  {
    name: 'pause_and_rate',
    behaviour: 'pauses are not waits; at double speed media time runs twice as fast as playing time',
    inputs: story().start().run(2000).event('pause').wait(15000).event('play').event('playing').run(4000, { rate: 2 }).event('quit').inputs,
    truth: { paused_ms: 15000, playing_ms: 6000, media_ms: 10000, rebuffer_ms: 0 },
  },
  {
    name: 'freeze',
    behaviour: 'the sound goes on while no new picture comes for 2,010 ms: a freeze, and no stall',
    inputs: story().start().run(5000, { each: pictures }).run(2000, { each: stillPicture })
      .run(1, { every: 1, each: (t) => ({ watch: true, pictures: 1, picture_t: t - 1 }) }).run(5000, { each: pictures }).event('quit').inputs,
    truth: { freeze_ms: 2010, rebuffer_ms: 0, playing_ms: 12001 },
  },
  {
    name: 'slow_page_is_no_freeze',
    behaviour: 'a page too busy to ask for two seconds finds many pictures shown: not frozen',
    inputs: story().start().run(5000, { each: pictures }).run(2000, { every: 2000, each: (t) => ({ watch: true, pictures: 50, picture_t: t - 20 }) })
      .run(3000, { each: pictures }).event('quit').inputs,
    truth: { freeze_ms: 0, rebuffer_ms: 0, playing_ms: 10000 },
  },
  {
    name: 'freeze_over_a_heartbeat',
    behaviour: 'a freeze that spans the end of an interval is told in parts, never more than the playing time',
    inputs: story().start(300).run(8000, { each: pictures }).run(4000, { each: stillPicture }).run(4000, { each: pictures }).event('quit').inputs,
    truth: { freeze_ms: 4010, playing_ms: 16000 },
  },
  {
    name: 'dropped_frames_and_av',
    behaviour: 'quality counters and A/V offset moments: three moments of -40, -20 and 10 ms',
    inputs: story().set({ frames: [0, 0] }).start().set({ frames: [2, 25] }).run(1000).set({ frames: [7, 50] })
      .event('tick', { av_ms: -40 }).event('tick', { av_ms: -20 }).event('tick', { av_ms: 10 }).event('quit').inputs,
    truth: { frames_dropped: 7, frames_total: 50, av_n: 3, av_sum_ms: -50, av_sumsq_ms2: 2100, av_absmax_ms: 40 },
  },
  {
    name: 'bitrate_switches',
    behaviour: 'one switch up and one down; kilobits follow what is shown',
    inputs: story().event('bitrate', { video: 1000 }).start().run(4000).event('bitrate', { video: 3000 }).run(4000).event('bitrate', { video: 500 }).run(2000).event('quit').inputs,
    truth: { upshift_count: 1, downshift_count: 1, bits_kb: 17000, media_ms: 10000 },
  },
  {
    name: 'advertisement',
    behaviour: 'time in an advertisement is ad time, whether it plays or waits',
    inputs: story().start().run(2000).event('ad', { on: true }).run(5000).event('waiting').wait(1000).event('playing').event('ad', { on: false }).run(2000).event('quit').inputs,
    truth: { ad_ms: 6000, playing_ms: 4000, rebuffer_ms: 0, rebuffer_count: 0 },
  },
  {
    name: 'error_before_start',
    behaviour: 'the element fails before the first frame',
    inputs: story().event('play').wait(1500).event('error', { code: 'media.4', fatal: true, terminal: true, message: 'no source' }).inputs,
    truth: { startup_wait_ms: 1500, error_count: 1, outcome: 'start_failed' },
  },
  {
    name: 'error_recovered',
    behaviour: 'a fatal error of the player that the application gets over is an error, not the outcome',
    inputs: story().start().run(3000).event('waiting').wait(1000).event('error', { code: 'hls.fragLoadError', fatal: true }).wait(2000).event('playing').run(15000).event('ended').inputs,
    truth: { error_count: 1, rebuffer_ms: 3000, playing_ms: 18000, outcome: 'completed' },
  },
  {
    name: 'error_not_recovered',
    behaviour: 'a fatal error that playback does not get over within ten seconds is the outcome',
    inputs: story().start().run(3000).event('waiting').event('error', { code: 'hls.fragLoadError', fatal: true }).wait(12000).inputs,
    truth: { error_count: 1, rebuffer_count: 1, playing_ms: 3000, outcome: 'failed' },
  },
  {
    name: 'exit_before_start',
    behaviour: 'who leaves after 2.5 s without a picture has exited before the start',
    inputs: story().event('play').wait(2500).event('exit').inputs,
    truth: { startup_wait_ms: 2500, outcome: 'exit_before_start' },
  },
  {
    name: 'early_exit',
    behaviour: 'who leaves within a second has not waited',
    inputs: story().event('play').wait(600).event('exit').inputs,
    truth: { startup_wait_ms: 600, outcome: 'quit' },
  },
  {
    name: 'suspension',
    behaviour: 'a page that slept for two minutes was not playing',
    inputs: story().start().run(3000).run(120000, { every: 120000 }).run(3000).event('quit').inputs,
    truth: { playing_ms: 6000, rebuffer_ms: 0, interval_ms: 126700, outcome: 'quit' },
  },
  {
    name: 'new_session_after_sleep',
    behaviour: 'after more than 15 minutes of sleep what follows is a new session; the old one stays without an outcome',
    inputs: story().start().run(3000).run(1000000, { every: 1000000, still: true }).run(5000).event('quit').inputs,
    truth: { sessions: 2, playing_ms: 8000, outcome: 'quit' },
  },
  {
    name: 'played_again',
    behaviour: 'a replay after the end is a new session',
    inputs: story().start().run(2000).event('ended').wait(3000).seek(0).event('play').wait(200).event('playing').run(1000).event('ended').inputs,
    truth: { sessions: 2, playing_ms: 3000, startup_wait_ms: 900, outcome: 'completed' },
  },
  {
    name: 'requests_and_latency',
    behaviour: 'requests before the start count too; live latency is sampled while playing',
    inputs: story().event('request', { ms: 120, kb: 4000 }).start().event('request', { ms: 80, kb: 2000 }).event('request', { ms: 0, kb: 0, failed: true })
      .event('latency', { ms: 4200 }).run(1000).event('latency', { ms: 4400 }).event('quit').inputs,
    truth: { req_n: 3, req_err_n: 1, req_ms_sum: 200, req_kb: 6000, latency_n: 2, latency_sum_ms: 8600 },
  },
];
