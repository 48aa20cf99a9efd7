// A question asked: posts it, and shows the answer as it comes.

import { make } from "./dom.js";
import { Prose } from "./prose.js";
import { Sources } from "./sources.js";
import { readEvents } from "./sse.js";

/** @typedef {{event: string, data: any}} AnswerEvent */

const LABELS = { written: "", quoted: "Quoted from the library (no model is loaded)", not_found: "Not in the library" };

class Asking {
  #abort = new AbortController();
  /** @type {AnswerEvent[]} */
  #heard = [];
  #isRunning = false;

  /** @param {HTMLElement} section */
  constructor(section) {
    this.section = section;
    const { question, shelf, passages } = section.dataset;
    this.body = JSON.stringify({ question, shelf: shelf || null, passages: passages?.split(" ") ?? [] });
    this.sources = new Sources(this.part("sources"));
    this.prose = this.#blank();
    this.part("stop").onclick = () => this.#abort.abort();
    this.part("retry").onclick = () => this.start();
    this.part("copy").onclick = () => this.copy();
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#isRunning) return;
      event.preventDefault(); // Escape would empty the box as well.
      this.#abort.abort();
    });
  }

  /** @param {string} name */
  part(name) {
    return /** @type {HTMLElement} */ (this.section.querySelector(`[data-${name}]`));
  }

  async start() {
    this.#begin();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      for await (const event of ask(this.body, signal)) this.#show(event);
      if (this.#isRunning) this.#fail("The answer broke off before its end.");
    } catch (error) {
      if (signal.aborted) this.#end("Stopped.", "retry");
      else if (error instanceof TypeError) this.#fail("The appliance could not be reached.");
      else this.#fail(/** @type {Error} */ (error).message);
    }
  }

  /** @param {AnswerEvent[]} events heard before */
  replay(events) {
    this.#begin();
    for (const event of events) this.#show(event);
  }

  copy() {
    const isCopied = copied(`${this.prose.text}\n\n${this.sources.text}`.trim());
    this.#say(isCopied ? "Copied." : "This browser would not copy; please select the text.");
  }

  #blank() {
    for (const name of ["label", "prose", "spoken", "trouble", "notes"]) this.part(name).replaceChildren();
    this.sources.show([]);
    return new Prose(this.part("prose"), (n) => this.sources.link(n), (text) => this.part("spoken").append(make("p", {}, text)));
  }

  #begin() {
    this.prose = this.#blank();
    this.#heard = [];
    this.#isRunning = true;
    this.section.dataset.busy = "";
    this.#offer("stop");
    this.#say("Searching the shelves…");
  }

  /** @param {AnswerEvent} event */
  #show({ event, data }) {
    this.#heard.push({ event, data });
    if (event === "token") this.prose.write(data.text);
    else if (event === "waiting") this.#say(inLine(data));
    else if (event === "citation") this.prose.cite(data.n);
    else if (event === "failed") this.#fail(data.message);
    else if (event === "done") this.#done(data);
    else if (event === "passages") {
      this.sources.show(data.passages);
      this.#note(data.degraded);
      this.#say("Writing…");
    }
  }

  /** @param {{kind: keyof typeof LABELS, model: string | null, notices: string[], took_ms: number}} done */
  #done({ kind, model, notices, took_ms }) {
    this.part("label").append(LABELS[kind]);
    this.#note(notices);
    this.#end(`Done in ${(took_ms / 1000).toFixed(1)} s${model ? ` · ${model}` : ""}`);
    keep(this.body, this.#heard);
  }

  /** @param {string} message */
  #fail(message) {
    this.part("trouble").append(message);
    this.#end("", "retry");
  }

  /**
   * @param {string} status
   * @param {string[]} offers
   */
  #end(status, ...offers) {
    this.#isRunning = false;
    this.prose.end();
    this.sources.sort();
    delete this.section.dataset.busy;
    this.#offer(this.prose.text && "copy", ...offers);
    this.#say(status);
  }

  /** @param {string[]} names of the buttons that make sense now */
  #offer(...names) {
    for (const name of ["stop", "retry", "copy"]) this.part(name).hidden = !names.includes(name);
  }

  /** @param {string[]} sentences */
  #note(sentences = []) {
    this.part("notes").append(...sentences.map((one) => make("li", {}, one)));
  }

  /** @param {string} status */
  #say(status) {
    this.part("status").textContent = status;
  }
}

/** @param {{position: number, loading: boolean}} waiting in the line before the model; position 0 when the turn has come */
function inLine({ position, loading }) {
  if (position === 0) return "Writing…";
  const model = loading ? "The model is being loaded" : "The model is busy";
  if (position === 1) return `${model}. This answer is written next.`;
  const before = position === 2 ? "one other answer comes" : `${position - 1} other answers come`;
  return `${model}; ${before} before this one.`;
}

/**
 * @param {string} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<AnswerEvent>}
 */
async function* ask(body, signal) {
  const headers = { "content-type": "application/json", accept: "text/event-stream" };
  const answer = await fetch("/api/ask", { method: "POST", headers, body, signal });
  if (!answer.ok || !answer.body) {
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.detail ?? `The appliance answered with status ${answer.status}.`);
  }
  for await (const { event, data } of readEvents(answer.body)) yield { event, data: JSON.parse(data) };
}

/**
 * The old way: navigator.clipboard exists only on https, and a house has none.
 * @param {string} text
 */
function copied(text) {
  const area = /** @type {HTMLTextAreaElement} */ (make("textarea", {}, text));
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}

// Coming back from the book at [1] must not set the model to work again: a
// finished answer is kept for this tab.

/**
 * @param {string} body
 * @param {AnswerEvent[]} events
 */
function keep(body, events) {
  try {
    sessionStorage.setItem(body, JSON.stringify(events));
  } catch {
    // Full or switched off: it will be asked again.
  }
}

/** @param {string} body */
function kept(body) {
  try {
    const [arrival] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType("navigation"));
    return arrival.type === "back_forward" && JSON.parse(sessionStorage.getItem(body) ?? "null");
  } catch {
    return null;
  }
}

const asking = new Asking(/** @type {HTMLElement} */ (document.querySelector("[data-answer]")));
const before = kept(asking.body);
if (before) asking.replay(before);
else void asking.start();
