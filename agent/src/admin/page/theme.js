// Light or dark: as the system prefers it, until somebody chooses.

const button = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";

function put(value) {
  if (value) document.documentElement.dataset.theme = value;
  button.textContent = isDark() ? "Light" : "Dark";
}

export function otherTheme() {
  const value = isDark() ? "light" : "dark";
  localStorage.setItem("theme", value);
  put(value);
}

put(localStorage.getItem("theme"));
system.addEventListener("change", () => put());
button.addEventListener("click", otherTheme);
