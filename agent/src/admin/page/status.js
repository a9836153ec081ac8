// What the agent's /status says: documents, pods, certificates, and what needs attention.

import { write } from "./format.js";

const written = new Map();

// Fills a list. What has not changed is left alone, with whatever is selected in it.
function fill(id, items, nothing) {
  const text = JSON.stringify(items);
  if (written.get(id) === text) return;
  written.set(id, text);
  const lines = items.length ? items : [{ text: nothing, kind: "quiet" }];
  document.getElementById(id).replaceChildren(...lines.map(line));
}

function line({ text, notes = [], kind = "" }) {
  const element = document.createElement("li");
  element.className = kind;
  element.textContent = text;
  for (const note of notes) {
    const small = document.createElement("small");
    small.textContent = note;
    element.append(small);
  }
  return element;
}

const STATES = { rejected: "bad", conflict: "warn", accepted: "" };

// The worst first.
function documents(all) {
  const order = Object.keys(STATES);
  const sorted = [...all].sort((one, other) => order.indexOf(one.state) - order.indexOf(other.state));
  return sorted.map(({ rule, state, place, line, message, leavesWorkloadsOpen }) => ({
    text: rule ?? "(not readable)",
    notes: [
      `${state}, ${place}, line ${line}`,
      ...(message ? [message] : []),
      ...(leavesWorkloadsOpen ? ["A workload may be open to more clients than its owner wrote."] : []),
    ],
    kind: STATES[state],
  }));
}

function certificate({ identity, state, expiresInSeconds, lastError }) {
  const left = expiresInSeconds === null ? "" : expiresInSeconds < 7200 ? `, ${Math.floor(expiresInSeconds / 60)} min left` : `, ${Math.floor(expiresInSeconds / 3600)} h left`;
  return { text: identity, notes: [state + left, ...(lastError ? [lastError] : [])], kind: state === "valid" ? "" : "bad" };
}

function count(id, all, bad) {
  write(document.getElementById(id), all === 0 ? "" : bad === 0 ? String(all) : `${bad} of ${all}`);
}

export function show(status) {
  write(document.getElementById("node"), status.node);
  document.title = `Heddle ${status.node}`;
  const ready = document.getElementById("ready");
  write(ready, status.ready ? "ready" : "not ready");
  ready.className = `badge ${status.ready ? "good" : "bad"}`;
  write(document.getElementById("about"), `${status.version}, generation ${status.generation}`);
  fill("concerns", status.concerns.map((text) => ({ text, kind: "bad" })), "Nothing. All is well.");
  fill("documents", documents(status.documents), "None.");
  fill("pods", status.pods.map((pod) => ({ text: pod.name, notes: [pod.missing ?? pod.identity], kind: pod.missing ? "bad" : "" })), "None is in the mesh.");
  fill("certificates", status.certificates.map(certificate), "None.");
  count("concern-count", status.concerns.length, 0);
  count("document-count", status.documents.length, status.documents.filter(({ state }) => state !== "accepted").length);
  count("pod-count", status.pods.length, status.pods.filter(({ missing }) => missing).length);
  count("certificate-count", status.certificates.length, status.certificates.filter(({ state }) => state !== "valid").length);
}
