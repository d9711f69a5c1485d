"""Digests of images: which lines of `.env` get one, and a registry that does not answer."""

from pathlib import Path

import pytest

from ops import pin_images

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def test_every_foreign_image_is_pinned() -> None:
    """Images of the Compose file, and the base of the image that is built here, are pinned."""
    found = pin_images.images(COMPOSE, EXAMPLE)
    servers = ("KAFKA", "POSTGRES", "REDIS", "PROMETHEUS", "GRAFANA")
    assert found.keys() == {f"{name}_IMAGE" for name in (*servers, "PYTHON")}
    assert found["REDIS_IMAGE"] == "redis:7"


def test_the_image_of_an_operator_stays() -> None:
    """Its digest is read anew, its name and tag are kept."""
    env = 'REDIS_IMAGE="registry.example.com/redis:8@sha256:0123"\n'
    assert pin_images.images(COMPOSE, env)["REDIS_IMAGE"] == "registry.example.com/redis:8"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\n#B_IMAGE=b\nC=3\n", "A=1\nB_IMAGE=b@d\nC=3\n"),
        ("#B_IMAGE=b\nB_IMAGE=c\n", "#B_IMAGE=b\nB_IMAGE=b@d\n"),
        ("A=1\n", "A=1\nB_IMAGE=b@d\n"),
    ],
)
def test_one_line_changes(before: str, after: str) -> None:
    """A second run of the same value changes nothing more."""
    once = pin_images.with_line(before, "B_IMAGE", "b@d")
    assert once == after
    assert pin_images.with_line(once, "B_IMAGE", "b@d") == after


def test_without_an_answer_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is a sentence for each image, secrets in the file stay, and the exit code is 1."""
    (tmp_path / "docker-compose.yml").write_text(COMPOSE, encoding="utf-8")
    assert pin_images.main(str(tmp_path)) == 1
    assert "copy .env.example" in capsys.readouterr().err

    (tmp_path / ".env").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pin_images.main(str(tmp_path)) == 1
    assert (tmp_path / ".env").read_text(encoding="utf-8") == EXAMPLE
    assert capsys.readouterr().err.count("Docker's program is missing") == 6
