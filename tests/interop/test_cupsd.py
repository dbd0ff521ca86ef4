"""Our client and a real cupsd, the one server that still switches to TLS (RFC 2817)."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from switchover.asyncio.client import Client
from switchover.asyncio.offers import TLSPolicy
from switchover.asyncio.tls_upgrade import TLSUpgrade
from switchover.errors import TLSSwitchFailed

pytestmark = pytest.mark.interop

CUPS_GET_PRINTERS = 0x4002
CUPSD_CONF = """
Listen 127.0.0.1:{port}
ServerName localhost
ServerAlias *
LogLevel debug
DefaultEncryption IfRequested
DefaultAuthType None
WebInterface Yes
Browsing Off
<Location />
  Order allow,deny
  Allow all
</Location>
<Policy default>
  <Limit All>
    Order deny,allow
  </Limit>
</Policy>
"""
CUPS_FILES = """
ServerRoot {run}/root
ServerKeychain {run}/ssl
CreateSelfSignedCerts no
RequestRoot {run}/spool
TempDir {run}/spool/tmp
CacheDir {run}/cache
StateDir {run}/state
AccessLog {run}/access_log
ErrorLog stderr
PageLog {run}/page_log
User {user}
Group {group}
SystemGroup {system}
FileDevice Yes
"""
PRINTERS = """
<Printer loopback>
UUID urn:uuid:6f9f1ca4-3ef6-3f5e-6c3c-3a1f6e1f2b11
Info A printer that prints nothing
DeviceURI file:///dev/null
State Idle
Type 4
Accepting Yes
Shared Yes
JobSheets none none
QuotaPeriod 0
PageLimit 0
KLimit 0
OpPolicy default
ErrorPolicy retry-job
</Printer>
"""


def _configure(run: Path, port: int, certificate: Path) -> None:
    for folder in ("root/ppd", "ssl", "spool/tmp", "cache", "state/certs"):
        (run / folder).mkdir(parents=True)
    for name in {"localhost", "127.0.0.1", socket.gethostname()}:
        shutil.copy(certificate / "certificate.pem", run / "ssl" / f"{name}.crt")
        shutil.copy(certificate / "key.pem", run / "ssl" / f"{name}.key")
    (run / "root" / "printers.conf").write_text(PRINTERS)
    (run / "cupsd.conf").write_text(CUPSD_CONF.format(port=port))
    own = (pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name)
    user, group = ("nobody", "nogroup") if os.getuid() == 0 else own
    (run / "cups-files.conf").write_text(
        CUPS_FILES.format(run=run, user=user, group=group, system=own[1])
    )
    for path in (run, *run.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (run / "spool" / "tmp").chmod(0o1777)


@pytest.fixture(scope="module")
def cupsd(
    program: Callable[[str], str],
    daemon: Callable[[Callable[[int], list[str]]], int],
    certificate: Path,
) -> Iterator[int]:
    """The port of a real cupsd with a printer on it, in a tree of its own."""
    executable = program("cupsd")
    with tempfile.TemporaryDirectory(prefix="cupsd-") as name:
        Path(name).chmod(0o755)  # its helpers run as somebody else

        def command(port: int) -> list[str]:
            run = Path(name, str(port))
            _configure(run, port, certificate)
            return [executable, "-f", "-c", f"{run}/cupsd.conf", "-s", f"{run}/cups-files.conf"]

        yield daemon(command)


def _ipp_request(operation: int) -> bytes:
    """A request of IPP with the two attributes it cannot do without (RFC 8011 §4.1.4)."""
    octets = struct.pack(">BBHI", 2, 0, operation, 1) + b"\x01"
    for tag, name, value in (
        (0x47, b"attributes-charset", b"utf-8"),
        (0x48, b"attributes-natural-language", b"en"),
    ):
        octets += struct.pack(">BH", tag, len(name)) + name
        octets += struct.pack(">H", len(value)) + value
    return octets + b"\x03"


TOKENS = ("TLS/1.2", "TLS/1.1", "TLS/1.0")


@pytest.mark.anyio
async def test_our_client_gets_a_printer_list_from_cupsd(
    cupsd: int, trusting: ssl.SSLContext
) -> None:
    """TLS-02, TLS-04, TLS-11: OPTIONS first, the 101 of cupsd, and the real request inside."""
    policy = TLSPolicy(TLSUpgrade(trusting, tokens=TOKENS))
    async with Client(tls_upgrade=policy) as client:
        for _ in range(2):  # the second on the connection that is there
            answer = await client.post(
                f"http://localhost:{cupsd}/",
                _ipp_request(CUPS_GET_PRINTERS),
                fields={"Content-Type": "application/ipp"},
            )
            assert answer.status == 200
            assert struct.unpack(">H", answer.content[2:4]) == (0,)
            assert b"A printer that prints nothing" in answer.content
            facts = answer.facts
            assert facts is not None
            assert facts.chain == ("HTTP/1.1", "TLS/1.2", "HTTP/1.1")
            assert facts.tls is not None
            assert facts.tls["version"] in ("TLSv1.2", "TLSv1.3")


@pytest.mark.anyio
async def test_our_client_does_not_trust_cupsd_unasked(cupsd: int) -> None:
    """TLS-11, SEC-13: its certificate is its own."""
    async with Client(tls_upgrade=TLSPolicy(TLSUpgrade(tokens=TOKENS))) as client:
        with pytest.raises(TLSSwitchFailed, match="certificate verify failed"):
            await client.get(f"http://localhost:{cupsd}/")


@pytest.mark.anyio
async def test_offer_on_the_request_itself_to_cupsd(cupsd: int, trusting: ssl.SSLContext) -> None:
    """TLS-01: cupsd switches on GET, too; the answer comes inside."""
    async with Client() as client:
        upgrade = TLSUpgrade(trusting, tokens=TOKENS)
        answer = await client.get(f"http://localhost:{cupsd}/", offer=[upgrade])
        assert answer.protocol == "TLS/1.2"
        assert answer.status == 200
        assert b"CUPS" in answer.content
