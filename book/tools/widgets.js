// Loaded between RequireJS and the widgets' own script, on pages that have widgets.

// Their module finds its icon fonts by its own name under this address.
requirejs.config({ baseUrl: new URL("..", document.currentScript.src).href });

// The widgets set mathematics in labels by the interface of MathJax 2, and a page with MathJax 3 would stop there.
document.addEventListener("DOMContentLoaded", () => {
  if (window.MathJax && !window.MathJax.Hub) {
    window.MathJax.Hub = { Queue: ([, , element]) => window.MathJax.typesetPromise([element]) };
  }
});
