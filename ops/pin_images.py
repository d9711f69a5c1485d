"""Write the digest of each image into .env, so that every start uses the same bytes.

Usage: `python ops/pin_images.py [FOLDER]`, the folder of docker-compose.yml and .env, by default
the working directory.

A digest that is there already is replaced by the current one of the tag. Without an answer from the
registry an image keeps its line, and the exit code is 1.
"""

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

PATIENCE = 60.0  # seconds for one registry

_DEFAULT = re.compile(r"\$\{(\w+_IMAGE):-([^}]+)\}")
_BUILT_HERE = "EXECSTREAM_IMAGE"


class NoDigest(Exception):
    """No digest could be read; the message is a sentence."""


def images(compose: str, env: str) -> dict[str, str]:
    """Image by variable, without digest: the value in `.env`, else the Compose file's default."""
    found = {name: image for name, image in _DEFAULT.findall(compose) if name != _BUILT_HERE}
    for name in found:
        if line := re.search(rf"^{name}=(.+)$", env, re.MULTILINE):
            found[name] = line[1].strip().strip("\"'")
    return {name: image.partition("@")[0] for name, image in found.items()}


def with_line(env: str, name: str, value: str) -> str:
    """`.env` with that variable set: in the place of its line, else of its comment, else last."""
    line = f"{name}={value}"
    for begin in (name, f"#{name}"):
        pattern = re.compile(rf"^{begin}=.*$", re.MULTILINE)
        if pattern.search(env):
            return pattern.sub(line, env, count=1)
    return f"{env.rstrip()}\n{line}\n"


def digest(image: str) -> str:
    """The digest of the manifest that the image's registry serves. NoDigest without an answer."""
    # A digest is the hash of the manifest's bytes, which `--raw` prints unchanged. No engine runs.
    command = ("docker", "buildx", "imagetools", "inspect", "--raw", image)
    try:
        asked = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)  # noqa: S603 - our own argument vector, no shell
    except FileNotFoundError:
        raise NoDigest(
            "Docker's program is missing: install docker with its plugin buildx"
        ) from None
    except subprocess.TimeoutExpired:
        raise NoDigest(f"the registry gave no answer within {PATIENCE:.0f} s") from None
    except subprocess.CalledProcessError as error:
        reasons = error.stderr.decode(errors="replace").strip().splitlines()
        raise NoDigest(reasons[-1] if reasons else "docker gave no reason") from None
    return f"sha256:{sha256(asked.stdout).hexdigest()}"


def main(folder: str = ".") -> int:
    """Pin all images that have a digest; return the exit code."""
    file = Path(folder, ".env")
    if not file.exists():
        print("There is no .env: copy .env.example to .env first.", file=sys.stderr)
        return 1
    compose = Path(folder, "docker-compose.yml").read_text(encoding="utf-8")
    failed = 0
    for name, image in images(compose, file.read_text(encoding="utf-8")).items():
        try:
            pinned = f"{image}@{digest(image)}"
        except NoDigest as error:
            failed = 1
            print(f"{name} stays as it is, {image} has no digest: {error}.", file=sys.stderr)
            continue
        # Read anew each time: an operator may edit the file while a registry is slow.
        env = file.read_text(encoding="utf-8")
        file.write_text(with_line(env, name, pinned), encoding="utf-8")
        print(f"{name}={pinned}")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
