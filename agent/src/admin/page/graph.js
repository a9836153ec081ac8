// The service graph: clients to the left of whom they ask. It is laid out anew only when who is in it changes, so that nothing
// jumps while numbers do.

import { bytes, milliseconds, rate, set, share, svg, write } from "./format.js";
import { HEIGHT, WIDTH, curves, neighbour, places } from "./layout.js";
import { told } from "./traffic.js";

// More than this is no picture any more; the busiest are shown.
const MOST = 40;
const LOCK = "M-4,0h8v6h-8z M-2.6,0v-2a2.6,2.6 0 0 1 5.2,0v2h-1.4v-2a1.2,1.2 0 0 0 -2.4,0v2z";
const UNLOCKED = "M-4,0h8v6h-8z M-2.6,0v-3a2.6,2.6 0 0 1 5.2,-0.6h-1.4a1.2,1.2 0 0 0 -2.4,0.6v3z";

export class Graph {
  constructor(picture, note, choose) {
    [this.picture, this.note, this.choose] = [picture, note, choose];
    [this.nodes, this.edges, this.at, this.shown] = [new Map(), new Map(), new Map(), []];
    [this.version, this.shape, this.room] = ["", "", 0];
    this.layers = Array.from({ length: 3 }, () => picture.appendChild(svg("g")));
    picture.addEventListener("keydown", (event) => this.key(event));
  }

  // `version` changes when edges come or go.
  show(edges, version, length, chosen) {
    const room = this.picture.parentElement.clientWidth;
    const wanted = `${version} ${chosen ?? ""}`;
    if (wanted !== this.version || room !== this.room) {
      [this.version, this.room] = [wanted, room];
      this.select(edges, chosen);
    }
    for (const edge of this.shown) this.tell(edge, length);
    const failing = new Set(this.shown.filter((edge) => edge.isFailing()).map(({ facts }) => facts.to));
    for (const [name, node] of this.nodes) {
      node.classList.toggle("failing", failing.has(name));
      set(node, "aria-pressed", String(name === chosen));
      set(node, "aria-label", `${name}${failing.has(name) ? ", failing" : ""}: show alone`);
    }
  }

  // Which edges are shown: of the chosen one or of all, the busiest as far as there is room.
  select(edges, chosen) {
    const busy = (edge) => told(edge).count + told(edge).open;
    const all = [...edges.values()].filter(({ facts }) => !chosen || facts.from === chosen || facts.to === chosen);
    all.sort((one, other) => busy(other) - busy(one) || (one.key < other.key ? -1 : 1));
    const names = new Set();
    this.shown = all.filter(({ facts }) => {
      const fits = new Set([...names, facts.from, facts.to]).size <= MOST;
      if (fits) names.add(facts.from).add(facts.to);
      return fits;
    });
    const hidden = all.length - this.shown.length;
    const nothing = this.shown.length === 0 ? "Nothing is open, and nothing has ended yet." : "";
    write(this.note, hidden > 0 ? `The busiest are shown; ${hidden} pairs more are in the tables.` : nothing);
    const shape = `${this.room} ${this.shown.map((edge) => edge.key).sort().join("\n")}`;
    if (shape !== this.shape) this.lay([...names]);
    this.shape = shape;
  }

  lay(names) {
    const focused = document.activeElement?.dataset?.name;
    const { at, width, height, scale } = places(names, this.shown, this.room);
    [this.at, this.edges, this.nodes] = [at, new Map(), new Map()];
    set(this.picture, "viewBox", `0 0 ${width} ${height}`);
    set(this.picture, "width", String(width * scale));
    set(this.picture, "height", String(height * scale));
    this.layers.forEach((layer) => layer.replaceChildren());
    const services = new Set(this.shown.filter(({ facts }) => facts.isService).map(({ facts }) => facts.to));
    const drawn = curves(this.shown, at);
    this.shown.forEach((edge, index) => this.edges.set(edge.key, this.line(drawn[index])));
    for (const name of names) this.nodes.set(name, this.box(name, at.get(name), services.has(name)));
    // One of them is reached by Tab, the others from there by arrows.
    const entry = this.nodes.get(focused) ?? this.nodes.get(names[0]);
    entry?.setAttribute("tabindex", "0");
    if (this.nodes.has(focused)) entry.focus();
  }

