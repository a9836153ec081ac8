// What is in one row: sums of the last seconds, and a number for each second of the last minute. Whatever is added is taken
// away again when its time is over, so that a second costs as much as what happened in it, and a minute no more.

export const KEPT = 60;

// The agent counts durations in eight steps to each doubling; the longest that it knows is of 2^32 microseconds.
const STEPS = 8 * 32 + 2;
const longest = new Float64Array(STEPS);

function step(micros) {
  const at = Math.min(STEPS - 1, Math.floor(8 * Math.log2(Math.max(1, micros))));
  if (micros > longest[at]) longest[at] = micros;
  return at;
}

export class Sum {
  count = 0;
  failed = 0;
  bytes = 0;
  // Connections that are open now.
  open = 0;
  // Of those that ended and those that are open: what travelled, and of it what did in mutual TLS.
  carried = 0;
  tls = 0;
  latencies = new Int32Array(STEPS);

  // What ended and moved in a second; `times` is -1 when that is over.
  add(flow, times = 1) {
    this.count += times * flow.count;
    this.failed += times * flow.failed;
    this.bytes += times * (flow.sent + flow.received);
    this.protect(flow, times * flow.count);
    for (const [micros, count] of flow.latencies) this.latencies[step(micros)] += times * count;
  }

  // What is open at the end of a second; until the next one ends.
  hold(flow, times = 1) {
    this.open += times * flow.open;
    this.protect(flow, times * flow.open);
  }

  protect({ mutualTls }, count) {
    if (mutualTls !== null) this.carried += count;
    if (mutualTls) this.tls += count;
  }

  merge(other) {
    for (const name of ["count", "failed", "bytes", "open", "carried", "tls"]) this[name] += other[name];
    for (let at = 0; at < STEPS; at += 1) this.latencies[at] += other.latencies[at];
  }

  isAny() {
    return this.count + this.open + this.bytes > 0;
  }

  // Milliseconds that this share of all took at most; null of nothing.
  quantile(part) {
    const wanted = Math.max(1, Math.ceil(part * this.latencies.reduce((sum, count) => sum + count, 0)));
    let seen = 0;
    for (let at = 0; at < STEPS; at += 1) if ((seen += this.latencies[at]) >= wanted) return longest[at] / 1000;
    return null;
  }

  // Of 100 so many failed.
  failures() {
    return this.count === 0 ? 0 : (this.failed * 100) / this.count;
  }

  // Of 100 so many went in mutual TLS; null where none went anywhere.
  encrypted() {
    return this.carried === 0 ? null : (this.tls * 100) / this.carried;
  }
}

// A ring of the last minute. Seconds in which nothing was added are made up for when it is touched or read.
export class Trend {
  newest = 0;
  numbers = new Float64Array(KEPT);

  add(second, number) {
    this.reach(second);
    this.numbers[second % KEPT] += number;
  }

  // The oldest first.
  read(second) {
    this.reach(second);
    const first = (second + 1) % KEPT;
    return [...this.numbers.subarray(first), ...this.numbers.subarray(0, first)];
  }

  reach(second) {
    for (let at = Math.max(this.newest, second - KEPT) + 1; at <= second; at += 1) this.numbers[at % KEPT] = 0;
    this.newest = second;
  }
}
