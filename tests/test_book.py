"""The rendered book, as a reader meets it in a real browser.

Needs `make book` and a Chromium. Where either is missing these tests skip, unless SEELIKE_REQUIRE_BROWSER is set.
"""

import functools
import gzip
import http.server
import json
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
HTML = ROOT / "build" / "html"
# With the pages of notebooks that ran at several profiles, where the book has been made.
STAGED = ROOT / "build" / "book" / "_toc.yml"
CONTENTS = yaml.safe_load((STAGED if STAGED.exists() else ROOT / "_toc.yml").read_text())
CHAPTERS = [chapter for part in CONTENTS["parts"] for chapter in part["chapters"]]
BELOW = [section["file"] for chapter in CHAPTERS for section in chapter.get("sections", []) if "file" in section]
PAGES = [CONTENTS["root"], *(chapter["file"] for chapter in CHAPTERS), *BELOW]
NOTEBOOKS = [page for page in PAGES if page.startswith("notebooks/")] + BELOW
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Without these Chromium talks to hosts of its own.
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
WIDGETS = "script[type='application/vnd.jupyter.widget-view+json']"
# What looks a page over for all who do not see it, or see it otherwise: of package.json, as what the pages load.
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
# With mathematics, tables and folded code; with sliders; the table that can be sorted; tiles and pictures.
REPRESENTATIVE = (
    "notebooks/03_background",
    "notebooks/04_representation_structure",
    "book/scoreboard",
    "book/intro",
)
# What a page may load before a reader has moved.
MEGABYTE = 1_000_000
# Of a page of the paper, with its code folded.
MOST_SCREENS = 15
# Hosts compress these, as GitHub's does; pictures and fonts are compressed as they are.
TEXTS = (".html", ".js", ".css", ".svg", ".json")
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.browser


def missing(what):
    """Skip a test for want of something; fail where that must be there."""
    if os.environ.get("SEELIKE_REQUIRE_BROWSER"):
        pytest.fail(what)
    pytest.skip(what)


class Page(HTMLParser):
    """The addresses that a page links to, and the places in it that can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        """Note the links and places of one tag."""
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.places |= {attributes[name] for name in ("id", "name") if name in attributes}


@functools.cache
def weight(file):
    """The bytes by which a file comes to a reader."""
    content = file.read_bytes()
    return len(gzip.compress(content) if file.suffix in TEXTS else content)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serve files, without a line for each."""

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture(scope="module")
def html():
    """The folder of the rendered book."""
    if not (HTML / "index.html").exists():
        missing("There is no rendered book in build/html: run make book first.")
    return HTML


@pytest.fixture(scope="module")
def address(html):
    """Where the book is served, on this machine only."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=html)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing("There is no Chromium on the PATH.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Open pages of the book.

    `visit.complaints` collects all that went wrong in them, `visit.loaded` has what the last one loaded by itself.
    """
    contexts, complaints = [], []

    def open_page(name, viewport=WIDE, scheme="light"):
        loaded = set()
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)

        def only_from_here(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                complaints.append(f"asks {route.request.url}")
                route.abort()

        context.route("**/*", only_from_here)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "response", lambda one: complaints.append(f"{one.status} {one.url}") if one.status >= 400 else None
        )
        page.on("requestfinished", lambda request: loaded.add(request.url))
        page.goto(f"{address}{name}.html", wait_until="load")
        page.wait_for_load_state("networkidle")
        # Resolved when all mathematics of the page is set.
        page.evaluate("window.MathJax && MathJax.startup.promise.then(() => null)")
        open_page.loaded = {
            unquote(url.removeprefix(address).split("?")[0]) for url in loaded if url.startswith(address)
        }
        if page.locator(WIDGETS).count():
            # They come when a reader comes near.
            page.locator(WIDGETS).first.locator("xpath=..").scroll_into_view_if_needed()
            page.wait_for_selector(".jupyter-widgets")
        page.evaluate("document.fonts.ready.then(() => null)")
        return page

    open_page.complaints, open_page.loaded = complaints, set()
    yield open_page
    for context in contexts:
        context.close()