  line({ path, stands: [x, y] }) {
    const group = svg("g", { class: "edge" });
    const curve = svg("path", { d: path });
    const words = svg("g", { class: "words", transform: `translate(${x},${y})` });
    const lock = svg("path");
    const lockSays = lock.appendChild(svg("title"));
    const lines = [svg("text", { y: -6 }), svg("text", { y: 14, class: "small" }), svg("text", { y: 27, class: "small failures" })];
    words.append(...lines, lock);
    group.append(curve);
    this.layers[0].append(group);
    this.layers[1].append(words);
    return { group, curve, lock, lockSays, lines };
  }

  box(name, [x, y], isService) {
    const outside = isService ? "nobody was chosen" : "outside of the mesh";
    const [space, workload] = name.includes("/") ? name.split("/") : [outside, name];
    const group = svg("g", { class: "node", tabindex: "-1", role: "button", transform: `translate(${x},${y})` });
    group.dataset.name = name;
    const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
    group.append(
      svg("title", {}, name),
      svg("rect", { width: WIDTH, height: HEIGHT, rx: 8 }),
      svg("text", { x: 12, y: 18 }, cut(workload, 17)),
      svg("text", { x: 12, y: 34, class: "small" }, cut(space, 22)),
    );
    group.addEventListener("click", () => this.choose(name));
    this.layers[2].append(group);
    return group;
  }

  key(event) {
    const name = event.target.dataset?.name;
    if (!this.nodes.has(name)) return;
    if (event.key === "Enter" || event.key === " ") this.choose(name);
    else if (event.key.startsWith("Arrow")) this.go(name, neighbour(name, event.key, this.at));
    else return;
    event.preventDefault();
  }

  go(name, next) {
    this.nodes.get(name).setAttribute("tabindex", "-1");
    this.nodes.get(next).setAttribute("tabindex", "0");
    this.nodes.get(next).focus();
  }

  tell(edge, length) {
    const { group, curve, lock, lockSays, lines } = this.edges.get(edge.key);
    const sum = told(edge);
    group.classList.toggle("failing", edge.isFailing());
    group.classList.toggle("idle", !sum.isAny());
    set(curve, "stroke-width", Math.min(6, 1.2 + Math.log10(1 + sum.count / length)).toFixed(1));
    const texts = numbers(sum, length);
    lines.forEach((line, at) => write(line, texts[at]));
    const [kind, shape, says] = protection(sum.encrypted());
    set(lock, "class", kind);
    set(lock, "d", shape);
    // To the left of the first line: half of its text, in letters of about 6.5.
    set(lock, "transform", `translate(${-11 - texts[0].length * 3.25},-11)`);
    write(lockSays, says);
  }
}

// What ended, how long it took, what failed; of what only stays open, how many and how much.
function numbers(sum, length) {
  const failed = sum.failures();
  if (sum.count === 0) return [sum.open > 0 ? `${sum.open} open` : "idle", sum.bytes > 0 ? `${bytes(sum.bytes / length)}/s` : "", ""];
  return [`${rate(sum.count / length)}/s`, `P99 ${milliseconds(sum.quantile(0.99))}`, failed > 0 ? `${share(failed)} failed` : ""];
}

// What went nowhere has neither a lock nor a warning.
function protection(encrypted) {
  if (encrypted === null) return ["", "", ""];
  if (encrypted === 100) return ["lock", LOCK, "mutual TLS"];
  return ["lock open", UNLOCKED, `${share(encrypted)} in mutual TLS, the rest in plaintext`];
}
