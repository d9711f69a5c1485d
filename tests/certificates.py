"""A certificate authority of a test, made by OpenSSL's program."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from execstream.devstack.ports import HOST

_USES = "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign"


class Certificate(NamedTuple):
    """PEM files; `both` has the key and the certificate."""

    certificate: Path
    key: Path
    both: Path

    def server_context(self) -> ssl.SSLContext:
        """What a server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True)
class Authority:
    """Signs certificates, and keeps all of them in `folder`."""

    folder: Path

    @property
    def file(self) -> Path:
        """What those have to trust who connect."""
        return self.folder / "authority.pem"

    async def begin(self) -> None:
        """Make the authority's own certificate."""
        await self._make("authority", ())

    async def issue(self, name: str, host: str = HOST) -> Certificate:
        """A certificate with this common name, for an address."""
        key = str(self.folder / "authority.key")
        signed = ("-CA", str(self.file), "-CAkey", key)
        return await self._make(name, (*signed, "-addext", f"subjectAltName=IP:{host}"))

    async def _make(self, name: str, options: tuple[str, ...]) -> Certificate:
        files = (self.folder / f"{name}.{end}" for end in ("pem", "key", "both"))
        certificate, key, both = files
        made = await asyncio.create_subprocess_exec(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", _USES, *options),
            *("-keyout", str(key), "-out", str(certificate)),
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert await made.wait() == 0
        both.write_text(key.read_text() + certificate.read_text())
        return Certificate(certificate, key, both)
