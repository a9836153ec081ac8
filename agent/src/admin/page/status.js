// What the agent's /status says: documents, pods, certificates, and what needs attention.

const item = (text, small, kind) => {
  const element = document.createElement("li");
  element.className = kind ?? "";
  element.textContent = text;
  if (small) {
    const note = document.createElement("small");
    note.textContent = small;
    element.append(note);
  }
  return element;
};

const fill = (id, items, nothing) => document.getElementById(id).replaceChildren(...(items.length ? items : [item(nothing, "", "quiet")]));

export function show(status) {
  document.getElementById("node").textContent = status.node;
  document.title = `Heddle ${status.node}`;
  const ready = document.getElementById("ready");
  ready.textContent = status.ready ? "ready" : "not ready";
  ready.className = `badge ${status.ready ? "good" : "bad"}`;
  document.getElementById("about").textContent = `${status.version}, generation ${status.generation}`;
  fill("concerns", status.concerns.map((concern) => item(concern, "", "bad")), "Nothing.");
  const kinds = { accepted: "", rejected: "bad", conflict: "warn" };
  fill("documents", status.documents.map((document) =>
    item(document.rule ?? "(not readable)", `${document.state}, ${document.place}, line ${document.line}`, kinds[document.state])), "None.");
  fill("pods", status.pods.map((pod) => item(pod.name, pod.missing ?? pod.identity, pod.missing ? "bad" : "")), "None is in the mesh.");
  fill("certificates", status.certificates.map((held) => {
    const hours = held.expiresInSeconds === null ? "" : `, ${Math.floor(held.expiresInSeconds / 3600)} h left`;
    return item(held.identity, held.state + hours, held.state === "valid" ? "" : "bad");
  }), "None.");
}
