/* One button shows all code of a page. Without JavaScript each piece of code has a fold of its own. */
(() => {
  const folds = [...document.querySelectorAll(
    ".cell.tag_hide-input:not(.tag_parameters) > details, .cell.tag_hide-cell > details")];
  const title = document.querySelector(".bd-article h1");
  if (!folds.length || !title) return;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "show-code" });
  const show = shown => {
    folds.forEach(fold => { fold.open = shown; fold.style.display = shown ? "" : "none"; });
    button.textContent = shown ? "Hide the code" : "Show the code";
    button.setAttribute("aria-expanded", shown);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-expanded") !== "true"));
  show(false);
  title.after(button);
})();

/* Buttons that leave the rows of one verdict on the scorecard. */
(() => {
  const table = document.querySelector("table.scorecard");
  if (!table) return;
  const rows = [...table.querySelectorAll("tbody tr")];
  const verdictOf = row => row.querySelector(".verdict")?.textContent ?? "";
  const group = Object.assign(document.createElement("div"), { className: "filter", role: "group" });
  group.setAttribute("aria-label", "Show the claims with this verdict");
  for (const verdict of ["all", ...new Set(rows.map(verdictOf))]) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: verdict, className: "show-code" });
    button.setAttribute("aria-pressed", verdict === "all");
    button.addEventListener("click", () => {
      group.querySelectorAll("button").forEach(other => other.setAttribute("aria-pressed", other === button));
      rows.forEach(row => { row.hidden = verdict !== "all" && verdictOf(row) !== verdict; });
    });
    group.append(button);
  }
  table.before(group);
})();

/* What scrolls sideways can be reached by the keyboard. */
(() => {
  const mark = () => document.querySelectorAll(".bd-article table, .bd-article div.math").forEach(part => {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0; else part.removeAttribute("tabindex");
  });
  addEventListener("load", mark);
  addEventListener("resize", mark);
})();

/* Paper is light. */
(() => {
  const page = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => { theme = page.theme; page.theme = "light"; });
  addEventListener("afterprint", () => { page.theme = theme; });
})();
