"""Why a connection could not be made, in words that say what to do."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from websockets.exceptions import InvalidMessage, InvalidStatus, InvalidURI

from ._errors import StarlingError

_STATUS = {
    400: ("bad_handshake", "the server does not take the handshake"),
    401: ("unauthorized", "the server does not take these credentials"),
    403: ("forbidden", "the server does not let this client in (access rules, or the Origin)"),
    404: ("not_found", "there is no Starling server at this path; it is usually /sync"),
    405: ("not_found", "there is no Starling server at this path; it is usually /sync"),
    421: ("forbidden", "the server is for its own machine only"),
    426: ("not_found", "there is a server, but no WebSocket at this path; it is usually /sync"),
}


def explain(error: BaseException, url: str) -> tuple[str, str, bool]:
    """
    :return: a code, a sentence, and whether to try again cannot help
    """
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        said = (error.response.body or b"").decode(errors="replace").strip().splitlines()
        code, text = _STATUS.get(status, ("offline", f"the server answered {status}"))
        text = f"{text} ({status}{': ' + said[0][:200] if said else ''})"
        return code, text, status in _STATUS
    if isinstance(error, StarlingError):
        return error.code, str(error), False
    if isinstance(error, InvalidURI):
        return "bad_url", str(error), True
    if isinstance(error, ssl.SSLCertVerificationError):
        return "bad_certificate", f"the server's certificate is not one to trust: {error.verify_message}", True
    if isinstance(error, ssl.SSLError):
        text = "the TLS handshake failed"
        if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER" in str(error):
            return "bad_certificate", f"{text}: the server does not speak TLS; is it ws:// in place of wss://?", True
        return "offline", f"{text}: {error.reason or error}", False
    if isinstance(error, socket.gaierror):
        return "offline", f"there is no host {urlsplit(url).hostname}: {error.strerror}", False
    if isinstance(error, ConnectionRefusedError):
        return "offline", "nobody listens there; is the server running?", False
    if isinstance(error, InvalidMessage):
        return "offline", "what is there speaks no WebSocket; is it wss:// in place of ws://?", False
    if isinstance(error, TimeoutError):
        return "offline", "it did not answer in time", False
    return "offline", str(error) or type(error).__name__, False
