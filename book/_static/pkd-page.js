/* What a page needs that its theme does not give: what scrolls sideways shows it, and lists say what they are. */
(() => {
  if (new URLSearchParams(location.search).has("still")) return; // the page is printed
  /* What scrolls sideways says so, and can be scrolled by keys. */
  function markScrolling() {
    for (const box of document.querySelectorAll(".pkd-chart, .cell_output .text_html, .pst-scrollable-table-container")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      box.classList.toggle("pkd-scrolls", scrolls);
      box.classList.toggle("pkd-more", scrolls && box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
      if (!scrolls) continue;
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", "scrolls sideways");
      box.onscroll ??= markScrolling;
    }
  }

  /* Sphinx gives a list of references a role without giving its items one, and it lays out long signatures as lists of
     definitions without terms. */
  function mendRoles() {
    document.querySelectorAll(".citation-list[role=list]").forEach((list) => list.removeAttribute("role"));
    document.querySelectorAll(".sig :is(dl, dd)").forEach((part) => part.setAttribute("role", "none"));
  }

  document.addEventListener("DOMContentLoaded", () => {
    mendRoles();
    markScrolling();
    window.addEventListener("resize", markScrolling);
    document.addEventListener("pkd-resized", markScrolling);
    document.addEventListener("toggle", markScrolling, true);
  });
})();
