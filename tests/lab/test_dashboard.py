"""The dashboard in a real browser, through a real failover and a switchover that is asked for in it.

Pictures of it are left in artefacts/dashboard: before, in the middle of the failover, after it, in light, on a phone.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from house import CLUSTER, Whole, deploy
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pgswarm.drill.stage import TOP, Broken, wait_for

pytestmark = pytest.mark.lab

SECRET = "pgswarm-dashboard"
PICTURES = TOP / "artefacts" / "dashboard"
CHROMIUM = "chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SOON = 20_000
"""Milliseconds within which the page has to show something."""


@pytest.fixture
def token(whole: Whole) -> Iterator[str]:
    """The operators with a dashboard that may switch over; and as they were before, afterwards."""
    stage = whole.stage
    token = secrets.token_hex(16)
    assert _is_gone(whole), f"the secret {SECRET} is still in use"  # an earlier run may have been cut short
    stage.docker("secret", "create", SECRET, "-", text=token)
    stage.environment = {**stage.environment, "PGSWARM_DASHBOARD_ACTIONS": "switchover"}
    stage._clients.clear()
    try:
        deploy(stage, *(stage_file(whole, name) for name in ("pgswarm.yml", "dashboard.yml")))
        for host in stage.hosts:
            wait_for(partial(_answers, host), f"the dashboard on {host}", 120)
        stage.wait_healthy(CLUSTER, members=3)
        yield token
    finally:
        stage.install()
        wait_for(lambda: _is_gone(whole), f"the secret {SECRET} to be free", 120)


@pytest.fixture
def browser() -> Iterator[Browser]:
    program = shutil.which(CHROMIUM)
    assert program, "stack/lab/setup.sh installs chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


def test_the_page_lives_through_a_failover_and_a_switchover(whole: Whole, token: str, browser: Browser) -> None:
    before = whole.primary()
    host = whole.stage.hosts[next(n for n in range(3) if n + 1 != whole.node_of(before))]
    asked: list[str] = []
    errors: list[str] = []
    page = _page(browser, host, token, asked, errors, "dark", 1280)
    expect(page.locator("#headline")).to_contain_text(f"{before} serves; all is as the document says", timeout=SOON)
    expect(page.locator("#topology rect.member")).to_have_count(3)
    expect(page.locator("#lag path.series")).to_have_count(2, timeout=SOON)
    _picture(page, "before")
    with whole.writing() as writing:
        victim = whole.stage.container(whole.service(before))
        whole.stage.docker("kill", victim.id, node=victim.node)
        expect(page.locator("#headline")).not_to_contain_text("all is as the document says", timeout=SOON)
        _picture(page, "during")
        writing.goes_on()
        after = whole.another_primary_than(before)
        expect(page.locator("#headline")).to_contain_text(f"{after} serves", timeout=SOON)
        expect(page.locator("#events li").first).to_contain_text(f"new primary: {after}", timeout=SOON)
        whole.stage.wait_healthy(CLUSTER, members=3)
        expect(page.locator("#headline")).to_contain_text("all is as the document says", timeout=SOON)
        _picture(page, "after")
        page.locator("#members tr", has_text=before).get_by_role("button", name="make primary").click()
        expect(page.locator("#confirm-lines")).to_contain_text("takes over", timeout=SOON)
        page.locator("#confirm-yes").click()
        expect(page.locator("#confirm-why")).to_contain_text(before, timeout=2 * SOON)
        page.locator("#confirm-no").click()
        expect(page.locator("#headline")).to_contain_text(f"{before} serves", timeout=SOON)
        writing.goes_on()
    assert whole.primary() == before
    for name, scheme, width in (("light", "light", 1280), ("phone", "light", 390)):
        other = _page(browser, host, token, asked, errors, scheme, width)
        expect(other.locator("#headline")).to_contain_text(f"{before} serves", timeout=SOON)
        too_wide = other.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{too_wide} pixels beside the screen of a {name}"
        _picture(other, name)
    assert not errors
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {f"{host}:8406"}


def test_a_wrong_token_sees_nothing(whole: Whole, token: str, browser: Browser) -> None:
    page = _page(browser, whole.stage.hosts[0], "wrong" * 4, [], [], "dark", 800)
    expect(page.locator("#login-why")).to_contain_text("not its token", timeout=SOON)
    assert CLUSTER not in page.locator("#clusters").inner_text()


def _page(
    browser: Browser, host: str, token: str, asked: list[str], errors: list[str], scheme: str, width: int
) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://{host}:8406/#token={token}")
    return page


def _picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def stage_file(whole: Whole, name: str) -> str:
    """Where the docker client finds this file of the stack: the machine's own client here, a node's on the node."""
    path = TOP / "stack" / name
    if shutil.which("docker") is not None:
        return str(path)
    there = f"/etc/{name}"
    whole.stage.lab("exec", "1", "--", "sh", "-c", f"cat > {there}", text=path.read_text())
    return there


def _answers(host: str) -> bool | None:
    try:
        return httpx.get(f"http://{host}:8406/", trust_env=False, timeout=2).status_code == 200 or None
    except httpx.HTTPError:
        return None


def _is_gone(whole: Whole) -> bool | None:
    if SECRET not in whole.stage.docker("secret", "ls", "--format", "{{.Name}}").split():
        return True
    try:
        whole.stage.docker("secret", "rm", SECRET)
    except Broken:
        return None
    return True
