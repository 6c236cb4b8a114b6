// The colours: as the system has them, or light or dark. Runs before anything is drawn.
(() => {
  const KEY = "fmx-theme";
  const CHOICES = ["system", "light", "dark"];
  const NAMES = { system: "as the system", light: "light", dark: "dark" };
  const root = document.documentElement;
  root.classList.add("scripted");

  const read = () => {
    const kept = localStorage.getItem(KEY);
    return CHOICES.includes(kept) ? kept : "system";
  };
  const apply = (choice) => {
    if (choice === "system") delete root.dataset.theme;
    else root.dataset.theme = choice;
    const button = document.getElementById("theme");
    button?.setAttribute("aria-label", `Colours: ${NAMES[choice]}`);
    button?.setAttribute("title", `Colours: ${NAMES[choice]}`);
    dispatchEvent(new CustomEvent("themechange"));
  };

  apply(read());
  addEventListener("DOMContentLoaded", () => {
    apply(read());
    document.getElementById("theme")?.addEventListener("click", () => {
      const next = CHOICES[(CHOICES.indexOf(read()) + 1) % CHOICES.length];
      localStorage.setItem(KEY, next);
      apply(next);
    });
  });
})();
