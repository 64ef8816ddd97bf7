"""The page of a run as a browser shows it, from a file: nothing runs but our script, and it is quick, whole and readable."""

import shutil

import pytest

import records
from grmrewards import report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'grmrewards[docs]'")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

BROWSERS = ("chromium", "google-chrome", "chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
PHONE = {"width": 375, "height": 720}
MANY = 50_000


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


class Tab:
    """A tab that notes all that it should not do."""

    def __init__(self, browser, page, **options):
        self.wrong, self.requests = [], []
        self.tab = browser.new_page(**options)
        self.tab.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        self.tab.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.tab.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.tab.on("popup", lambda popup: self.wrong.append(f"popup: {popup.url}"))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.url = page.as_uri()
        self.tab.goto(self.url)

    def check(self):
        """Nothing went wrong, nothing was asked for, and we are where we were."""
        assert self.wrong == []
        assert self.requests == [self.url]
        assert self.tab.url.partition("#")[0] == self.url
        assert self.tab.evaluate("window.__pwned") is None

    def found(self, count):
        """Wait until so many judgements are found."""
        self.tab.wait_for_function(
            "said => document.getElementById('status').textContent.startsWith(said)", arg=f"{count:,} of"
        )

    def open(self, number):
        """Open a row by its link, and wait until it is shown."""
        self.tab.click(f'#lines a[href="#j{number}"]')
        self.shown(number)

    def shown(self, number):
        wanted = f"Judgement #{number}"
        self.tab.wait_for_function("said => document.getElementById('detail-title').textContent === said", arg=wanted)


@pytest.fixture
def open_page(browser):
    tabs = []

    def opens(page, **options):
        tabs.append(Tab(browser, page, **options))
        return tabs[-1]

    yield opens
    for tab in tabs:
        tab.tab.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The page of two rewards with flags, an unscored row and a failed answer; 50 judgements."""
    folder = tmp_path_factory.mktemp("small")
    praise = records.completion(
        0, step=9, response="Mine deserves it. Score: 10/10", reward=1.0, principles="Be brief."
    )
    failed = records.vote([1], "no score", step=9, error="no <score>")
    unscored = records.completion(1, step=9, reward=None, principles="Be brief.")
    flag = records.call({"self_praise": 0.5}, step=9, flags=[("self_praise", "Half of them praise themselves.")])
    lines = [*records.run(), *records.run(name="listwise", seed=1), failed, praise, unscored, flag]
    return report.write(records.write(folder / "run.jsonl", *lines), folder / "page.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a run whose every text is hostile."""
    folder, lines = tmp_path_factory.mktemp("hostile"), []
    for i, text in enumerate(records.HOSTILE.values()):
        lines.append(records.vote([i], text, name=text, judge=text, kind=text[:40], error=text if i % 2 else None))
        notes = {"critique": text, "principles": text, text[:30]: text}
        lines.append(records.completion(i, name=text, prompt=text, response=text, reward=i / 20, **notes))
        lines.append(records.call({text[:60]: 0.5}, name=text, flags=[(text, text)]))
    page = records.write(folder / "run.jsonl", *lines)
    return report.write(page, folder / "page.html", title="</title><script>window.__pwned=1</script>")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The page of 50,000 judgements."""
    folder = tmp_path_factory.mktemp("many")
    return report.write(records.large(folder / "run.jsonl", completions=MANY), folder / "page.html")


def test_it_opens_from_a_file_and_asks_for_nothing(open_page, small):
    page = open_page(small)
    page.found(50)
    page.check()


def test_hostile_text_runs_nothing_and_leaves_the_page_whole(open_page, hostile):
    page = open_page(hostile, viewport={"width": 1280, "height": 800})
    count = len(records.HOSTILE)
    page.found(count)
    for number in range(1, count + 1):
        page.open(number)
        page.tab.click("#close")
    for text in ("<script>", "onerror", "\u202e"):
        page.tab.fill("#search", text)
        page.tab.wait_for_timeout(300)
    page.check()
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.tab.evaluate("document.querySelectorAll('img, iframe, base, object, embed').length") == 0
    assert page.tab.locator("h1").bounding_box()["height"] < 200


def test_fifty_thousand_judgements_are_painted_within_a_second(open_page, many):
    painted = f"async () => {{ await new Promise(requestAnimationFrame); return {FIRST_PAINT} }}"
    times = [open_page(many).tab.evaluate(painted) for _ in range(3)]
    assert min(times) < 1000, times


def test_fifty_thousand_judgements_are_searched_filtered_sorted_and_paged(open_page, many):
    page = open_page(many)
    page.found(MANY)
    assert page.tab.locator("#lines tr").count() == 25
    page.tab.click("#next")
    page.tab.wait_for_selector('#lines a[href="#j26"]')
    page.tab.fill("#step-from", "10")
    page.tab.fill("#step-to", "11")
    page.found(128)
    page.tab.click("text=clear")
    page.tab.fill("#search", "Number 43210.")
    page.found(1)
    page.open(43_211)
    page.tab.wait_for_selector("#detail mark")
    assert page.tab.locator("#detail .chips button").count() == 8
    page.check()


def test_the_page_answers_while_it_searches(open_page, many):
    page = open_page(many)
    page.found(MANY)
    page.tab.evaluate(
        "window.__last = performance.now(); window.__gap = 0; setInterval(() => { const now = performance.now(); "
        "window.__gap = Math.max(window.__gap, now - window.__last); window.__last = now; }, 5)"
    )
    page.tab.fill("#search", "there is no such text")
    page.found(0)
    assert page.tab.is_visible("#none")
    assert page.tab.evaluate("window.__gap") < 1000


def test_a_row_opens_into_texts_votes_and_siblings(open_page, small):
    page = open_page(small)
    page.found(50)
    page.tab.select_option("#only", "praise")
    page.found(1)
    page.open(49)
    shown = page.tab.inner_text("#detail")
    for said in ("1+1?", "Be brief.", "Mine deserves it.", "praises itself", "no <score>", "this one", "beside it"):
        assert said in shown
    page.tab.keyboard.press("Escape")
    assert not page.tab.is_visible("#detail")
    page.check()


def test_a_megabyte_on_one_line_opens_in_part_and_whole_when_asked(open_page, tmp_path):
    lines = [records.completion(i, response=f"{i}" + "x" * 1_000_000, reward=i) for i in range(2)]
    page = open_page(report.write(records.write(tmp_path / "run.jsonl", *lines), tmp_path / "page.html"))
    page.found(2)
    page.open(1)
    shown = page.tab.locator("#detail .card.this pre").first
    assert len(shown.inner_text()) == 20_000
    page.tab.locator("#detail .card.this button", has_text="show all 1,000,001 characters").click()
    assert len(shown.text_content()) == 1_000_001
    page.check()


def test_a_file_that_is_cut_off_says_so(open_page, small, tmp_path):
    whole = small.read_text(encoding="utf-8")
    (tmp_path / "cut.html").write_text(whole[: whole.index('id="rows"') + 300], encoding="utf-8")
    page = open_page(tmp_path / "cut.html")
    page.tab.wait_for_selector("text=this file is damaged")
    assert "Over the run" in page.tab.inner_text("body")


def test_filters_and_sorting(open_page, small):
    page = open_page(small)
    for select, value, count in (("#only", "unscored", 1), ("#only", "failed", 1), ("#only", "flagged", 2)):
        page.tab.select_option(select, value)
        page.found(count)
        page.tab.click("text=clear")
    page.tab.select_option("#name", label="listwise")
    page.found(24)
    page.tab.fill("#reward-from", "0.5")
    page.tab.select_option("#sort", "reward up")
    page.tab.wait_for_function("() => Number(document.querySelector('#lines .gauge').textContent) >= 0.5")
    rewards = [float(text) for text in page.tab.locator("#lines .gauge").all_inner_texts()]
    assert rewards == sorted(rewards)
    page.check()


def test_the_keyboard_is_enough(open_page, small):
    page = open_page(small)
    page.found(50)
    page.tab.focus('#lines a[href="#j3"]')
    page.tab.keyboard.press("Enter")
    page.shown(3)
    page.tab.keyboard.press("ArrowRight")
    page.shown(4)
    page.tab.keyboard.press("ArrowLeft")
    page.shown(3)
    page.tab.keyboard.press("Escape")
    page.tab.focus('th button[data-column="reward"]')
    page.tab.keyboard.press("Enter")
    page.tab.wait_for_selector('th[aria-sort="descending"] button[data-column="reward"]')
    page.check()


def test_every_control_has_a_name(open_page, small):
    page = open_page(small)
    page.found(50)
    nameless = """[...document.querySelectorAll('input, select, button, a, svg')].filter(one => !(one.getAttribute('aria-label')
        || one.labels?.length || one.textContent.trim())).map(one => one.outerHTML.slice(0, 80))"""
    assert page.tab.evaluate(nameless) == []


def test_an_address_names_a_row(open_page, small, browser):
    page = Tab(browser, small)
    page.tab.goto(f"{small.as_uri()}#j7")
    page.tab.reload()
    page.shown(7)
    page.tab.close()


@pytest.mark.parametrize("which", ["small", "hostile"])
@pytest.mark.parametrize("opened", [False, True], ids=["the page", "a row"])
def test_a_phone_scrolls_down_only(open_page, request, which, opened):
    page = open_page(request.getfixturevalue(which), viewport=PHONE)
    page.tab.wait_for_selector("#lines tr")
    if opened:
        page.open(1)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    wide = "[...document.querySelectorAll('#detail .body')].every(one => one.scrollWidth <= one.clientWidth)"
    assert page.tab.evaluate(wide)
    page.check()


CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
  const behind = (one) => { for (; one; one = one.parentElement) { const c = getComputedStyle(one).backgroundColor;
    const n = numbers(c); if (c.startsWith('rgb(') || n[3] === 1) return c; } return 'rgb(255, 255, 255)'; };
  const low = [];
  for (const one of document.querySelectorAll('h1, h2, h3, h5, p, small, dt, dd, th, td, label, legend, a, li, pre, span, b')) {
    if (!one.textContent.trim() || !one.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(`${one.tagName}.${one.className} ${ratio.toFixed(2)} ${one.textContent.slice(0, 30)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark(open_page, small, scheme):
    page = open_page(small, color_scheme=scheme)
    page.found(50)
    ground = page.tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    bright = sum(int(part) for part in ground[4:-1].split(",")) / 3
    assert (bright > 200) if scheme == "light" else (bright < 60)
    assert page.tab.evaluate(CONTRAST) == []


def test_without_scripts_the_summary_is_there(open_page, small):
    page = open_page(small, java_script_enabled=False)
    shown = page.tab.inner_text("body")
    for said in (
        "Half of them praise themselves.",
        "completions",
        "Over the run",
        "Highest and lowest rewards",
        "need scripts",
    ):
        assert said in shown
    assert page.tab.locator("svg.chart").count() > 5
    assert not page.tab.is_visible("#browse")
