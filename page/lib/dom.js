// Elements made by functions. Whatever comes from outside becomes a text node or an attribute,
// never markup, so there is nothing to escape.

import { textOf } from "./exact.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element: `on` holds listeners, `vars` CSS properties; false, null and undefined are left out. */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/** Put these children in the place of all there are. */
export function fill(element, ...children) {
  element.replaceChildren(fragment(children));
  return element;
}

/** Change a text only when it differs, so that a selection in it survives. */
export function setText(element, text) {
  const wanted = textOf(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

function filled(element, { on = {}, vars = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : textOf(value));
  }
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(fragment(children));
  return element;
}

/** One by one: a call takes no more than some ten thousand arguments, and pins hold more values. */
function fragment(children) {
  const all = document.createDocumentFragment();
  for (const child of children.flat(Infinity)) {
    if (child === false || child === null || child === undefined) continue;
    all.append(child instanceof Node ? child : document.createTextNode(textOf(child)));
  }
  return all;
}

/** `show(value)` only when it differs from the last time, so that opened parts stay open. */
export function whenChanged(show) {
  let last;
  return (value) => {
    const now = JSON.stringify(value);
    if (now !== last) show(value);
    last = now;
  };
}
