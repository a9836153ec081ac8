// What the agent's /traffic says, as rows of the tables and edges of the graph. No drawing here.

import { KEPT, Sum, Trend } from "./sums.js";

// Rates are those of so many seconds: one alone jumps, and more hide what has just begun.
export const WINDOW = 10;

const name = (peer) => peer.address ?? `${peer.namespace}/${peer.workload}`;
const service = (flow) => flow.service?.replace(/\.svc\..*$/, "") ?? "-";
const to = (flow) => (flow.destination ? name(flow.destination) : service(flow));

// What both sides tell is told once: by the first of a row's sums, where it has anything.
export const told = (row) => (row.own.isAny() ? row.own : row.other);

class Row {
  own = new Sum();
  other = new Sum();
  // Of each second: what ended, and bytes.
  counts = new Trend();
  bytes = new Trend();

  constructor(key, facts) {
    [this.key, this.facts] = [key, facts];
  }

  isFailing() {
    return told(this).failed > 0;
  }
}

// Rows by key. `version` grows when one comes or goes.
class Rows extends Map {
  version = 0;

  of(key, facts, second) {
    let row = this.get(key);
    if (!row) {
      this.set(key, (row = new Row(key, facts)));
      this.version += 1;
    }
    row.heard = second;
    return row;
  }

  // Those of which nothing was heard since then.
  forget(second) {
    for (const [key, row] of this) {
      if (row.heard > second) continue;
      this.delete(key);
      this.version += 1;
    }
  }
}

export class Traffic {
  second = 0;
  // Those that rates are of: how long each was, and what it added to which sum.
  window = [];
  // Of pods of this node: what comes in is their own, what goes out is the other.
  workloads = new Rows();
  routes = new Rows();
  // Between two: what the client's side tells is its own, what the server's side tells the other.
  edges = new Rows();

  add({ milliseconds, flows }) {
    this.second += 1;
    for (const [sum, flow] of this.window.at(-1)?.parts ?? []) sum.hold(flow, -1);
    const parts = flows.flatMap((flow) => this.parts(flow));
    for (const [sum, flow] of parts) {
      sum.add(flow);
      sum.hold(flow);
    }
    this.window.push({ milliseconds, parts });
    if (this.window.length > WINDOW) for (const [sum, flow] of this.window.shift().parts) sum.add(flow, -1);
    for (const rows of [this.workloads, this.routes, this.edges]) rows.forget(this.second - KEPT);
  }

  // The sums that a flow belongs to.
  parts(flow) {
    const [from, onto, goesOut] = [name(flow.source), to(flow), flow.direction === "outbound"];
    const part = (row, sum) => {
      row.counts.add(this.second, flow.count);
      row.bytes.add(this.second, flow.sent + flow.received);
      return [sum(row), flow];
    };
    const [own, other] = [(row) => row.own, (row) => row.other];
    const ends = { from, to: onto, isService: !flow.destination };
    const parts = [
      part(this.workloads.of(goesOut ? from : onto, {}, this.second), goesOut ? other : own),
      part(this.edges.of(`${from} ${onto}`, ends, this.second), goesOut ? own : other),
    ];
    if (goesOut) {
      const facts = { service: service(flow), rule: flow.route ?? "-", to: onto };
      parts.push(part(this.routes.of(`${facts.service} ${facts.rule} ${onto}`, facts, this.second), own));
    }
    return parts;
  }

  // Seconds that rates are of.
  length() {
    return this.window.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / 1000 || 1;
  }

  // Of each route, how much of its Service's traffic it gets.
  shares() {
    const ofService = new Map();
    const weight = ({ own }) => own.count + own.open;
    for (const row of this.routes.values()) ofService.set(row.facts.service, (ofService.get(row.facts.service) ?? 0) + weight(row));
    for (const row of this.routes.values()) row.share = (weight(row) * 100) / (ofService.get(row.facts.service) || 1);
  }

  all() {
    const sum = new Sum();
    for (const edge of this.edges.values()) sum.merge(told(edge));
    return sum;
  }
}
