// Keeps the library page true while documents are being read. /api/events says
// what changed; small figures are set in place, and for all else the page is
// fetched again and its parts that differ are exchanged, so that every word is
// written by the server alone. Without events (an old proxy, say) it fetches now
// and then. It rests while nobody looks: a browser has six connections to a house.

const LEAST_MS = 2000;
const FALLBACK_MS = 3000;
const AGAIN_MS = 10_000;

/** @type {EventSource | null} */
let source = null;
let isLive = false;
let isPressed = false;
let timer = 0;
let fetchedAt = -LEAST_MS;
let shape = "";

const region = () => /** @type {HTMLElement} */ (document.querySelector("[data-live]"));
const isVisible = () => document.visibilityState === "visible";

/** @param {string} selector @param {string} text */
function say(selector, text) {
  const place = document.querySelector(selector);
  if (place && place.textContent !== text) place.textContent = text;
}

// --- exchanging parts ------------------------------------------------------------

/** @param {Element} root */
const parts = (root) => /** @type {HTMLElement[]} */ ([...root.querySelectorAll("[data-part]")]);

/** @param {Element | null} element what it is, so that it can be found again in a fresh page */
function identity(element) {
  if (!(element instanceof HTMLElement)) return "";
  const form = element.closest("form");
  const named = form?.querySelector("[name=document]");
  return `${element.tagName} ${element.getAttribute("href") ?? ""} ${named?.getAttribute("value") ?? ""} ${element.getAttribute("value") ?? ""}`;
}

/** @param {HTMLElement} old @param {HTMLElement} fresh */
function exchange(old, fresh) {
  const held = old.contains(document.activeElement) ? document.activeElement : null;
  const is = held && identity(held);
  for (const details of fresh.querySelectorAll("details")) details.open = Boolean(old.querySelector("details")?.open);
  if (old.isEqualNode(fresh)) return;
  old.replaceWith(fresh);
  if (!held) return;
  // What one stands on must not vanish: the same again, else its neighbour in the same part.
  const candidates = /** @type {HTMLElement[]} */ ([...fresh.querySelectorAll("a, button, summary")]);
  const neighbour = "part" in fresh.dataset ? candidates.at(-1) : undefined;
  const next = candidates.find((one) => identity(one) === is) ?? neighbour ?? document.querySelector("main");
  /** @type {HTMLElement | null} */ (next)?.focus({ preventScroll: true });
}

/** @param {Element | null} fresh */
function renewNotices(fresh) {
  const old = document.querySelector(".notices");
  if (old && fresh && !old.isEqualNode(fresh)) old.replaceWith(document.importNode(fresh, true));
  else if (old && !fresh) old.remove();
  else if (fresh && !old) document.querySelector(".masthead")?.append(document.importNode(fresh, true));
}

/** @param {string} html */
function renew(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const parsed = page.querySelector("[data-live]");
  if (!parsed) return;
  renewNotices(page.querySelector(".notices"));
  const fresh = /** @type {HTMLElement} */ (document.importNode(parsed, true));
  const old = region();
  const { summary = "" } = fresh.dataset;
  if (summary !== old.dataset.summary) say("[data-live-status]", `${summary}.`);
  const [before, after] = [parts(old), parts(fresh)];
  const isSame = before.length === after.length && before.every((one, at) => one.dataset.part === after[at].dataset.part);
  if (!isSame) {
    exchange(old, fresh);
    return;
  }
  before.forEach((one, at) => exchange(one, after[at]));
  old.toggleAttribute("data-busy", "busy" in fresh.dataset);
  old.dataset.summary = summary;
}

// --- fetching --------------------------------------------------------------------

async function refresh() {
  timer = 0;
  if (isPressed) return want(); // a button must not vanish between the press and the click
  fetchedAt = performance.now();
  try {
    const page = await fetch(location.href, { cache: "no-store" });
    if (page.ok) renew(await page.text());
  } catch {
    // It may be restarting; the next round will tell.
  }
  rest();
}

function want(inMs = LEAST_MS) {
  if (timer || !isVisible()) return;
  timer = window.setTimeout(refresh, Math.max(50, fetchedAt + inMs - performance.now()));
}

function rest() {
  if (!isLive && "busy" in region().dataset) want(FALLBACK_MS);
}

// --- events ----------------------------------------------------------------------

/** @param {any} progress */
function showProgress(progress) {
  say("[data-ingest-summary]", progress.summary);
  say("[data-ingest-done]", progress.done);
  const counts = { total: progress.total, ...progress.documents };
  for (const place of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-count]"))) {
    const count = (counts[place.dataset.count ?? ""] ?? 0).toLocaleString("en-GB");
    if (place.textContent !== count) place.textContent = count;
  }
  const bar = /** @type {HTMLProgressElement | null} */ (document.querySelector("[data-ingest-share]"));
  if (bar) bar.value = progress.share;
  say("[data-reindex-summary]", progress.reindexing?.summary ?? "");
  const rebuilt = /** @type {HTMLProgressElement | null} */ (document.querySelector("[data-reindex-share]"));
  if (rebuilt && progress.reindexing) rebuilt.value = progress.reindexing.share;
  const now = JSON.stringify([progress.documents, progress.paused, progress.trouble, progress.noticed > 0, progress.reindexing?.job_id]);
  if (shape && shape !== now) want();
  shape = now;
}

/** @param {{items: {id: string, state: string, progress: number | null}[], reload: boolean}} changes */
function showDocuments(changes) {
  let isStale = changes.reload;
  for (const { id, state, progress } of changes.items) {
    const row = region().querySelector(`tr[data-part="${CSS.escape(id)}"]`);
    const bar = row?.querySelector("progress");
    if (bar && progress !== null) bar.value = progress;
    if (!row?.classList.contains(state) || (progress !== null && !bar)) isStale = true;
  }
  document.dispatchEvent(new CustomEvent("almanac:documents", { detail: changes.items }));
  if (isStale) want();
}

function listen() {
  if (source || !isVisible()) return;
  source = new EventSource("/api/events");
  source.onopen = () => (isLive = true);
  source.addEventListener("progress", (event) => showProgress(JSON.parse(event.data)));
  source.addEventListener("documents", (event) => showDocuments(JSON.parse(event.data)));
  source.onerror = () => {
    isLive = false;
    rest();
    if (source?.readyState !== EventSource.CLOSED) return; // it tries again by itself
    hush();
    window.setTimeout(listen, AGAIN_MS);
  };
}

function hush() {
  source?.close();
  source = null;
  isLive = false;
}

// --- what a reader decides -------------------------------------------------------

/** @param {SubmitEvent} event */
async function decide(event) {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
  if (!region().contains(form) || !button) return;
  event.preventDefault();
  const fields = [...new FormData(form), [button.name, button.value]].map(([name, value]) => [name, String(value)]);
  const words = button.textContent ?? "";
  try {
    const headers = { accept: "application/problem+json" };
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(fields), headers });
    const problem = answer.ok ? {} : await answer.json();
    say("[data-live-trouble]", problem.detail ?? "");
    if (answer.ok) {
      renew(await answer.text());
      say("[data-live-status]", `${words.trim()}: done.`);
    } else want();
  } catch {
    say("[data-live-trouble]", "The appliance could not be reached. Try again.");
  }
}

document.addEventListener("submit", decide);
document.addEventListener("pointerdown", () => (isPressed = true));
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => setTimeout(() => (isPressed = false)));
document.addEventListener("visibilitychange", () => (isVisible() ? listen() : hush()));
window.addEventListener("pagehide", hush);
window.addEventListener("pageshow", listen);
listen();
rest();
