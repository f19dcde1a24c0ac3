"""The doctor says the one right thing first, for each fault between this machine and the API."""

import http.server
import threading
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from doctor_setup import (
    Broken,
    Patient,
    patient,
    token_refused,
)

from agent.doctor.examination import Health
from agent.sandbox.faults import Call, Fault

__all__ = ["patient"]


def name_unknown(patient: Patient) -> None:
    """No DNS, or a typing error."""
    patient.settings["api"]["base_url"] = "https://nowhere.invalid/v1"


def server_down(patient: Patient) -> None:
    """Nobody listens."""
    patient.settings["api"]["base_url"] = "http://127.0.0.1:9/v1"


def certificate_untrusted(patient: Patient) -> None:
    """A captive portal's, or an authority that is not known."""
    patient.serve_tls(trustme.CA().issue_cert("127.0.0.1"))


def certificate_of_another(patient: Patient) -> None:
    """The name is wrong."""
    authority = trustme.CA()
    patient.serve_tls(authority.issue_cert("example.org"))
    patient.trust(authority)


def certificate_not_yet_valid(patient: Patient) -> None:
    """The clock stands in the past."""
    authority = trustme.CA()
    later = datetime.now(UTC) + timedelta(days=1)
    patient.serve_tls(authority.issue_cert("127.0.0.1", not_before=later))
    patient.trust(authority)


def certificate_expired(patient: Patient) -> None:
    """The clock stands in the future, or the server was forgotten."""
    authority = trustme.CA()
    past = datetime.now(UTC) - timedelta(days=2)
    patient.serve_tls(authority.issue_cert("127.0.0.1", not_before=past, not_after=past + timedelta(days=1)))
    patient.trust(authority)


class Portal(http.server.BaseHTTPRequestHandler):
    """Answers everything with its own page."""

    def answer(self) -> None:
        """Ask to sign in."""
        page = b"<html><body>Welcome to the hotel</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page)

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def captive_portal(patient: Patient) -> None:
    """A hotel answers in the API's place."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    patient.stack.callback(server.server_close)
    patient.stack.callback(server.shutdown)
    patient.settings["api"]["base_url"] = f"http://127.0.0.1:{server.server_port}/v1"


def api_busy(patient: Patient) -> None:
    """It asks to be tried later."""
    patient.sandbox.faults.add(Fault(Call.ANY, times=None, status=503))


def token_missing(patient: Patient) -> None:
    """Nobody has set one."""
    patient.token = None


def token_refused_by_daemon(patient: Patient) -> None:
    """The daemon has tried it."""
    patient.daemon(credential={"state": "refused", "fingerprint": "0123abcd"})


W, C = Health.WARNING, Health.CRITICAL
BROKEN = [
    Broken("an unknown name", name_unknown, "DNS", C, "nowhere.invalid", "check the network"),
    Broken("a server that is down", server_down, "TLS", C, "cannot be reached", "network is back"),
    Broken("an untrusted certificate", certificate_untrusted, "TLS", C, "not trusted", "captive portal"),
    Broken("another's certificate", certificate_of_another, "TLS", C, "not trusted", "captive portal"),
    Broken("a certificate of tomorrow", certificate_not_yet_valid, "TLS", C, "not yet valid", "clock"),
    Broken("a certificate of yesterday", certificate_expired, "TLS", C, "expired", "clock"),
    Broken("a captive portal", captive_portal, "device token", C, "something else answers", "sign in"),
    Broken("a busy API", api_busy, "device token", W, "503", "later"),
    Broken("a missing token", token_missing, "device token", C, "no device token", "token set"),
    Broken("a refused token", token_refused, "device token", C, "refused the device token", "token set"),
    Broken("a token the daemon tried", token_refused_by_daemon, "device token", C, "refused", "token set"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_the_first_thing_said(patient: Patient, broken: Broken) -> None:
    """In each broken state the first line that is not healthy names the cause, how bad it is, and the remedy."""
    broken.judge(patient)
