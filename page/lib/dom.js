// Elements made by functions. Whatever comes from outside becomes a text node or an attribute,
// never markup, so there is nothing to escape.

import { textOf } from "./exact.js";

/** @typedef {{[name: string]: any, on?: Record<string, EventListener>, vars?: Record<string, string>}} Properties */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `on` holds listeners, `vars` CSS properties; false, null and undefined are left out.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} props
 * @param {...any} children texts, elements, and lists of them
 */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/**
 * The same for SVG.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} props
 * @param {...any} children
 */
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/**
 * An element that the document has from its beginning.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Put these children in the place of all there are.
 *
 * @template {Element} Kind
 * @param {Kind} element
 * @param {...any} children
 */
export function fill(element, ...children) {
  element.replaceChildren(fragment(children));
  return element;
}

/**
 * Change a text only when it differs, so that a selection in it survives.
 *
 * @param {Node} element
 * @param {unknown} text
 */
export function setText(element, text) {
  const wanted = textOf(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * @template {HTMLElement | SVGElement} Kind
 * @param {Kind} element
 * @param {Properties} props
 * @param {any[]} children
 */
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

/**
 * One by one: a call takes no more than some ten thousand arguments, and pins hold more values.
 *
 * @param {any[]} children
 */
function fragment(children) {
  const all = document.createDocumentFragment();
  for (const child of children.flat(Infinity)) {
    if (child === false || child === null || child === undefined) continue;
    all.append(child instanceof Node ? child : document.createTextNode(textOf(child)));
  }
  return all;
}

/**
 * `show(value)` only when it differs from the last time, so that opened parts stay open.
 *
 * @template Value
 * @param {(value: Value) => void} show
 */
export function whenChanged(show) {
  /** @type {string | undefined} */
  let last;
  return (/** @type {Value} */ value) => {
    const now = JSON.stringify(value);
    if (now !== last) show(value);
    last = now;
  };
}
