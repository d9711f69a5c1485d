"""The container engine, which `make compose-check` and `make test-containers` cannot do without."""

import docker
from docker.errors import DockerException

ABSENT = (
    "No container engine answers here: start Docker, or name the socket of another engine of this "
    "machine in DOCKER_HOST."
)


def answers() -> bool:
    """Return whether an engine answers at DOCKER_HOST, or at Docker's own socket without it."""
    try:
        client = docker.from_env(timeout=10)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except DockerException:
        return False


if __name__ == "__main__":
    raise SystemExit(None if answers() else ABSENT)
