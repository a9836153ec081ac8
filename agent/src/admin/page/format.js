// Numbers as people read them, and nodes that are touched only when what they show has changed.

const scaled = (number) => {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (number >= size) return [(number / size).toFixed(1), unit];
  return [number.toFixed(1), ""];
};
export const rate = (number) => (number === 0 ? "0" : scaled(number).join(""));
export const bytes = (number) => (number === 0 ? "0 B" : `${scaled(number).join(" ")}B`);
export const share = (number) =>
  number === null ? "-" : number === 0 ? "0 %" : number < 0.1 ? "<0.1 %" : `${number >= 99.95 ? 100 : number.toFixed(1)} %`;
export const milliseconds = (number) =>
  number === null ? "-" : number < 10 ? `${number.toFixed(2)} ms` : number < 1000 ? `${number.toFixed(0)} ms` : `${(number / 1000).toFixed(1)} s`;

// Writes a text node's text, or that of an element that has nothing else.
export function write(node, text) {
  if (node.nodeType !== Node.TEXT_NODE) node = node.firstChild ?? node.appendChild(document.createTextNode(""));
  if (node.data !== text) node.data = text;
}

export function set(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}
