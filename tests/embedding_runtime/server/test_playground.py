"""The playground in a real browser, with a real server."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from support.browser import a_browser, console
from support.runtime_server import NAME, RuntimeServer, until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with a_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Chrome, fake_server: RuntimeServer) -> Chrome:
    browser.get(fake_server.url)
    until(lambda: text(browser, "model") == NAME, "the model to be shown")
    return browser


def by_id(page: Chrome, name: str) -> WebElement:
    return page.find_element(By.ID, name)


def text(page: Chrome, name: str) -> str:
    return by_id(page, name).text


def write(page: Chrome, *lines: str) -> None:
    by_id(page, "texts").clear()
    by_id(page, "texts").send_keys(Keys.ENTER.join(lines))


def compare(page: Chrome, *lines: str) -> None:
    write(page, *lines)
    by_id(page, "compare").click()
    until(lambda: f"{len(lines)} text" in text(page, "status"), "vectors")


def cells(page: Chrome) -> list[str]:
    return [cell.text for cell in page.find_elements(By.CSS_SELECTOR, "#heat td[data-pair]")]


def test_the_playground_describes_the_model(page: Chrome) -> None:
    facts = text(page, "facts")
    assert [word for word in ("dimensions 384", "max. tokens 256", "pooling mean") if word not in facts] == []


def test_similarities_equal_those_of_the_api(page: Chrome, fake_server: RuntimeServer) -> None:
    texts = ["a cat", "a dog", "a cat"]
    compare(page, *texts)
    vectors = np.array([item["embedding"] for item in fake_server.embeddings(input=texts).json()["data"]])
    assert cells(page) == [f"{cosine:.2f}".replace("-0.00", "0.00") for cosine in (vectors @ vectors.T).flat]
    assert "3 texts · 12 tokens · 384 dimensions" in text(page, "status")


def test_the_projection_is_the_first_two_principal_components(page: Chrome) -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((9, 6)) @ np.diag([5, 3, 1, 1, 0.5, 0.1])
    got = page.execute_async_script(
        "const done = arguments[1]; import('./playground.js').then(m => done(m.project(arguments[0])))",
        points.tolist(),
    )
    centred = points - points.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    assert np.abs(np.array(got["at"])) == pytest.approx(np.abs(expected), abs=1e-4)
    assert got["kept"] == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())


def test_each_text_is_a_dot_and_equal_texts_share_a_place(page: Chrome) -> None:
    compare(page, "a cat", "a dog", "a cat")
    dots = page.find_elements(By.CSS_SELECTOR, "#plot circle")
    first, second, third = [(round(float(dot.get_attribute("cx") or 0)), dot.get_attribute("cy")) for dot in dots]
    assert first[0] == third[0] != second[0]


def test_the_shown_curl_command_sends_the_same_request(page: Chrome) -> None:
    compare(page, "it's one", 'a "second"')
    command = shlex.split(text(page, "curl").replace("\\\n", " "))
    if shutil.which(command[0]) is None:
        pytest.skip("there is no curl")
    done = subprocess.run([*command, "--silent"], capture_output=True, check=True, text=True)
    assert done.stdout.count('"object":"embedding"') == 2


def test_it_can_be_used_with_the_keyboard_only(page: Chrome) -> None:
    write(page, "a cat", "a dog")
    ActionChains(page).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    until(lambda: "2 texts" in text(page, "status"), "vectors")
    page.find_element(By.CSS_SELECTOR, "#heat [tabindex='0']").send_keys(Keys.ARROW_RIGHT)
    assert page.switch_to.active_element.get_attribute("data-pair") == "0 1"
    assert "cosine of 1 “a cat” and 2 “a dog”" in text(page, "pair")


@pytest.mark.parametrize(
    ("lines", "words"),
    [([""], "Enter at least one text."), (["word " * 300, "b"], "input[0] has 302 tokens"), (["a"] * 101, "101 texts")],
)
def test_problems_are_described(page: Chrome, lines: list[str], words: str) -> None:
    page.execute_script("document.getElementById('texts').value = arguments[0]", "\n".join(lines))
    by_id(page, "compare").click()
    until(lambda: words in text(page, "error"), "the error")


def test_it_loads_nothing_from_elsewhere_and_the_console_is_silent(page: Chrome, fake_server: RuntimeServer) -> None:
    console(page)  # of the tests before
    page.refresh()
    until(lambda: text(page, "model") == NAME, "the model to be shown")
    compare(page, "a cat", "a dog")
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(loaded) >= 4
    assert [url for url in loaded if not url.startswith(fake_server.url)] == []
    assert console(page) == []


def test_its_content_security_policy_allows_only_itself(fake_server: RuntimeServer) -> None:
    policy = fake_server.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_the_playground_sends_a_key(browser: Chrome, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("somebody sk-some-long-enough\n")
    with RuntimeServer("fake", api_keys_file=tmp_path / "keys") as server:
        browser.get(server.ready().url)
        until(lambda: "missing API key" in text(browser, "error"), "the key to be asked for")
        by_id(browser, "key").send_keys("sk-some-long-enough", Keys.TAB)
        until(lambda: text(browser, "model") == NAME, "the model to be shown")
        compare(browser, "a cat", "a dog")
        assert "Bearer $API_KEY" in text(browser, "curl")
        assert "sk-some-long-enough" not in text(browser, "curl")
        assert text(browser, "error") == ""
