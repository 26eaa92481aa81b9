// The numbers of an explanation: completeness, the classes, and the bars of contributions.

import { at, element, facts } from "./elements.js";
import { figure, tiny } from "./figures.js";

/** The class of a score in words. */
export function className(kind, labels) {
  return labels?.[kind] === undefined ? `class ${kind}` : labels[kind];
}

export function showCompleteness(found, tolerance) {
  const complete = found.residual <= tolerance;
  const verdict = at("verdict");
  verdict.className = complete ? "notice pass" : "notice fail";
  verdict.replaceChildren(
    element("strong", { id: "residual", "data-value": found.residual }, `Residual ${tiny(found.residual)}`),
    complete
      ? ` The contributions add up to the score, within ${figure(tolerance)}.`
      : ` The contributions do not add up to the score: the residual is above ${figure(tolerance)}. ` +
          "Trust neither the map nor the bars.",
  );
  at("sum").replaceChildren(
    ...facts({ Score: figure(found.score), "Sum of contributions": figure(found.sum) }),
  );
}

/**
 * @param ranked the best classes, as `best` gives them.
 * @param chosen the class that is explained.
 * @param onChoose called with the flat index of the class that is clicked.
 */
export function showClasses(ranked, chosen, labels, onChoose) {
  const most = Math.max(...ranked.map(({ value }) => Math.abs(value)));
  // the list is made anew, and the keyboard is to stay where it is
  const focused = document.activeElement.closest("#classes button")?.dataset.index;
  at("classes").replaceChildren(
    ...ranked.map(({ index, kind, value }) => {
      const bar = element("span", { class: value < 0 ? "level below" : "level" });
      bar.style.width = `${most > 0 ? (100 * Math.abs(value)) / most : 0}%`;
      const button = element(
        "button",
        {
          type: "button",
          "data-index": index,
          "aria-pressed": String(kind === chosen),
          click: () => onChoose(index),
        },
        element("span", { class: "name" }, className(kind, labels)),
        element("span", { class: "value" }, figure(value)),
        element("span", { class: "track", "aria-hidden": "true" }, bar),
      );
      return element("li", {}, button);
    }),
  );
  if (focused) at("classes").querySelector(`[data-index="${focused}"]`)?.focus();
}

/**
 * @param terms of the attribution, the input's first.
 * @param ofLayers whether the largest layer has the longest bar, however long the input's would be.
 */
export function showBars(terms, ofLayers) {
  const scaled = ofLayers && terms.length > 1 ? terms.slice(1) : terms;
  const most = Math.max(...scaled.map(({ value }) => Math.abs(value)));
  at("bars").replaceChildren(
    ...terms.map(({ name, kind, op, value }) => {
      const wanted = most > 0 ? (50 * Math.abs(value)) / most : 0;
      const share = Math.min(wanted, 50);
      const bar = element("span", { class: `bar of-${kind}${wanted > share ? " cut" : ""}` });
      bar.style.width = `${share}%`;
      bar.style.left = value < 0 ? `${50 - share}%` : "50%";
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, name),
        element("td", {}, op ? `${kind}, ${op}` : kind),
        element("td", { class: "number", "data-value": value }, figure(value)),
        element("td", { class: "share", "aria-hidden": "true" }, element("span", { class: "axis" }, bar)),
      );
    }),
  );
}
