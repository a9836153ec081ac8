// Where the boxes of the service graph stand, and what their edges look like. Only sums of places; nothing is drawn here.

export const [WIDTH, HEIGHT] = [148, 42];
const [DOWN, EDGE] = [78, 20];
// From one column to the next: as far as the room allows, but with room for the edges' numbers.
const [NEAR, FAR] = [WIDTH + 164, 620];
// A picture that is wider than the room is made smaller, but not so small that nobody can read it.
const SMALLEST = 0.85;
// Of an edge's numbers.
const [WORDS, LINES] = [74, 48];
// Where on its edge they may stand, the best place first: where the edges of one box are furthest from each other.
const [TOWARDS_END, TOWARDS_START] = [[0.78, 0.7, 0.6, 0.5, 0.4, 0.3], [0.22, 0.3, 0.4, 0.5, 0.6, 0.7]];

// Each box is one column to the right of the rightmost who asks it; within a column, by where those are.
export function places(names, edges, room) {
  const columns = columnsOf(names, edges);
  const across = Math.max(NEAR, Math.min(FAR, (room - 2 * EDGE - WIDTH) / Math.max(1, columns.length - 1)));
  const at = new Map();
  columns.forEach((column, x) => {
    const middles = new Map(column.map((name) => [name, middle(name, edges, at)]));
    if (x > 0) column.sort((one, other) => middles.get(one) - middles.get(other));
    column.forEach((name, y) => at.set(name, [EDGE + x * across, EDGE + y * DOWN]));
  });
  const most = Math.max(1, ...columns.map((column) => column.length));
  const width = 2 * EDGE + Math.max(0, columns.length - 1) * across + WIDTH;
  const scale = Math.max(SMALLEST, Math.min(1, room / width));
  return { at, width, height: 2 * EDGE + most * DOWN - (DOWN - HEIGHT), scale };
}

function columnsOf(names, edges) {
  const depth = new Map(names.map((name) => [name, 0]));
  // Circles have no depth: as many rounds as boxes end them.
  for (let round = 0, moved = true; moved && round < names.length; round += 1) {
    moved = false;
    for (const { facts } of edges) {
      const wanted = depth.get(facts.from) + 1;
      if (facts.from === facts.to || depth.get(facts.to) >= wanted || wanted >= names.length) continue;
      depth.set(facts.to, wanted);
      moved = true;
    }
  }
  const depths = [...new Set(depth.values())].sort((one, other) => one - other);
  return depths.map((wanted) => names.filter((name) => depth.get(name) === wanted).sort());
}

// How high those stand, on average, who ask it.
function middle(name, edges, at) {
  const from = edges.filter(({ facts }) => facts.to === name && at.has(facts.from)).map(({ facts }) => at.get(facts.from)[1]);
  return from.length ? from.reduce((sum, y) => sum + y, 0) / from.length : 0;
}

// The curves of all edges, and where on them their numbers stand: where no other's do.
export function curves(edges, at) {
  const [leaving, coming, taken] = [new Map(), new Map(), []];
  for (const { facts } of edges) {
    leaving.set(facts.from, (leaving.get(facts.from) ?? 0) + 1);
    coming.set(facts.to, (coming.get(facts.to) ?? 0) + 1);
  }
  return edges.map(({ facts }) => {
    const [[x, y], [toX, toY]] = [at.get(facts.from), at.get(facts.to)];
    const [xs, ys] = curve([x + WIDTH, y + HEIGHT / 2], [toX, toY + HEIGHT / 2]);
    const order = leaving.get(facts.from) >= coming.get(facts.to) ? TOWARDS_END : TOWARDS_START;
    const stands = free(order.map((part) => [on(xs, part), on(ys, part)]), taken);
    taken.push(stands);
    const point = (index) => `${xs[index]},${ys[index]}`;
    return { path: `M${point(0)} C${point(1)} ${point(2)} ${point(3)}`, stands };
  });
}

function curve([x, y], [toX, toY]) {
  const bend = toX > x ? (toX - x) * 0.5 : 70;
  return [[x, x + bend, toX - bend, toX], [y, y, toY, toY]];
}

const on = ([from, one, other, to], part) =>
  (1 - part) ** 3 * from + 3 * (1 - part) ** 2 * part * one + 3 * (1 - part) * part ** 2 * other + part ** 3 * to;

// The first place where nothing is in the way, or the one where it is least.
function free(wanted, taken) {
  const apart = ([x, y]) => Math.min(1, ...taken.map(([toX, toY]) => Math.max(Math.abs(x - toX) / WORDS, Math.abs(y - toY) / LINES)));
  return wanted.reduce((best, place) => (apart(place) > apart(best) ? place : best));
}

// The nearest box in the direction of an arrow key; what is straight ahead is nearer than what is aside.
export function neighbour(name, key, at) {
  const [x, y] = at.get(name);
  const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const [ahead, down] = directions[key];
  const far = ([toX, toY]) => {
    const [straight, aside] = [(toX - x) * ahead + (toY - y) * down, Math.abs((toX - x) * down) + Math.abs((toY - y) * ahead)];
    return straight > 0 ? straight + 3 * aside : Infinity;
  };
  return [...at.keys()].reduce((best, other) => (far(at.get(other)) < far(at.get(best)) ? other : best), name);
}
