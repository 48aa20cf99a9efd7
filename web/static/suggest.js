// Suggestions under the box while somebody types: the combobox of the ARIA
// Authoring Practices. Whatever goes wrong here, the box stays a box.

import { make } from "./dom.js";

/** @typedef {{text: string, kind: string, href: string}} Suggestion */

const PAUSE_MS = 90; // between two letters of a fluent typist; asked only after it
const FEWEST_LETTERS = 2;
const KINDS = { title: "book", heading: "chapter", author: "author", term: "word" };

class Suggesting {
  /** @type {AbortController | null} */
  #asked = null;
  #timer = 0;
  #active = -1;
  /** @type {Suggestion[]} */
  #shown = [];

  /** @param {HTMLInputElement} line */
  constructor(line) {
    this.line = line;
    this.list = make("ul", { class: "suggestions ui", id: "suggestions", role: "listbox", "aria-label": "Suggestions", hidden: "" });
    line.after(this.list);
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": "suggestions", "aria-expanded": "false" })) line.setAttribute(name, value);
    line.addEventListener("input", (event) => this.#later(/** @type {InputEvent} */ (event)));
    line.addEventListener("keydown", (event) => this.#key(event));
    line.addEventListener("blur", () => this.close());
    line.form?.addEventListener("submit", () => this.close());
    // Before blur: a finger or a mouse on an option must not close the list under itself.
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const option = event.target instanceof Element && event.target.closest("[role=option]");
      if (option) this.#choose([...this.list.children].indexOf(option));
    });
  }

  close() {
    clearTimeout(this.#timer);
    this.#asked?.abort();
    this.#show([]);
  }

  /** @param {InputEvent} event */
  #later(event) {
    clearTimeout(this.#timer);
    this.#asked?.abort();
    if (event.isComposing) return;
    if (this.line.value.trim().length < FEWEST_LETTERS) this.#show([]);
    else this.#timer = setTimeout(() => void this.#ask(), PAUSE_MS);
  }

  async #ask() {
    this.#asked = new AbortController();
    try {
      const answer = await fetch(`/api/suggest?q=${encodeURIComponent(this.line.value)}`, { signal: this.#asked.signal });
      if (answer.ok) this.#show((await answer.json()).items);
    } catch {
      // Overtaken by the next letter, or nobody there: then there is nothing to suggest.
    }
  }

  /** @param {Suggestion[]} suggestions */
  #show(suggestions) {
    this.#shown = suggestions;
    this.list.replaceChildren(...suggestions.map(option));
    this.list.hidden = !suggestions.length;
    this.line.setAttribute("aria-expanded", `${!this.list.hidden}`);
    this.#mark(-1);
  }

  /** @param {number} at -1 is the box itself */
  #mark(at) {
    this.list.children[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = at;
    const chosen = this.list.children[at];
    chosen?.setAttribute("aria-selected", "true");
    chosen?.scrollIntoView({ block: "nearest" });
    if (chosen) this.line.setAttribute("aria-activedescendant", chosen.id);
    else this.line.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.list.hidden || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const places = this.#shown.length + 1; // the options, and the box
    if (event.key === "ArrowDown") this.#mark(((this.#active + 2) % places) - 1);
    else if (event.key === "ArrowUp") this.#mark(((this.#active + places) % places) - 1);
    else if (event.key === "Enter" && this.#active >= 0) this.#choose(this.#active);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Escape would stop an answer as well
  }

  /** @param {number} at */
  #choose(at) {
    const { text, href } = this.#shown[at];
    this.close();
    const url = new URL(href, location.origin);
    if (url.origin === location.origin) location.assign(url);
    else this.line.value = text;
  }
}

/**
 * @param {Suggestion} suggestion
 * @param {number} at
 */
function option({ text, kind }, at) {
  const words = KINDS[/** @type {keyof typeof KINDS} */ (kind)] ?? kind;
  return make("li", { role: "option", id: `suggestion-${at}`, "aria-selected": "false" }, make("bdi", {}, text), make("span", { class: "soft" }, words));
}

const line = document.querySelector("[data-box] [type=search]");
if (line instanceof HTMLInputElement) new Suggesting(line);
