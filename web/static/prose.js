// Streamed text into paragraphs, lists, quotations and bold. The text is a
// model's or a book's: every letter of it enters the page through a text node.

import { make } from "./dom.js";

// A citation stands in the text as one private-use letter, U+E000 + n. Such
// letters in the text itself have no shape anyone agrees on, and go.
const CITE = 0xe000;
const CITES = /([\ue000-\uf8ff])/;
const AUTO = { dir: "auto" };

/** @typedef {{mark: string, lines: string[]}} Block mark: what each line began with */

export class Prose {
  #text = "";
  #settled = 0;

  /**
   * @param {HTMLElement} target
   * @param {(n: number) => Node | string} citation what stands for [n]
   * @param {(text: string) => void} speak called once with each block that is whole
   */
  constructor(target, citation, speak) {
    this.target = target;
    this.citation = citation;
    this.speak = speak;
  }

  /** @param {string} text */
  write(text) {
    this.#text += text.replace(/[\r\ue000-\uf8ff]/g, "");
    this.#draw();
  }

  /** @param {number} n */
  cite(n) {
    this.#text += String.fromCharCode(CITE + n);
    this.#draw();
  }

  end() {
    this.#draw(true);
  }

  /** The words as plain text, citations as [n]. */
  get text() {
    return plain(this.#text).trim();
  }

  /**
   * Blocks before the last can change no more and stay: so do focus and
   * selection in them.
   */
  #draw(isEnd = false) {
    const blocks = toBlocks(this.#text);
    const settled = isEnd ? blocks.length : Math.max(blocks.length - 1, 0);
    while (this.target.childNodes.length > this.#settled) this.target.lastChild?.remove();
    this.target.append(...blocks.slice(this.#settled).map((block) => this.#node(block)));
    for (const block of blocks.slice(this.#settled, settled)) this.speak(plain(block.lines.join("\n")));
    this.#settled = settled;
  }

  /** @param {Block} block */
  #node({ mark, lines }) {
    if (mark === "- ") return make("ul", AUTO, ...lines.map((line) => make("li", AUTO, ...this.#inline(line))));
    const paragraph = make("p", AUTO, ...lines.flatMap((line, i) => [i ? make("br", {}) : "", ...this.#inline(line)]));
    return mark ? make("blockquote", AUTO, paragraph) : paragraph;
  }

  /** @param {string} line */
  #inline(line) {
    return line.split(/\*\*(.+?)\*\*/).flatMap((part, i) => {
      const nodes = part.split(CITES).map((bit) => (CITES.test(bit) ? this.citation(bit.charCodeAt(0) - CITE) : bit));
      return i % 2 ? [make("strong", {}, ...nodes)] : nodes;
    });
  }
}

/**
 * Lines of one kind that stand together; an empty line ends a block.
 * @param {string} text
 */
export function toBlocks(text) {
  /** @type {Block[]} */
  const blocks = [];
  let isOpen = false;
  for (const line of text.split("\n")) {
    const [, bullet, quote, words] = /^(?:([-*] +)|(> ?))?(.*)$/.exec(line) ?? [];
    const mark = bullet ? "- " : quote ? "> " : "";
    const last = blocks.at(-1);
    if (!line.trim()) isOpen = false;
    else if (isOpen && last?.mark === mark) last.lines.push(words);
    else isOpen = blocks.push({ mark, lines: [words] }) > 0;
  }
  return blocks;
}

/** @param {string} text */
function plain(text) {
  return text.replaceAll("**", "").replace(/[\ue000-\uf8ff]/g, (letter) => `[${letter.charCodeAt(0) - CITE}]`);
}
