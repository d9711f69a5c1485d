"""Process-wide security settings (TLS, SASL) for all Kafka clients.

`configure_security` is called once, before the first client is made; without it connections are
plaintext. Clients of two clusters with different settings need a process each.
"""

import ssl
from dataclasses import dataclass, field
from typing import Any, ClassVar

from execstream.streams.errors import Fatal


class CertificatesUnusable(Fatal):
    """Files for TLS cannot be used."""


@dataclass(frozen=True, slots=True)
class Security:
    """Security settings of the brokers, named as Kafka names them.

    Attributes:
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; of SASL.
        ca_file: certificate authorities to trust (PEM); None: those that this machine trusts.
        cert_file: a certificate of our own (PEM), where brokers ask for one.
        key_file: its key; None: it is in `cert_file`.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @property
    def is_sasl(self) -> bool:
        return self.protocol.startswith("SASL_")

    def context(self) -> ssl.SSLContext | None:
        """The TLS context; None without TLS."""
        if not self.protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            files = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise CertificatesUnusable(f"For TLS, {files} cannot be used: {error}.") from error
        return context


class _Process:
    """Settings that all connections of this process share."""

    options: ClassVar[dict[str, Any]] = {}


def configure_security(security: Security) -> None:
    """Use these settings for all clients that are made from now on.

    Raises:
        CertificatesUnusable: one of the files is missing or unusable.
    """
    options = {"security_protocol": security.protocol, "ssl_context": security.context()}
    if security.is_sasl:
        options |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
    _Process.options = options


def client_options() -> dict[str, Any]:
    """The options that every client of aiokafka is made with; Faust's too."""
    return _Process.options


def no_broker(bootstrap: str) -> str:
    """The message when no connection to a broker succeeds; `doctor` finds the reason."""
    return (
        f"No Kafka broker answers at {bootstrap}, or none lets this client in: "
        "`execstream doctor` finds the reason."
    )
