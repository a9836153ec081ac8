// Puts the page together: one stream for the numbers, one question every few seconds for the rest.

import { ofRoutes, ofWorkloads } from "./columns.js";
import { bytes, milliseconds, rate, set, share, write } from "./format.js";
import { Graph } from "./graph.js";
import { show as showStatus } from "./status.js";
import { Table } from "./table.js";
import { Tap } from "./tap.js";
import { otherTheme } from "./theme.js";
import { Traffic } from "./traffic.js";

const element = (id) => document.getElementById(id);
export const traffic = new Traffic();
let [chosen, paused] = [null, false];

const workloads = new Table(element("workload-table"), ofWorkloads(traffic), 1, choose);
const routes = new Table(element("route-table"), ofRoutes(traffic), 3);
const graph = new Graph(element("graph-svg"), element("graph-note"), choose);
new Tap();

// A workload alone, or everything again.
function choose(name) {
  chosen = chosen === name ? null : name;
  element("filter").value = chosen ?? "";
  element("everything").hidden = chosen === null;
  draw();
}

export function draw() {
  const { second, edges } = traffic;
  // The first, as it measures its room: after a change of the page that would take a layout of it.
  graph.show(edges, edges.version, traffic.length(), chosen);
  tiles(traffic.all(), traffic.length());
  const text = element("filter").value.trim().toLowerCase();
  const named = [...traffic.workloads.values()].filter((row) => row.key.toLowerCase().includes(text));
  const nobody = text ? "No workload has this in its name." : "Nothing is open, and nothing has ended in the last minute.";
  workloads.show(named, `${traffic.workloads.version} ${text}`, second, nobody);
  traffic.shares();
  const ofChosen = [...traffic.routes.values()].filter((row) => !chosen || row.facts.to === chosen);
  routes.show(ofChosen, `${traffic.routes.version} ${chosen}`, second, "Nothing of a pod of this node in the last minute.");
}

function tiles(all, length) {
  write(element("tile-rate"), rate(all.count / length));
  write(element("tile-open"), String(all.open));
  write(element("tile-failed"), share(all.failures()));
  element("tile-failed").classList.toggle("bad", all.failed > 0);
  write(element("tile-p50"), milliseconds(all.quantile(0.5)));
  write(element("tile-p99"), milliseconds(all.quantile(0.99)));
  write(element("tile-tls"), share(all.encrypted()));
  element("tile-tls").classList.toggle("warn", all.tls < all.carried);
  write(element("tile-bytes"), bytes(all.bytes / length));
}

function trouble(text) {
  element("trouble").hidden = !text;
  write(element("trouble"), text ?? "");
}

// The browser comes back by itself when the agent does.
const stream = new EventSource("traffic");
stream.addEventListener("open", () => trouble());
stream.addEventListener("error", () => trouble("The agent does not answer, or too many watch already. What is shown is old; it is asked again."));
stream.addEventListener("second", (event) => {
  if (paused) return;
  traffic.add(JSON.parse(event.data));
  if (!document.hidden) draw();
});

async function ask() {
  try {
    const answer = await fetch("status");
    if (answer.ok) showStatus(await answer.json());
  } catch {
    // The stream tells that the agent is away.
  }
}
ask();
setInterval(() => document.hidden || ask(), 5_000);

function pause() {
  paused = !paused;
  set(element("pause"), "aria-pressed", String(paused));
  write(element("pause"), paused ? "Go on" : "Pause");
}

element("pause").addEventListener("click", pause);
element("everything").addEventListener("click", () => choose(chosen));
element("filter").addEventListener("input", draw);
document.addEventListener("visibilitychange", () => document.hidden || draw());
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input") || event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const keys = { p: pause, t: otherTheme, "/": () => element("filter").focus(), Escape: () => chosen && choose(chosen) };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});
draw();