# Each text of the page's main part whose contrast with its ground is below 4.5, the least that WCAG 2.2 asks for.
FAINT = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => ((v /= 255), v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const texts = "article :is(p, li, td, th, figcaption, div, label, strong, span, a, code, h1, h2, h3)";
  for (const element of document.querySelectorAll(texts)) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest("pre, .headerlink")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(1)}: ${text.slice(0, 40)}`);
  }
  return faint;
}"""


# The page has got the other colours, and they no longer fade from one to the other.
# How high, in pixels, the letters of nine points are in the widest figure: 160 dots of it are an inch.
SMALLEST_LETTERS = """() => {
  const letters = [...document.querySelectorAll(".cell_output img")]
    .filter((image) => image.naturalWidth && image.clientWidth)
    .map((image) => 9 * image.clientWidth / (image.naturalWidth / 160 * 72));
  return letters.length ? Math.min(...letters) : null;
}"""
HAS_TURNED = """(scheme) => document.documentElement.dataset.theme === scheme
  && document.getAnimations().every((one) => one.playState !== "running")"""


def assert_fits_and_can_be_read(page, scheme):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "scrolls sideways"
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate(FAINT) == []


def assert_loads_little(html, loaded):
    weights = {name: weight(html / name) for name in loaded}
    assert len(weights) > 1
    assert sum(weights.values()) < MEGABYTE, sorted(weights.items(), key=lambda one: -one[1])[:10]


def assert_code_is_folded(page, name):
    """All code is behind a line that says so, but for the cells that the notebook marks; what ran is in sight."""
    notebook = json.loads((ROOT / "notebooks" / f"{Path(name).name}.ipynb").read_text())
    shown = sum("show-code" in cell["metadata"].get("tags", []) for cell in notebook["cells"])
    lines = page.locator("article div.cell details.hide > summary")
    assert lines.count() > 0
    assert {line.strip() for line in lines.all_inner_texts()} == {"Show code"}
    assert page.locator("article div.cell.tag_show-code div.cell_input pre:visible").count() == shown
    assert page.locator("article div.cell_input pre").count() == lines.count() + shown
    assert page.locator("article div.cell_input pre:visible").count() == shown
    set_up = page.locator("article details.seelike-set-up")
    assert set_up.count() == 1
    assert "seelike.start" in set_up.locator("pre").last.text_content()
    assert set_up.locator("pre:visible").count() == 0
    assert page.locator("article .seelike-run").first.is_visible()


def assert_tables_show_their_heads(page):
    tables = page.locator("article table.dataframe:visible")
    heads = page.locator("article table.dataframe:visible > thead")
    assert heads.count() == tables.count()
    for head in heads.all():
        assert head.is_visible()
        assert any(text.strip() for text in head.locator("th").all_inner_texts())


def assert_images_say_what_they_show(page):
    texts = page.evaluate("[...document.images].map((image) => image.alt)")
    assert all(text and not text.endswith((".png", ".svg")) for text in texts), texts


def assert_images_keep_their_shape(page):
    """Each is as wide for its height as its file; those that a reader has not come near are not there yet."""
    stretched = """[...document.querySelectorAll("article img")]
      .filter((one) => one.complete && one.naturalWidth && one.height)
      .filter((one) => Math.abs((one.width * one.naturalHeight) / (one.height * one.naturalWidth) - 1) > 0.05)
      .map((one) => one.src.slice(0, 100))"""
    assert page.evaluate(stretched) == []


def assert_figures_have_captions_and_numbers_of_their_section(page, name):
    folder, section = re.match(r"(\w+)/0*(\d+|[A-Za-z])", name).groups()
    run = "" if folder == "notebooks" else f" ({folder})"
    numbers = page.locator("article figure .caption-number").all_inner_texts()
    assert [number.strip() for number in numbers] == [
        f"Fig. {section.upper()}.{count}{run}" for count in range(1, len(numbers) + 1)
    ]
    pictures = page.locator("article .cell_output > figure img, article .cell_output > img")
    # One page is an explorer and nothing else.
    assert numbers or (name.endswith("/patch_explorer") and page.locator("article .seelike-explorer").count() == 1)
    assert pictures.count() == len(numbers)


def assert_mathematics_is_set(page):
    assert page.locator("article .math mjx-container").count() >= page.locator("article .math").count()
    assert page.locator("mjx-merror").count() == 0


def assert_page_is_not_long(page):
    screens = page.evaluate("document.querySelector('article').scrollHeight / window.innerHeight")
    assert screens <= MOST_SCREENS


def assert_page_ends_with_its_last_run(page):
    words = page.locator(".seelike-last-run").inner_text()
    for part in ("seconds", "profile", "torch"):
        assert part in words


def assert_the_slider_changes_the_picture(page):
    box = page.locator(".widget-vbox", has=page.locator(".widget-slider")).first
    shown = box.locator("img:visible")
    sliders = box.locator(".widget-slider").count()
    assert sliders
    # One slider, or one for each of two choices.
    for number in range(sliders):
        before, choice = shown.get_attribute("src"), box.locator("select").nth(number).input_value()
        box.locator(".noUi-handle").nth(number).press("ArrowRight")
        page.wait_for_function(
            "([box, src]) => [...box.querySelectorAll('img')].some(i => i.offsetParent && i.src !== src)",
            arg=[box.element_handle(), before],
        )
        assert shown.count() == 1
        assert box.locator("select").nth(number).input_value() != choice


# To open a page takes seconds, so all that a page is asked is asked at once. It opens on a desk by day and on a
# phone by night; by day or by night it must also do after the reader's system has turned.
@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_complaint_and_shows_all_that_it_has(html, visit, name):
    page = visit(name)
    assert visit.complaints == []
    assert_loads_little(html, visit.loaded)
    assert_fits_and_can_be_read(page, "light")
    assert_images_say_what_they_show(page)
    assert_images_keep_their_shape(page)
    if name in NOTEBOOKS:
        assert_code_is_folded(page, name)
        assert_tables_show_their_heads(page)
        assert_figures_have_captions_and_numbers_of_their_section(page, name)
        assert_mathematics_is_set(page)
        assert_page_is_not_long(page)
        assert_page_ends_with_its_last_run(page)
        if page.locator(WIDGETS).count():
            assert_the_slider_changes_the_picture(page)
    turn(page, "dark")
    assert_fits_and_can_be_read(page, "dark")
    assert visit.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_on_a_phone_without_complaint(visit, name):
    page = visit(name, NARROW, "dark")
    assert visit.complaints == []
    assert_fits_and_can_be_read(page, "dark")
    turn(page, "light")
    assert_fits_and_can_be_read(page, "light")
    smallest = page.evaluate(SMALLEST_LETTERS)
    assert smallest is None or smallest >= 9
    assert visit.complaints == []


def turn(page, scheme):
    """Change between day and night, as the system of a reader does."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(HAS_TURNED, arg=scheme)


def test_some_pages_have_mathematics_and_some_have_sliders(html):
    """Else the checks above would pass for want of any."""
    pages = [(html / f"{name}.html").read_text() for name in NOTEBOOKS]
    assert any('class="math ' in page for page in pages)
    assert any("application/vnd.jupyter.widget-view+json" in page for page in pages)


def test_some_page_has_a_table_of_pandas(html):
    assert any('class="dataframe"' in (html / f"{name}.html").read_text() for name in NOTEBOOKS)


def test_code_opens_with_a_click_and_with_the_keyboard_and_is_printed(visit):
    page = visit(NOTEBOOKS[0])
    lines, code = page.locator("article details.hide > summary"), page.locator("article div.cell_input pre")
    lines.first.click()
    assert code.first.is_visible()
    lines.first.click()
    assert not code.first.is_visible()
    lines.first.focus()
    page.keyboard.press("Enter")
    assert code.first.is_visible()
    set_up = page.locator("article details.seelike-set-up")
    set_up.locator("summary").focus()
    page.keyboard.press("Space")
    assert set_up.locator("pre").first.is_visible()
    page.emulate_media(media="print")
    assert code.count() == page.locator("article div.cell_input pre:visible").count() > 1
    assert all(one.bounding_box()["height"] > 0 for one in code.all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_page_has_no_serious_barrier(visit, name, scheme):
    if not AXE.exists():
        missing("There is no axe-core in node_modules: make book puts it there.")
    page = visit(name, scheme=scheme)
    page.evaluate("document.querySelectorAll('article details').forEach((one) => (one.open = true))")
    # What opens fades in.
    page.wait_for_function(HAS_TURNED, arg=scheme)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']}).then((result) => result.violations)")
    barriers = {
        one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
        for one in found
        if one["impact"] in ("serious", "critical")
    }
    assert barriers == {}


@pytest.mark.parametrize("name", PAGES)
def test_page_says_what_it_is_about(html, name):
    head = (html / f"{name}.html").read_text().partition("</head>")[0]
    said = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', head))
    assert 0 < len(said["description"]) <= 200
    assert said["og:description"] == said["description"]
    assert said["og:title"]
    assert said["twitter:card"] == "summary_large_image"
    base = yaml.safe_load((ROOT / "_config.yml").read_text())["html"]["baseurl"]
    assert said["og:url"] == f"{base}/{name}.html"
    drawn = Image.open(html / said["og:image"].removeprefix(f"{base}/"))
    assert [str(side) for side in drawn.size] == [said["og:image:width"], said["og:image:height"]]


def test_the_reader_can_choose_the_dark(visit):
    page = visit("book/intro")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "light"
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate(theme) == "dark":
            break
    assert page.evaluate(theme) == "dark"


def test_the_first_page_leads_to_the_book(visit):
    page = visit("index")
    page.wait_for_url(f"**/{CONTENTS['root']}.html")
    assert page.locator("article h1").count() == 1


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_colab_and_download_lead_to_notebooks_that_exist(html, name):
    repository = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    links = Page(html / f"{name}.html").links
    start = f"https://colab.research.google.com/github/{repository.removeprefix('https://github.com/')}/blob/main/"
    (colab,) = {link for link in links if link.startswith("https://colab.research.google.com")}
    of_repository = f"notebooks/{Path(name).name}.ipynb"
    assert colab == f"{start}{of_repository}"
    assert (ROOT / of_repository).exists()
    (download,) = {link for link in links if link.endswith(".ipynb")} - {colab}
    assert download.endswith(f"_sources/{name}.ipynb")
    notebook = json.loads((html / name).parent.joinpath(download).resolve().read_text())
    assert notebook["metadata"]["papermill"]["exception"] is None
    markdown = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    assert not any("{cite:" in text or ":::" in text for text in markdown)


def test_every_link_within_the_book_leads_somewhere(html):
    # The theme keeps templates of its own in _static.
    paths = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path) for path in paths}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target, place = urldefrag(urljoin(path.as_uri(), link))
            if not target.startswith("file://"):
                continue
            file = Path(unquote(target.removeprefix("file://")).split("?")[0])
            found = file.exists() and (not place or file not in pages or unquote(place) in pages[file].places)
            if not found:
                broken.append(f"{path.relative_to(html)}: {link}")
    # Search and index pages name a place that the theme makes only on others.
    assert [one for one in broken if not one.startswith(("search.html", "genindex.html"))] == []


def test_the_scoreboard_has_every_claim_with_its_figure(html, visit):
    claims = {}
    for claim in json.loads((html / "_static" / "scoreboard.json").read_text()):
        claims.setdefault((claim["notebook"], claim["claim"]), []).append(claim)
    rows = visit("book/scoreboard").locator("table.seelike-scoreboard tbody tr")
    assert rows.count() == len(claims) > 0
    for tested, row in zip(claims.values(), rows.all(), strict=True):
        shown = row.inner_text().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        links = [link.get_attribute("href").partition("#")[0] for link in row.locator("td:last-child a").all()]
        assert links == [f"../{claim['page']}.html" for claim in tested]
        assert tested[0]["statement"] in shown
        assert all(claim["verdict"] in shown for claim in tested)


def test_the_scoreboard_can_be_sorted(html, visit):
    claims = json.loads((html / "_static" / "scoreboard.json").read_text())
    first_profile = [claim for claim in claims if claim["profile"] == claims[0]["profile"]]
    numbers = sorted(claim["statistic"] for claim in first_profile if claim["statistic"] is not None)
    page = visit("book/scoreboard")
    headings, cells = (
        page.locator("table.seelike-scoreboard thead th"),
        "table.seelike-scoreboard tbody td:nth-child(2)",
    )
    headings.nth(1).click()
    assert {headings.nth(1).get_attribute("aria-sort")} <= {"ascending", "descending"}
    # Claims without a number stand together at an end.
    shown = [text for text in page.locator(cells).all_inner_texts() if text[0] in "-\N{MINUS SIGN}0123456789"]
    assert len(shown) == len(numbers)
    ends = [f"{number:.3f}" for number in (numbers[0], numbers[-1])]
    assert all(any(text.startswith(end) for text in (shown[0], shown[-1])) for end in ends)


def test_the_front_page_has_a_tile_for_every_claim(html, visit):
    claims = json.loads((html / "_static" / "scoreboard.json").read_text())
    assert visit("book/intro").locator("ul.seelike-picture a").count() == len(claims)


def test_no_page_tells_of_the_machine_that_made_it(html):
    for path in html.rglob("*.html"):
        assert str(ROOT) not in path.read_text(), path.name
