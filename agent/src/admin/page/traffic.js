// What the agent's /traffic says, kept for a minute, and what the tables and the graph make of it. No drawing here.

export const KEPT = 60;
const WINDOW = 10;

export const name = (peer) => (peer.address ? peer.address : `${peer.namespace}/${peer.workload}`);
const service = (flow) => flow.service?.replace(/\.svc\..*$/, "") ?? "-";
export const to = (flow) => (flow.destination ? name(flow.destination) : service(flow));

// Sums of flows that have something in common.
export class Sum {
  count = 0;
  failed = 0;
  // Of those that went to somebody; and of them, those in mutual TLS.
  carried = 0;
  tls = 0;
  bytes = 0;
  latencies = new Map();

  add(flow) {
    this.count += flow.count;
    this.failed += flow.failed;
    this.carried += flow.destination ? flow.count : 0;
    this.tls += flow.mutualTls ? flow.count : 0;
    this.bytes += flow.sent + flow.received;
    for (const [micros, count] of flow.latencies) this.latencies.set(micros, (this.latencies.get(micros) ?? 0) + count);
  }

  // Milliseconds that this share of all took at most; null of nothing.
  quantile(share) {
    const steps = [...this.latencies].sort((one, other) => one[0] - other[0]);
    const wanted = Math.max(1, Math.ceil(share * steps.reduce((sum, [, count]) => sum + count, 0)));
    let seen = 0;
    for (const [micros, count] of steps) if ((seen += count) >= wanted) return micros / 1000;
    return null;
  }

  percent(part, of = this.count) {
    return of === 0 ? 0 : (part * 100) / of;
  }

  // Of 100 so many went in mutual TLS; null where none went anywhere.
  encrypted() {
    return this.carried === 0 ? null : this.percent(this.tls, this.carried);
  }
}

export class Traffic {
  seconds = [];

  add(second) {
    this.seconds.push(second);
    if (this.seconds.length > KEPT) this.seconds.shift();
  }

  // Seconds that rates are of.
  length() {
    return this.seconds.slice(-WINDOW).reduce((sum, second) => sum + second.milliseconds, 0) / 1000 || 1;
  }

  // Rows by key: `keys(flow)` are pairs of a key and the sum of the row that the flow belongs to.
  groups(keys) {
    const rows = new Map();
    const first = Math.max(0, this.seconds.length - WINDOW);
    this.seconds.forEach((second, at) => {
      for (const flow of second.flows) {
        for (const [key, role, facts] of keys(flow)) {
          let row = rows.get(key);
          if (!row) rows.set(key, (row = { key, facts, own: new Sum(), other: new Sum(), trend: new Array(KEPT).fill(0), failing: false }));
          row.trend[KEPT - this.seconds.length + at] += flow.count;
          if (at >= first) row[role].add(flow);
          if (at >= first && flow.failed > 0) row.failing = true;
        }
      }
    });
    return rows;
  }

  // Of pods of this node: what comes in is theirs as servers, what goes out theirs as clients.
  workloads() {
    return this.groups((flow) =>
      flow.direction === "outbound" ? [[name(flow.source), "other"]] : [[to(flow), "own"]]);
  }

  routes() {
    const rows = this.groups((flow) => {
      if (flow.direction !== "outbound") return [];
      const facts = { service: service(flow), rule: flow.route ?? "-", to: to(flow) };
      return [[`${facts.service} ${facts.rule} ${facts.to}`, "own", facts]];
    });
    const ofService = new Map();
    for (const { facts, own } of rows.values()) ofService.set(facts.service, (ofService.get(facts.service) ?? 0) + own.count);
    for (const row of rows.values()) row.share = row.own.percent(row.own.count, ofService.get(row.facts.service));
    return rows;
  }

  // One edge between two. What both sides tell is told once: by the client's, where its pod is of this node.
  edges() {
    const both = new Set();
    const pair = (flow) => `${name(flow.source)} ${to(flow)}`;
    for (const second of this.seconds) for (const flow of second.flows) if (flow.direction === "outbound") both.add(pair(flow));
    return this.groups((flow) => {
      if (flow.direction === "inbound" && both.has(pair(flow))) return [];
      return [[pair(flow), "own", { from: name(flow.source), to: to(flow), isService: !flow.destination }]];
    });
  }

  all(edges) {
    const sum = new Sum();
    for (const { own } of edges.values()) {
      sum.count += own.count; sum.failed += own.failed; sum.carried += own.carried; sum.tls += own.tls; sum.bytes += own.bytes;
      for (const [micros, count] of own.latencies) sum.latencies.set(micros, (sum.latencies.get(micros) ?? 0) + count);
    }
    return sum;
  }
}

export const scaled = (number) => {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (number >= size) return (number / size).toFixed(1) + unit;
  return number.toFixed(1);
};
export const share = (number) => (number > 0 && number < 0.1 ? "<0.1 %" : `${number >= 99.95 ? 100 : number.toFixed(1)} %`);
export const milliseconds = (number) =>
  number === null ? "-" : number < 10 ? `${number.toFixed(2)} ms` : number < 1000 ? `${number.toFixed(0)} ms` : `${(number / 1000).toFixed(1)} s`;
