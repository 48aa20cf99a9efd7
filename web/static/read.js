// The book's contents: open beside the text where there is room, folded above
// it where not, and scrolled to the section that is being read.

const toc = /** @type {HTMLDetailsElement | null} */ (document.querySelector("[data-toc]"));
const list = toc?.querySelector("nav");

// Not scrollIntoView: that would move the page off the passage.
toc?.addEventListener("toggle", () => {
  const current = toc.querySelector("[aria-current]");
  if (list && current) list.scrollTop += current.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
});
if (toc) toc.open = matchMedia("(min-width: 64em)").matches;
