// The book's contents: open beside the text on a wide screen, folded above it
// on a narrow one, and scrolled to the section that is being read.

const toc = /** @type {HTMLDetailsElement | null} */ (document.querySelector("[data-toc]"));
const list = toc?.querySelector("nav");
const wide = matchMedia("(min-width: 64em)");

const fold = () => {
  if (toc) toc.open = wide.matches;
};

// Not scrollIntoView: that would move the page, too, off the passage.
toc?.addEventListener("toggle", () => {
  const current = toc.querySelector("[aria-current]");
  if (list && current) list.scrollTop += current.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3;
});
wide.addEventListener("change", fold);
fold();
