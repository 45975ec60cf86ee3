// Loaded on pages that have widgets. Their script and their states are some megabytes: they come when a reader comes near.

(() => {
  const here = document.currentScript.src;

  const load = (address) =>
    new Promise((loaded, failed) => {
      const script = document.createElement("script");
      Object.assign(script, { src: new URL(address, here).href, onload: loaded, onerror: failed });
      document.head.append(script);
    });

  // Called by the file of states that belongs to this page.
  window.seelikeWidgets = (state) => {
    const script = document.createElement("script");
    script.type = "application/vnd.jupyter.widget-state+json";
    script.textContent = JSON.stringify(state);
    document.head.append(script);
  };

  // Sliders come without a name, and menus have theirs in a title only.
  const name = () => {
    for (const handle of document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])")) {
      handle.setAttribute("aria-label", handle.closest(".widget-slider").querySelector(".widget-label").textContent);
    }
    for (const menu of document.querySelectorAll(".widget-dropdown select[title]:not([aria-label])")) {
      menu.setAttribute("aria-label", menu.title);
    }
  };

  const loadWidgets = async () => {
    await load(`../widgets/${DOCUMENTATION_OPTIONS.pagename}.js`);
    await load("require.js");
    // Their module finds its icon fonts by its own name under this address.
    requirejs.config({ baseUrl: new URL("..", here).href });
    // They set mathematics in labels by the interface of MathJax 2, and a page with MathJax 3 would stop there.
    if (window.MathJax && !window.MathJax.Hub) {
      window.MathJax.Hub = { Queue: ([, , element]) => window.MathJax.typesetPromise([element]) };
    }
    await load("../@jupyter-widgets/html-manager/dist/embed-amd.js");
  };

  // After the page has loaded, as the widgets' script asks. Near is a screen away.
  window.addEventListener("load", () => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) {
          observer.disconnect();
          loadWidgets();
        }
      },
      { rootMargin: "100% 0px" },
    );
    const views = document.querySelectorAll("script[type='application/vnd.jupyter.widget-view+json']");
    for (const view of views) {
      // A script has no place on the page; what holds it has.
      observer.observe(view.parentElement);
      new MutationObserver(name).observe(view.parentElement, { childList: true, subtree: true });
    }
  });
})();
