// A table that is brought up to date each second: rows stay where their key stays, only texts that changed are written.

import { KEPT } from "./traffic.js";

export class Table {
  // `columns`: title, text of a row, value to sort by, whether it is a number; `trend` has a picture instead of a text.
  constructor(element, columns, sort, choose) {
    this.columns = columns;
    this.sort = sort;
    this.descending = true;
    this.body = element.tBodies[0];
    this.rows = new Map();
    this.choose = choose;
    const head = element.tHead.insertRow();
    this.heads = columns.map((column, at) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = column.number ? "number" : "";
      if (column.trend) cell.textContent = column.title;
      else {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = column.title;
        button.addEventListener("click", () => this.sortBy(at));
        cell.append(button);
      }
      head.append(cell);
      return cell;
    });
    this.mark();
  }

  sortBy(at) {
    this.descending = at === this.sort ? !this.descending : Boolean(this.columns[at].number);
    this.sort = at;
    this.mark();
    this.show(this.last ?? []);
  }

  mark() {
    this.heads.forEach((cell, at) => {
      if (at === this.sort) cell.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      const button = cell.querySelector("button");
      if (button) button.textContent = this.columns[at].title + (at === this.sort ? (this.descending ? " ▼" : " ▲") : "");
    });
  }

  show(rows, nothing = "Nothing has ended in the last minute.") {
    this.last = rows;
    const value = this.columns[this.sort].value;
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      const by = typeof a === "string" ? a.localeCompare(b) : a - b;
      return (this.descending ? -by : by) || one.key.localeCompare(other.key);
    };
    const sorted = [...rows].sort(order);
    this.body.querySelector(".empty")?.parentElement.remove();
    const keep = new Set(sorted.map((row) => row.key));
    for (const [key, row] of this.rows) if (!keep.has(key)) { row.element.remove(); this.rows.delete(key); }
    let before = null;
    for (const row of sorted) {
      const { element, cells } = this.row(row.key);
      this.columns.forEach((column, at) => {
        if (column.trend) trend(cells[at].firstChild, row.trend);
        else {
          const text = column.text(row);
          if (cells[at].textContent !== text) (cells[at].firstElementChild ?? cells[at]).textContent = text;
        }
      });
      element.classList.toggle("failing", row.failing);
      const place = before ? before.nextSibling : this.body.firstChild;
      if (place !== element) this.body.insertBefore(element, place);
      before = element;
    }
    if (sorted.length === 0) {
      const cell = this.body.insertRow().insertCell();
      cell.colSpan = this.columns.length;
      cell.className = "empty";
      cell.textContent = nothing;
    }
  }

  row(key) {
    let row = this.rows.get(key);
    if (row) return row;
    const element = document.createElement("tr");
    const cells = this.columns.map((column, at) => {
      const cell = element.insertCell();
      cell.className = (column.number ? "number " : "") + (column.mark ?? "");
      if (column.trend) {
        const canvas = document.createElement("canvas");
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", "requests of each second of the last minute");
        cell.append(canvas);
      } else if (at === 0 && this.choose) {
        const button = document.createElement("button");
        button.type = "button";
        button.addEventListener("click", () => this.choose(key));
        cell.append(button);
      }
      return cell;
    });
    this.rows.set(key, (row = { element, cells }));
    return row;
  }
}

// Nothing is drawn that did not change: most rows of a large table are quiet.
function trend(canvas, counts) {
  const drawn = counts.join();
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  if (canvas.dataset.drawn === drawn + colour) return;
  canvas.dataset.drawn = drawn + colour;
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [120, 18];
  if (canvas.width !== width * scale) [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const most = Math.max(1, ...counts);
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.beginPath();
  counts.forEach((count, at) => {
    const [x, y] = [(at * (width - 2)) / (KEPT - 1) + 1, height - 1.5 - (count * (height - 3)) / most];
    if (at === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  });
  context.stroke();
}
