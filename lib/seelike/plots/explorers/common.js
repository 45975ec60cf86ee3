// Loaded on pages that have explorers. When the reader comes near one, it fetches that one's script and data, and begins.
//
// Data comes as a script, not by fetch(): so it also works in a page that is opened as a file. Until it is there,
// or if it never comes, the page has the still: an ordinary picture.

window.seelikeExplorers ??= (() => {
  const here = new URL(".", document.currentScript.src);
  const scripts = new Map();

  function load(name) {
    if (!scripts.has(name)) {
      scripts.set(name, new Promise((resolve, reject) => {
        const script = make("script", { src: new URL(name, here).href });
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${name} cannot be loaded.`));
        document.head.append(script);
      }));
    }
    return scripts.get(name);
  }

  async function begin(place) {
    const { kind, file } = place.dataset;
    try {
      await Promise.all([load(`${kind}.js`), load(`${file}.js`)]);
    } catch {
      return; // the still stays
    }
    shared.start[kind](place, shared.data[file]);
    place.dataset.ready = "";
  }

  function watch() {
    const near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) {
          near.unobserve(target);
          begin(target);
        }
      }
    }, { rootMargin: "300px" });
    document.querySelectorAll(".seelike-explorer").forEach((place) => near.observe(place));
  }

  // An element, with attributes, properties such as onclick and textContent, and children.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in element && typeof value !== "string") element[name] = value;
      else if (name === "textContent") element.textContent = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // Numbers that the library has packed: see bundle.py.
  function bytes(base64) {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  }

  // Paint one pixel for each cell; the style sheet enlarges them. `colour` gives a place in the table, or null for grey.
  function paint(canvas, columns, rows, table, colour) {
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at += 4) {
        const place = colour(row, column);
        for (let part = 0; part < 3; part++) {
          picture.data[at + part] = place === null ? 150 : table[3 * Math.max(0, Math.min(255, Math.round(place))) + part];
        }
        picture.data[at + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
  }

  // Call `redraw` when the size of an element or the colours of the page change.
  function onLook(element, redraw) {
    new ResizeObserver(redraw).observe(element);
    new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  // A number as people write it, with a real minus sign.
  function number(value, decimals, signed = false) {
    const text = Math.abs(value).toFixed(decimals);
    const sign = value < 0 && Number(text) !== 0 ? "\u2212" : signed ? "+" : "";
    return sign + text;
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", watch);
  else queueMicrotask(watch);

  const shared = { start: {}, data: {}, make, bytes, paint, onLook, number };
  return shared;
})();
