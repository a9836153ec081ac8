// A table that is brought up to date each second: rows stay where they are until others come or go or somebody sorts, and only
// texts that changed are written.

import { svg, set, write } from "./format.js";
import { KEPT } from "./sums.js";
import { WINDOW } from "./traffic.js";

// Rows that are shown before somebody asks for all: more than a screen, fewer than a browser feels.
const MOST = 50;
const [WIDTH, HEIGHT] = [120, 20];

export class Table {
  // `columns`: title, text of a row, value to sort by, whether it is a number; `trend` has a picture instead of a text.
  constructor(element, columns, sort, choose) {
    [this.element, this.columns, this.sort, this.choose] = [element, columns, sort, choose];
    [this.body, this.lines, this.shown] = [element.tBodies[0], new Map(), []];
    [this.descending, this.showsAll, this.shape, this.sorted] = [true, false, "", 0];
    const head = element.tHead.insertRow();
    this.heads = columns.map((column, at) => head.appendChild(this.head(column, at)));
    this.more = document.createElement("button");
    this.more.type = "button";
    this.more.className = "more";
    this.more.hidden = true;
    this.more.addEventListener("click", () => this.toggleAll());
    element.parentElement.after(this.more);
    this.mark();
  }

  head(column, at) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind(column);
    if (column.trend) {
      cell.textContent = column.title;
      return cell;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.addEventListener("click", () => this.sortBy(at));
    cell.append(button);
    return cell;
  }

  sortBy(at) {
    this.descending = at === this.sort ? !this.descending : Boolean(this.columns[at].number);
    this.sort = at;
    this.mark();
    this.order();
    this.fill();
  }

  mark() {
    this.heads.forEach((cell, at) => {
      if (this.columns[at].trend) return;
      const isSorted = at === this.sort;
      if (isSorted) cell.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
      cell.firstChild.textContent = this.columns[at].title + (isSorted ? (this.descending ? " ▼" : " ▲") : "");
    });
  }

  toggleAll() {
    this.showsAll = !this.showsAll;
    this.order();
    this.fill();
  }

  // `shape` changes when other rows are to be shown. Numbers change all the time: by them it is sorted anew once their window
  // has passed, and not under somebody's hands.
  show(rows, shape, second, nothing) {
    [this.rows, this.second, this.nothing] = [rows, second, nothing];
    const isOld = second - this.sorted >= WINDOW && !this.element.matches(":hover, :focus-within");
    if (shape !== this.shape || isOld) this.order();
    this.shape = shape;
    this.fill();
  }

  order() {
    const value = this.columns[this.sort].value;
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      const by = typeof a === "string" ? a.localeCompare(b) : a - b;
      return (this.descending ? -by : by) || (one.key < other.key ? -1 : 1);
    };
    const all = [...this.rows].sort(compare);
    this.sorted = this.second;
    this.shown = this.showsAll ? all : all.slice(0, MOST);
    this.place();
    this.more.hidden = all.length <= MOST;
    write(this.more, this.showsAll ? `Show the first ${MOST} alone` : `Show ${all.length - MOST} more`);
  }

  // Has the lines of the shown rows in their order. One that stays where it is is not touched.
  place() {
    const keep = new Set(this.shown.map((row) => row.key));
    for (const [key, { element }] of this.lines) {
      if (keep.has(key)) continue;
      element.remove();
      this.lines.delete(key);
    }
    this.body.querySelector(".empty")?.parentElement.remove();
    let next = this.body.firstChild;
    for (const row of this.shown) {
      const { element } = this.line(row.key);
      if (element === next) next = next.nextSibling;
      else this.body.insertBefore(element, next);
    }
    if (this.shown.length > 0) return;
    const cell = this.body.insertRow().insertCell();
    [cell.colSpan, cell.className, cell.textContent] = [this.columns.length, "empty", this.nothing];
  }

  fill() {
    for (const row of this.shown) {
      const { element, targets } = this.lines.get(row.key);
      this.columns.forEach((column, at) => {
        if (column.trend) set(targets[at], "d", trend(row, this.second));
        else write(targets[at], column.text(row));
      });
      element.classList.toggle("failing", row.isFailing());
    }
  }

  line(key) {
    if (!this.lines.has(key)) {
      const element = document.createElement("tr");
      const targets = this.columns.map((column, at) => this.cell(element, column, at, key));
      this.lines.set(key, { element, targets });
    }
    return this.lines.get(key);
  }

  // A new cell; what it returns is what changes in it.
  cell(line, column, at, key) {
    const cell = line.insertCell();
    cell.className = kind(column);
    if (column.trend) {
      const label = "requests or, where there are none, bytes in each second of the last minute";
      const picture = svg("svg", { width: WIDTH, height: HEIGHT, role: "img", "aria-label": label });
      cell.append(picture);
      return picture.appendChild(svg("path"));
    }
    if (at > 0 || !this.choose) return cell.appendChild(document.createTextNode(""));
    const button = document.createElement("button");
    button.type = "button";
    button.className = "name";
    button.addEventListener("click", () => this.choose(key));
    cell.append(button);
    return button.appendChild(document.createTextNode(""));
  }
}

const kind = (column) => [column.number && "number", column.mark, column.trend && "trend"].filter(Boolean).join(" ");

// A line over the last minute, the highest second at the top.
function trend(row, second) {
  const counts = row.counts.read(second);
  const numbers = counts.some((count) => count > 0) ? counts : row.bytes.read(second);
  const most = Math.max(1, ...numbers);
  const x = (at) => ((at * (WIDTH - 2)) / (KEPT - 1) + 1).toFixed(1);
  const y = (number) => (HEIGHT - 2 - (number * (HEIGHT - 4)) / most).toFixed(1);
  return numbers.map((number, at) => `${at === 0 ? "M" : "L"}${x(at)} ${y(number)}`).join("");
}
