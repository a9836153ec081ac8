// The service graph: clients to the left of whom they ask. It is laid out anew only when who is in it changes, so that nothing
// jumps while numbers do.

import { scaled, share } from "./traffic.js";

const SVG = "http://www.w3.org/2000/svg";
// More than this is no picture any more; the busiest are shown.
const MOST = 40;
const [WIDTH, HEIGHT, ACROSS, DOWN, EDGE] = [190, 42, 520, 68, 24];
// Of an edge's numbers, with their lock.
const [WORDS, LINE] = [88, 30];
// Where on its edge they may stand, the best place first.
const PLACES = [0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6];
const LOCK = "M-4,0h8v6h-8z M-2.6,0v-2a2.6,2.6 0 0 1 5.2,0v2h-1.4v-2a1.2,1.2 0 0 0 -2.4,0v2z";
const UNLOCKED = "M-4,0h8v6h-8z M-2.6,0v-3a2.6,2.6 0 0 1 5.2,-0.6h-1.4a1.2,1.2 0 0 0 -2.4,0.6v3z";

const make = (tag, attributes = {}, text = "") => {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
};

export class Graph {
  constructor(svg, note, choose) {
    [this.svg, this.note, this.choose] = [svg, note, choose];
    [this.nodes, this.edges, this.shape] = [new Map(), new Map(), ""];
    this.layers = make("g");
    svg.append(this.layers);
  }

  show(rows, length, chosen) {
    let edges = [...rows.values()];
    if (chosen) edges = edges.filter(({ facts }) => facts.from === chosen || facts.to === chosen);
    const busy = (edge) => edge.trend.reduce((sum, count) => sum + count, 0);
    edges.sort((one, other) => busy(other) - busy(one));
    const names = new Set();
    const shown = edges.filter(({ facts }) => {
      const fits = new Set([...names, facts.from, facts.to]).size <= MOST;
      if (fits) names.add(facts.from).add(facts.to);
      return fits;
    });
    const hidden = edges.length - shown.length;
    this.note.textContent = hidden > 0 ? `The busiest are shown; ${hidden} pairs more are in the tables.` : shown.length === 0 ? "Nothing has ended yet." : "";
    const shape = shown.map((edge) => edge.key).sort().join("\n");
    if (shape !== this.shape) {
      this.shape = shape;
      this.lay(shown, [...names]);
    }
    for (const edge of shown) this.tell(edge, length);
    const failing = new Set(shown.filter((edge) => edge.failing).map(({ facts }) => facts.to));
    for (const [name, node] of this.nodes) {
      node.classList.toggle("failing", failing.has(name));
      node.setAttribute("aria-pressed", String(name === chosen));
    }
  }

  // Places: each node is one column to the right of the rightmost who asks it; within a column, by where those are.
  lay(edges, names) {
    const focused = document.activeElement?.dataset?.name;
    const depth = new Map(names.map((name) => [name, 0]));
    // Circles have no depth: as many rounds as nodes end them.
    for (let round = 0, moved = true; moved && round < names.length; round += 1) {
      moved = false;
      for (const { facts } of edges) {
        const wanted = depth.get(facts.from) + 1;
        if (facts.from !== facts.to && depth.get(facts.to) < wanted && wanted < names.length) {
          depth.set(facts.to, wanted);
          moved = true;
        }
      }
    }
    const columns = [];
    for (const depthOf of [...new Set(depth.values())].sort((one, other) => one - other)) {
      columns.push(names.filter((name) => depth.get(name) === depthOf).sort());
    }
    const place = new Map();
    columns.forEach((column, x) => {
      const middle = (name) => {
        const from = edges.filter(({ facts }) => facts.to === name && place.has(facts.from)).map(({ facts }) => place.get(facts.from)[1]);
        return from.length ? from.reduce((sum, y) => sum + y, 0) / from.length : 0;
      };
      if (x > 0) column.sort((one, other) => middle(one) - middle(other));
      column.forEach((name, y) => place.set(name, [EDGE + x * ACROSS, EDGE + y * DOWN]));
    });
    const width = EDGE * 2 + (Math.max(1, columns.length) - 1) * ACROSS + WIDTH;
    const height = EDGE * 2 + Math.max(1, ...columns.map((column) => column.length)) * DOWN - (DOWN - HEIGHT);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    this.layers.replaceChildren();
    const services = new Set(edges.filter(({ facts }) => facts.isService).map(({ facts }) => facts.to));
    this.taken = [];
    this.edges = new Map(edges.map((edge) => [edge.key, this.line(edge, place)]));
    this.nodes = new Map(names.map((name) => [name, this.box(name, place.get(name), services.has(name))]));
    if (focused) this.nodes.get(focused)?.focus();
  }

