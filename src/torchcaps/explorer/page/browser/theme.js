/** Light or dark: the system's choice, until someone makes their own. */

import { say } from "./dom.js";

export function createTheme(button, onChange) {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    say(button, dark() ? "Light" : "Dark");
    button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
    onChange();
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    show();
  });
  system.addEventListener("change", show);
  show();
}
