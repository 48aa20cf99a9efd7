// Reading, with a script: contents beside the text, type and paper, keys, from
// hit to hit without loading, and the place in the book remembered here alone.

import { rememberPlace } from "./place.js";
import { offerType } from "./choices.js";

const toc = /** @type {HTMLDetailsElement | null} */ (document.querySelector("[data-toc]"));
const list = toc?.querySelector("nav");
const text = /** @type {HTMLElement} */ (document.querySelector("[data-text]"));
const reader = /** @type {HTMLElement} */ (document.querySelector("[data-book]"));

// Not scrollIntoView: that would move the page off the passage.
toc?.addEventListener("toggle", () => {
  const current = toc.querySelector("[aria-current]");
  if (list && current) list.scrollTop += current.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
});
if (toc) toc.open = matchMedia("(min-width: 64em)").matches;

offerType();
rememberPlace(reader, text);

/** @param {string} selector */
const follow = (selector) => /** @type {HTMLAnchorElement | null} */ (document.querySelector(selector))?.click();

/** The next or previous hit on this page, else the page that has it. @param {1 | -1} step */
function turn(step) {
  const marks = /** @type {HTMLElement[]} */ ([...text.querySelectorAll("mark[id^='h']")]);
  const at = marks.findIndex((mark) => mark.classList.contains("current"));
  const line = innerHeight / 3;
  const from = at >= 0 ? at + step : step > 0
    ? marks.findIndex((mark) => mark.getBoundingClientRect().top > line)
    : marks.findLastIndex((mark) => mark.getBoundingClientRect().top < line);
  const next = marks[from];
  if (next) {
    marks[at]?.classList.remove("current");
    next.classList.add("current");
    history.replaceState(null, "", `#${next.id}`);
    next.scrollIntoView({ block: "center" });
    tell(Number(next.id.slice(1)));
    return;
  }
  const edge = step > 0 ? marks.at(-1) : marks[0];
  if (edge) open(Number(edge.id.slice(1)) + step);
  else follow(step > 0 ? "[data-next-hit]" : "[data-previous-hit]");
}

const hits = /** @type {HTMLElement | null} */ (document.querySelector("[data-hits]"));
const total = Number(hits?.dataset.hits ?? 0);

/** @param {number} number */
function open(number) {
  if (number < 1 || number > total) return;
  location.assign(`/read/${reader.dataset.book}?hit=${number}&q=${encodeURIComponent(hits?.dataset.query ?? "")}#h${number}`);
}

/** @param {number} number */
function tell(number) {
  const line = hits?.querySelector("span:not([aria-hidden])");
  if (line) line.textContent = `${number} of ${total} ${total === 1 ? "hit" : "hits"} for “${hits?.dataset.query}”`;
}

for (const [selector, step] of /** @type {[string, 1 | -1][]} */ ([["[data-next-hit]", 1], ["[data-previous-hit]", -1]])) {
  hits?.querySelector(selector)?.addEventListener("click", (event) => {
    if (event.isTrusted && text.querySelector("mark[id^='h']")) {
      event.preventDefault();
      turn(step);
    }
  });
}

addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select")) return;
  if (event.key === "n" && hits) turn(1);
  else if (event.key === "p" && hits) turn(-1);
  else if (event.key === "[") follow(".turn [rel='prev']");
  else if (event.key === "]") follow(".turn [rel='next']");
  else if (event.key === "t" && toc) {
    toc.open = !toc.open;
    if (toc.open) toc.querySelector("summary")?.focus();
  }
});
