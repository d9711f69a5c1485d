// Parts that several views show: statuses, times, values, notices, lists with more to load.

import { Problem } from "./api.js";
import { byId, fill, h, setText } from "./dom.js";
import { bytes, clock, number } from "./format.js";
import { LeftOut } from "./left_out.js";
import { LABELS } from "./statuses.js";

const SHOWN = 2_000; // characters of a value before "show all"

/** A dot with a form for each status, and its name. */
export function pill(status) {
  return h(
    "span",
    { class: "pill", "data-status": status },
    h("span", { class: "dot", "aria-hidden": "true" }),
    LABELS[status] ?? status,
  );
}

export function setPill(element, status) {
  if (element.dataset.status === status) return;
  element.dataset.status = status;
  element.lastChild.textContent = LABELS[status] ?? status;
}

export function time(value, shown = clock) {
  if (!value) return h("span", { class: "none" }, "–");
  return h(
    "time",
    { datetime: value, title: `${value.replace("T", " ").replace("Z", "")} UTC` },
    shown(value),
  );
}

/** A value from a pin: text as text, anything else as JSON; long ones cut until asked for. */
export function valueView(value) {
  if (value instanceof LeftOut) return leftOutView(value);
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const box = h(
    "pre",
    { class: "value", tabindex: text.length > 200 ? 0 : false },
    text.slice(0, SHOWN),
  );
  if (text.length <= SHOWN) return box;
  const more = h(
    "button",
    { type: "button", class: "quiet" },
    `Show all ${number(text.length)} characters`,
  );
  more.addEventListener("click", () => (fill(box, text), more.remove()));
  return h("div", {}, box, more);
}

/** A button that loads the value and gives way to it. */
function leftOutView(left) {
  const place = h("div", { class: "left-out" });
  if (left.isLoaded) return fill(place, valueView(left.value));
  const offer = `Load ${bytes(left.place.bytes)}`;
  const button = h("button", { type: "button", class: "quiet" }, offer);
  button.addEventListener("click", async () => {
    button.disabled = true;
    setText(button, "Loading…");
    try {
      await left.load();
      fill(place, valueView(left.value));
    } catch (error) {
      button.disabled = false;
      setText(button, offer);
      fill(place, failure(error, "this value"), button);
    }
  });
  return fill(place, button);
}

/** Pins with one value, or a list of values, each. */
export function pins(values, { isList = false } = {}) {
  const names = Object.keys(values ?? {});
  if (!names.length) return h("p", { class: "none" }, "None.");
  return h(
    "dl",
    { class: "pins" },
    names.map((name) => [
      h("dt", {}, name),
      h("dd", {}, isList ? values[name].map(valueView) : valueView(values[name])),
    ]),
  );
}

export const notice = (...text) => h("p", { class: "notice" }, ...text);

export const empty = (...text) => h("div", { class: "empty" }, ...text);

/** An error in place of the content; the frame loads that when the server is back. */
export function failure(error, what) {
  if (error.status === 0) dispatchEvent(new Event("server-away"));
  if (error instanceof Problem && error.isMissing)
    return notice(`This server does not tell ${what}.`);
  return h("p", { class: "notice bad", role: "alert" }, error.message);
}

/** A panel with a heading; `side` stands at the heading's other end. */
export function panel(title, side, ...children) {
  return h(
    "section",
    { class: "panel", "aria-label": title },
    h("header", {}, h("h2", {}, title), side),
    ...children,
  );
}

/** A table in a box that scrolls sideways when it must. Columns: text, or `[text, class]`. */
export function table(caption, columns, rows) {
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { "aria-label": caption },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((column) => {
            const [text, name] = [column].flat();
            return h("th", { scope: "col", class: name }, text);
          }),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

/** A cell; the column's name is shown before it where the table is stacked. */
export const cell = (label, ...children) => h("td", { "data-label": label }, ...children);

export const figure = (label, ...children) =>
  h("td", { "data-label": label, class: "figure" }, ...children);

/** A message shown once at the edge of the page. */
export function say(text, kind = "") {
  const toast = h("div", { class: `toast ${kind}` }, text);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), kind === "bad" ? 12_000 : 5_000);
}

/** Ask before something is done; resolves to true or false. */
export function ask(question, detail, yes, { kind = "" } = {}) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-label": question },
      h(
        "form",
        { method: "dialog" },
        h("h2", {}, question),
        h("p", {}, detail),
        h(
          "div",
          { class: "buttons" },
          h("button", { value: "no", class: "quiet" }, "Cancel"),
          h("button", { value: "yes", class: kind }, yes),
        ),
      ),
    );
    dialog.addEventListener(
      "close",
      () => (dialog.remove(), resolve(dialog.returnValue === "yes")),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
