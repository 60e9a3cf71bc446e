// What the theme leaves out: levels of the captions, and the keys for what scrolls sideways.
for (const caption of document.querySelectorAll(".caption[role=heading]")) {
  caption.setAttribute("aria-level", "2");
}

function letKeysScroll() {
  for (const box of document.querySelectorAll("article pre, article .table-wrapper")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("resize", letKeysScroll);
addEventListener("load", letKeysScroll);
letKeysScroll();
