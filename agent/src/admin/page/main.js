// Puts the page together: one stream for the numbers, one question every few seconds for the rest.

import { Graph } from "./graph.js";
import { show as showStatus } from "./status.js";
import { Table } from "./table.js";
import { Tap } from "./tap.js";
import { Traffic, milliseconds, scaled, share } from "./traffic.js";

const element = (id) => document.getElementById(id);
export const traffic = new Traffic();
let [chosen, paused] = [null, false];

const percentage = (number) => (number === null ? "-" : share(number));
const told = (row) => (row.own.count > 0 ? row.own : row.other);
const numbers = [
  { title: "Failed", number: true, mark: "failed", text: (row) => share(told(row).percent(told(row).failed)), value: (row) => told(row).percent(told(row).failed) },
  { title: "P50", number: true, text: (row) => milliseconds(told(row).quantile(0.5)), value: (row) => told(row).quantile(0.5) ?? -1 },
  { title: "P99", number: true, text: (row) => milliseconds(told(row).quantile(0.99)), value: (row) => told(row).quantile(0.99) ?? -1 },
];
const rate = (title, of) => ({ title, number: true, text: (row) => scaled(of(row) / traffic.length()), value: of });
const trend = { title: "Last minute", trend: true };
const workloads = new Table(element("workload-table"), [
  { title: "Workload", text: (row) => row.key, value: (row) => row.key },
  rate("In/s", (row) => row.own.count),
  rate("Out/s", (row) => row.other.count),
  ...numbers,
  rate("Bytes/s", (row) => row.own.bytes + row.other.bytes),
  { title: "Mutual TLS", number: true, text: (row) => percentage(told(row).encrypted()), value: (row) => told(row).encrypted() ?? -1 },
  trend,
], 1, choose);
const routes = new Table(element("route-table"), [
  { title: "Service", text: (row) => row.facts.service, value: (row) => row.facts.service },
  { title: "Rule", text: (row) => row.facts.rule, value: (row) => row.facts.rule },
  { title: "To", text: (row) => row.facts.to, value: (row) => row.facts.to },
  rate("Per second", (row) => row.own.count),
  { title: "Share", number: true, text: (row) => share(row.share), value: (row) => row.share },
  ...numbers,
  trend,
], 3);
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
  const text = element("filter").value.trim().toLowerCase();
  const edges = traffic.edges();
  const all = traffic.all(edges);
  element("tile-rate").textContent = scaled(all.count / traffic.length());
  element("tile-failed").textContent = share(all.percent(all.failed));
  element("tile-failed").className = all.failed > 0 ? "bad" : "";
  element("tile-p50").textContent = milliseconds(all.quantile(0.5));
  element("tile-p99").textContent = milliseconds(all.quantile(0.99));
  element("tile-tls").textContent = percentage(all.encrypted());
  element("tile-bytes").textContent = scaled(all.bytes / traffic.length());
  graph.show(edges, traffic.length(), chosen);
  const nothing = text ? "No workload has this in its name." : undefined;
  workloads.show([...traffic.workloads().values()].filter((row) => row.key.toLowerCase().includes(text)), nothing);
  const ofChosen = (row) => !chosen || row.facts.to === chosen;
  routes.show([...traffic.routes().values()].filter(ofChosen), "No request of a pod of this node in the last minute.");
}

function trouble(text) {
  element("trouble").hidden = !text;
  element("trouble").textContent = text ?? "";
}

// The browser comes back by itself when the agent does.
const stream = new EventSource("traffic");
stream.addEventListener("open", () => trouble());
stream.addEventListener("error", () => trouble("The agent does not answer, or too many watch already. What is shown is old."));
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
  element("pause").setAttribute("aria-pressed", String(paused));
  element("pause").textContent = paused ? "Go on" : "Pause";
}

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function theme(value) {
  if (value) document.documentElement.dataset.theme = value;
  element("theme").textContent = isDark() ? "Light" : "Dark";
}
function otherTheme() {
  const value = isDark() ? "light" : "dark";
  localStorage.setItem("theme", value);
  theme(value);
  draw();
}
theme(localStorage.getItem("theme"));

element("pause").addEventListener("click", pause);
element("theme").addEventListener("click", otherTheme);
element("everything").addEventListener("click", () => choose(chosen));
element("filter").addEventListener("input", draw);
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
