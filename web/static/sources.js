// The numbered passages of an answer, and the [n] links that lead to them.

import { make } from "./dom.js";

/** @typedef {{n: number, document: {title: string}, passage: {snippet: string, heading_path: string[], href: string, page: number | null}}} Source */

export class Sources {
  /** @type {Map<number, Source>} */
  #sources = new Map();
  /** @type {Set<Source>} */
  #cited = new Set();

  /** @param {HTMLElement} section holds the list, and hides while it is empty */
  constructor(section) {
    this.section = section;
  }

  /** @param {Source[]} sources */
  show(sources) {
    this.#sources = new Map(sources.map((source) => [source.n, source]));
    this.#cited.clear();
    this.section.querySelector("ol")?.replaceChildren(...sources.map(entry));
    this.section.hidden = !sources.length;
  }

  /**
   * The link for [n]; plain text if n was never given.
   * @param {number} n
   */
  link(n) {
    const source = this.#sources.get(n);
    const item = document.getElementById(`source-${n}`);
    if (!source || !item) return `[${n}]`;
    this.#cited.add(source);
    item.dataset.cited = "";
    const title = name(source);
    return make("a", { class: "cite", href: href(source), title, "aria-label": `Source ${n}: ${title}`, "aria-details": item.id }, `[${n}]`);
  }

  /** Cited passages first, each group in its order. */
  sort() {
    const list = this.section.querySelector("ol");
    list?.append(...list.querySelectorAll(":not([data-cited]).source"));
  }

  /** The cited sources, a line each. */
  get text() {
    return [...this.#cited].map((source) => `[${source.n}] ${name(source)}`).join("\n");
  }
}

/** @param {Source} source */
function name({ passage }) {
  return passage.heading_path.join(" › ") + (passage.page ? `, page ${passage.page}` : "");
}

/** @param {Source} source a citation leads into this house or nowhere */
function href({ n, passage }) {
  const url = new URL(passage.href, location.origin);
  return url.origin === location.origin ? url.pathname + url.search + url.hash : `#source-${n}`;
}

/** @param {string} snippet safe HTML of our own making; its words without the marks */
function words(snippet) {
  return new DOMParser().parseFromString(snippet, "text/html").body.textContent ?? "";
}

/** @param {Source} source */
function entry(source) {
  const { n, document, passage } = source;
  return make(
    "li", { class: "source small", id: `source-${n}` },
    make("span", { class: "source-number" }, `${n}`),
    make("a", { class: "source-title", href: href(source), dir: "auto" }, document.title),
    make("p", { class: "slant" }, passage.heading_path.slice(1).join(" › ")),
    make("p", { dir: "auto" }, words(passage.snippet)),
  );
}
