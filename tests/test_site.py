"""The documentation as a site: it is built without a warning, all its links lead somewhere, and a browser shows it.

Needs the extra `docs`; what needs a browser is skipped where there is no Chromium.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import citations
import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOOLS = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
PHONE = 390

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in TOOLS),
        reason="needs the extra: pip install 'cavity[docs]'",
    ),
]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


class Page(HTMLParser):
    """Links, resources and places of a page, and its text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.places: set[str] = set()
        self.text, self._hidden = "", 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self._hidden += tag in ("script", "style", "pre", "code")
        self.places |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("link", "script", "img", "source") and values.get("rel") not in ("canonical", "next", "prev"):
            self.resources += [values[key] for key in ("href", "src") if values.get(key)]

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style", "pre", "code")

    def handle_data(self, data):
        if not self._hidden:
            self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def test_links_lead_somewhere(site, pages):
    assert len(pages) > 40
    wrong, looked = [], 0
    for name, page in pages.items():
        if name == "404.html":
            continue
        for link in (*page.links, *page.resources):
            target, place = urldefrag(urljoin(f"/{name}", link))
            if re.match(r"\w+:", target):
                continue
            looked += 1
            target = unquote(target).lstrip("/")
            known = pages.get(target)
            if not (site / target).is_file() or (place and known and unquote(place) not in known.places):
                wrong.append((name, link))
    assert looked > 1000 and not wrong


def test_nothing_comes_from_elsewhere(pages):
    """No font, script, style or image needs a network."""
    assert not [(name, each) for name, page in pages.items() for each in page.resources if re.match(r"(\w+:)?//", each)]


def test_formulas_are_no_source(pages):
    assert not [
        (name, found) for name, page in pages.items() if (found := re.findall(r"\$[^$]*\\\w+|\\tag", page.text))
    ]


def test_equations_lead_to_functions_and_back(pages):
    for place in citations.places():
        for number in place.equations:
            page = citations.equations()[place.key, number]
            assert f"{place.key}-{number}" in pages[page].places
            own = place.name.removeprefix(place.module) or place.name  # public names have another address
            assert "/" in own or any(link.endswith(own) for link in pages[page].links), place
    back = {urldefrag(link)[1] for link in pages["reference/formulas.html"].links}
    assert {"DL-68", "DL-98", "ML-15"} <= back


def test_start_pages_are_notebooks(site):
    for name in ("first-network", "first-graph", "first-inference"):
        cells = json.loads((site / "start" / f"{name}.ipynb").read_text("utf-8"))["cells"]
        assert sum(cell["cell_type"] == "code" for cell in cells) > 2


#: A page that looks at one of the site in a frame and leaves what it finds, as JSON, in its own text. What a browser
#: does beside the page, as the search, takes time: while a request is open, the clock of the page stands still.
PROBE = """<!doctype html><iframe id=f width=%d height=800 src="/%s"></iframe><pre id=result></pre><script>
f.onload = async () => {
  const d = f.contentDocument, links = () => [...d.querySelectorAll('.md-search-result__link')].map(each => each.href);
  for (let n = 0; n < (f.src.includes('?q=') && !links().length ? 80 : 1); n++) await fetch('/wait');
  const boxes = name => [...d.querySelectorAll(name)].map(each => each.getBoundingClientRect());
  result.textContent = JSON.stringify({
    width: d.documentElement.scrollWidth,
    font: parseFloat(getComputedStyle(d.querySelector('article p')).fontSize),
    sizes: boxes('math').map(box => Math.min(box.width, box.height)),
    fractions: boxes('mfrac').map(box => box.height),
    found: links()});
}</script>"""


class Handler(SimpleHTTPRequestHandler):
    """The site, and for `/probe/WIDTH/PAGE` what a browser measures of a page in a window of that width."""

    def do_GET(self):
        body = b""
        if self.path == "/wait":
            time.sleep(0.25)
        elif self.path.startswith("/probe/"):
            _, _, width, page = self.path.split("/", 3)
            body = (PROBE % (int(width), page)).encode()
        else:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def browse(site, tmp_path_factory):
    """A function that returns what a browser makes of a page in a window of some width."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--window-size=1280,900", "--virtual-time-budget=15000"]

    def look(page: str, width: int = 1280) -> dict:
        profile = tmp_path_factory.mktemp("profile")
        command = [CHROMIUM, *flags, f"--user-data-dir={profile}", "--dump-dom"]
        url = f"http://127.0.0.1:{server.server_port}/probe/{width}/{page}"
        run = subprocess.run([*command, url], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        return json.loads(re.findall(r'<pre id="result">(.*?)</pre>', run.stdout, re.DOTALL)[0])

    yield look
    server.shutdown()
    server.server_close()


@needs_chromium
def test_search_finds(browse):
    found = browse("index.html?q=damping")["found"]
    assert any("how-to/choose.html" in link for link in found), found


@needs_chromium
def test_formulas_are_drawn(browse):
    seen = browse("theory/free-energies.html")
    assert len(seen["sizes"]) > 50 and min(seen["sizes"]) > 4.0
    assert min(seen["fractions"]) > 15.0  # two floors, and not one line of text


@needs_chromium
@pytest.mark.parametrize(
    "page",
    ["index", "start/install", "theory/messages", "how-to/extend", "results/training-speed", "reference/factorgraph"],
)
def test_phones_can_read(browse, page):
    seen = browse(f"{page}.html", PHONE)
    assert seen["width"] <= PHONE  # nothing to be pushed sideways but tables, formulas and code in their own boxes
    assert seen["font"] >= 14.0