  line({ facts }, place) {
    const [from, onto] = [place.get(facts.from), place.get(facts.to)];
    const group = make("g", { class: "edge" });
    const [x, y, toX, toY] = [from[0] + WIDTH, from[1] + HEIGHT / 2, onto[0], onto[1] + HEIGHT / 2];
    const bend = toX > x ? (toX - x) * 0.4 : 70;
    const path = make("path", { d: `M${x},${y} C${x + bend},${y} ${toX - bend},${toY} ${toX},${toY}` });
    const [atX, atY] = this.free([x, x + bend, toX - bend, toX], [y, y, toY, toY]);
    const lock = make("path", { transform: `translate(${atX},${atY - 16})` });
    const text = make("text", { x: atX, y: atY + 4, "text-anchor": "middle" });
    group.append(path, lock, text);
    this.layers.append(group);
    return { group, path, lock, text };
  }

  // A place on a curve where no other edge has its numbers; the middle, where there is none.
  free(xs, ys) {
    const on = ([from, one, other, to], part) =>
      (1 - part) ** 3 * from + 3 * (1 - part) ** 2 * part * one + 3 * (1 - part) * part ** 2 * other + part ** 3 * to;
    const places = PLACES.map((part) => [on(xs, part), on(ys, part)]);
    const isFree = ([x, y]) => !this.taken.some(([otherX, otherY]) => Math.abs(x - otherX) < WORDS && Math.abs(y - otherY) < LINE);
    const place = places.find(isFree) ?? places[0];
    this.taken.push(place);
    return place;
  }

  box(name, [x, y], isService) {
    const outside = isService ? "nobody was chosen" : "outside of the mesh";
    const [space, workload] = name.includes("/") ? name.split("/") : [outside, name];
    const group = make("g", { class: "node", tabindex: "0", role: "button", transform: `translate(${x},${y})`, "aria-label": `${name}: show alone` });
    group.dataset.name = name;
    const cut = (text) => (text.length > 25 ? `${text.slice(0, 24)}…` : text);
    group.append(
      make("title", {}, name),
      make("rect", { width: WIDTH, height: HEIGHT, rx: 8 }),
      make("text", { x: 12, y: 18 }, cut(workload)),
      make("text", { x: 12, y: 34, class: "small" }, cut(space)),
    );
    group.addEventListener("click", () => this.choose(name));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      this.choose(name);
    });
    this.layers.append(group);
    return group;
  }

  tell({ key, own, failing }, length) {
    const { group, path, lock, text } = this.edges.get(key);
    const failed = own.percent(own.failed);
    group.classList.toggle("failing", failing);
    path.setAttribute("stroke-width", String(Math.min(6, 1 + Math.log10(1 + own.count / length))));
    text.textContent = `${scaled(own.count / length)}/s${failed > 0 ? `, ${share(failed)} failed` : ""}`;
    if (own.carried === 0) return;
    const locked = own.tls === own.carried;
    lock.setAttribute("class", locked ? "lock" : "lock open");
    lock.setAttribute("d", locked ? LOCK : UNLOCKED);
    lock.replaceChildren(make("title", {}, locked ? "mutual TLS" : `${share(own.encrypted())} in mutual TLS, the rest in plaintext`));
  }
}
