/* One button shows all code of a page. Without JavaScript each piece of code has a fold of its own. */
(() => {
  const folds = [...document.querySelectorAll(".cell.tag_hide-input:not(.tag_parameters) > details")];
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
