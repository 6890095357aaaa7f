// Shows the same page anew every five seconds, as long as somebody can see it.
"use strict";
(() => {
  const EVERY_MS = 5000;
  const button = document.getElementById("refresh");
  const state = document.getElementById("refresh-state");
  let paused = false;

  const busy = (region) =>
    region.contains(document.activeElement) &&
    document.activeElement.matches("input, select, textarea");

  const place = (element) =>
    element && (element.id ? `#${CSS.escape(element.id)}` :
      element.getAttribute("formaction") ? `[formaction="${CSS.escape(element.getAttribute("formaction"))}"]` :
      element.getAttribute("href") ? `[href="${CSS.escape(element.getAttribute("href"))}"]` : null);

  const put = (page) => {
    for (const now of document.querySelectorAll("[data-region]")) {
      const then = page.getElementById(now.id);
      if (!then || now.innerHTML === then.innerHTML || busy(now)) continue;
      const open = [...now.querySelectorAll("details[open][id]")].map((each) => each.id);
      const focus = now.contains(document.activeElement) && place(document.activeElement);
      now.replaceChildren(...then.childNodes);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
      if (focus) now.querySelector(focus)?.focus({ preventScroll: true });
    }
  };

  const look = async () => {
    if (paused || document.hidden || !document.getSelection()?.isCollapsed) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      state.textContent = "live";
    } catch {
      state.textContent = "not reached: what you see is old";
    }
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Hold";
    state.textContent = paused ? "held" : "live";
    look();
  });
  document.addEventListener("visibilitychange", look);
  setInterval(look, EVERY_MS);
  state.textContent = "live";
})();
