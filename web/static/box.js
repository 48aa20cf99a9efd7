// Keys of the one box: "/" goes to it, Ctrl+Enter asks. The form is plain HTML
// and needs none of this.

const line = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-box] [type=search]"));
const ask = /** @type {HTMLButtonElement | null} */ (document.querySelector("[data-ask-button]"));

document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof Element && event.target.closest("input, select");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
  event.preventDefault();
  line?.select();
});

line?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  line.form?.requestSubmit(ask);
});
