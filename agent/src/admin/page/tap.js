// The live tap: a stream of its own, opened when asked for.

const MOST = 200;

export class Tap {
  constructor() {
    [this.form, this.list, this.note, this.button] = ["tap-form", "tap-lines", "tap-note", "tap-start"].map((id) => document.getElementById(id));
    [this.waiting, this.lost, this.count] = [[], 0, 0];
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.stream) this.stop("Stopped.");
      else this.start();
    });
  }

  async start() {
    // One at a time, however often it is pressed.
    this.button.disabled = true;
    try {
      await this.open();
    } finally {
      this.button.disabled = false;
    }
  }

  async open() {
    const given = [...new FormData(this.form)].filter(([, value]) => value !== "");
    const address = `tap?${new URLSearchParams(given)}`;
    // A stream tells nothing of why it was refused, so it is asked for once by hand.
    const asked = new AbortController();
    try {
      const answer = await fetch(address, { signal: asked.signal });
      if (!answer.ok) return void (this.note.textContent = await answer.text());
    } catch (error) {
      return void (this.note.textContent = `The agent does not answer: ${error.message}`);
    } finally {
      asked.abort();
    }
    this.list.replaceChildren();
    [this.waiting, this.lost, this.count] = [[], 0, 0];
    this.stream = new EventSource(address);
    this.stream.addEventListener("ended", (event) => {
      this.count += 1;
      // A tab that is hidden draws seldom: no more wait than are shown.
      this.waiting.push(event.data);
      if (this.waiting.length > MOST) this.waiting.shift();
    });
    this.stream.addEventListener("lost", (event) => (this.lost += Number(event.data)));
    this.stream.addEventListener("error", () => this.stop("The agent ended the tap."));
    this.drawing = setInterval(() => this.draw(), 250);
    this.button.textContent = "Stop";
    this.draw();
  }

  stop(why) {
    this.stream?.close();
    this.stream = null;
    clearInterval(this.drawing);
    this.button.textContent = "Start";
    this.note.textContent = why;
  }

  // A few times a second, however much comes.
  draw() {
    const lines = this.waiting.splice(0).reverse().map((text) => line(JSON.parse(text)));
    this.list.prepend(...lines);
    while (this.list.childElementCount > MOST) this.list.lastChild.remove();
    this.note.textContent = `${this.count} so far${this.lost ? `, ${this.lost} left out: they came too fast` : ""}.`;
  }
}

function line(told) {
  const element = document.createElement("li");
  const who = (side, address) => (told[`${side}_workload`] ? `${told[`${side}_namespace`]}/${told[`${side}_workload`]}` : told[address]);
  const what = told.method ? `${told.method} ${told.path}` : `${told.sent_bytes} bytes, ${told.received_bytes} back`;
  const flag = told.flag === "-" ? "" : told.flag;
  const server = told.destination_workload ? who("destination") : told.service ?? told.destination_address;
  const ended = `${told.grpc_status ?? told.status ?? ""} ${flag}`.trim() || "ok";
  // Of a call those are failures that a server is to blame for.
  const failed = flag || told.status >= 500 || [2, 4, 12, 13, 14, 15].includes(told.grpc_status);
  const parts = [
    [told.time.slice(11, 23), "quiet"],
    [` ${who("source", "source_address")} ${told.direction === "inbound" ? "<-" : "->"} ${server} `, ""],
    [`${protection(told, flag)} ${told.protocol}`, "quiet"],
    [`  ${what}  `, ""],
    [ended, failed ? "bad" : "good"],
    [` ${told.duration_ms} ms`, "quiet"],
    [told.error ? `  ${told.error}` : "", "bad"],
  ];
  element.append(...parts.filter(([text]) => text).map(([text, kind]) => part(text, kind)));
  if (failed) element.className = "failed";
  return element;
}

// What failed on its way out without TLS may never have been sent.
function protection(told, flag) {
  if (told.tls_version) return "mtls";
  return flag && told.direction === "outbound" ? "-" : "plain";
}

function part(text, kind) {
  const element = document.createElement("span");
  element.textContent = text;
  element.className = kind;
  return element;
}
