"""`make site`: the documentation as a site, without a dead link and without another host."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.install.environments import PATIENCE, outside

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]

# Whatever a browser fetches by itself: scripts, images, style sheets, fonts and hints to connect.
_FETCHED = re.compile(r"<(?:script|img|iframe)\b[^>]*\ssrc=\"?([^\">\s]+)")
_RELATED = re.compile(r"<link\b[^>]*>")
_TARGET = re.compile(r"\shref=\"?([^\">\s]+)")
_LINK = re.compile(r"<a\b[^>]*\shref=\"?([^\"#?>\s]+)")
_IMPORTED = re.compile(r"(?:@import|url\()\s*[\"']?(https?:|//)")
_ELSEWHERE = re.compile(r"[a-z]+:|//")
# The builder is installed by then, and needs neither a package index nor another host.
_OFFLINE = {
    "PIP_NO_INDEX": "1",
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
}


@pytest.fixture(scope="module")
def sources(checkout: Path, workspace: Path) -> Path:
    """A copy of the checkout in which the builder of the site is installed."""
    folder = workspace / "site"
    shutil.copytree(checkout, folder, symlinks=True)
    installed = _make(folder, "build/site-tool/ready")
    assert installed.returncode == 0, installed.stdout
    return folder


def test_site(sources: Path) -> None:
    """It is built offline; each document has its page, each link its file, and a page fetches
    nothing from elsewhere.
    """
    built = _make(sources, "site", **_OFFLINE)
    assert built.returncode == 0, built.stdout

    site = sources / "build/site"
    pages = sorted(site.rglob("*.html"))
    for document in (sources / "docs").rglob("*.md"):
        name = document.relative_to(sources).with_suffix(".html")
        assert site / name.parent / name.name.replace("README", "index") in pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        related = "".join(one for one in _RELATED.findall(text) if "rel=canonical" not in one)
        fetched = [*_FETCHED.findall(text), *_TARGET.findall(related)]
        assert fetched
        assert [one for one in fetched if _ELSEWHERE.match(one)] == [], page.name
        assert "```" not in text, page.name
        if page.name != "404.html":  # has addresses from the root of a server
            targets = [unquote(one) for one in (*_LINK.findall(text), *fetched)]
            inside = [one for one in targets if not _ELSEWHERE.match(one)]
            assert [one for one in inside if not (page.parent / one).exists()] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not _IMPORTED.search(sheet.read_text(encoding="utf-8")), sheet.name


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("[gone](gone.md)", "'gone.md'"),
        ("[gone](settings.md#gone)", "'settings.md#gone'"),
        ("[gone](#gone)", "'#gone'"),
    ],
)
def test_dead_links_fail(sources: Path, fault: str, complaint: str) -> None:
    """The link is named, and the build fails."""
    page = sources / "docs/glossary.md"
    before = page.read_text(encoding="utf-8")
    page.write_text(f"{before}\n{fault}\n", encoding="utf-8")
    built = _make(sources, "site", **_OFFLINE)
    page.write_text(before, encoding="utf-8")
    assert built.returncode != 0
    assert complaint in built.stdout


def test_a_page_outside_of_the_navigation_fails(sources: Path) -> None:
    """Each page can be reached."""
    page = sources / "docs/lonely.md"
    page.write_text("# Lonely\n", encoding="utf-8")
    built = _make(sources, "site", **_OFFLINE)
    page.unlink()
    assert built.returncode != 0
    assert "docs/lonely.md" in built.stdout


def _make(folder: Path, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target, f"PYTHON={sys.executable}"],  # noqa: S607
        cwd=folder,
        env=outside() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
