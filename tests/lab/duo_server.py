# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of Duo's service, as pam_duo 1.11.3 speaks to it: runs on a lab host, with nothing but Python.

Usage: duo_server.py DIRECTORY PORT. In the directory are the certificates (right.pem, wrong-ca.pem, wrong-name.pem),
`mode` (one of MODES; read anew for each connection and request) and `log`, to which a JSON line is written for each
request, and for each connection that the client broke off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import pathlib
import ssl
import struct
import sys
import time
import urllib.parse

IKEY = "DIRAMPARTLAB00000000"
SKEY = "rampart0lab0secret0rampart0lab0secret000"
PASSCODE = "123456"
SLOW = 5  # seconds, longer than pam_duo is told to wait
FACTORS = {"default": "push1", "1": "push1", "2": "phone1"}
PROMPT = "Duo two-factor login\n\n 1. Duo Push to XXX-0100\n 2. Phone call to XXX-0100\n\nPasscode or option (1-2): "


def refused(code, message):
    return code // 100, {"stat": "FAIL", "code": code, "message": message}


def fine(**response):
    return 200, {"stat": "OK", "response": response}


ASK = fine(result="auth", factors=FACTORS, prompt=PROMPT)
# What is answered to the three calls (a person is announced, a factor is asked for, the outcome is waited for) where it
# is not the usual, which lets in whoever uses a factor that there is; and which of the calls takes its time.
MODES = {
    "allow": {},
    "deny": {
        "auth": fine(result="deny", status="Login request denied.", txid="0"),
        "status": fine(result="deny", status="Login request denied."),
    },
    # a person whom the service knows, or decides, not to ask
    "bypass": {"preauth": fine(result="allow", status="Bypassing second factor.")},
    "locked": {"preauth": fine(result="deny", status="Your account is locked out.")},
    "enroll": {"preauth": fine(result="enroll", status="Please enroll at https://localhost/portal")},
    "no-phone": {"preauth": fine(result="auth", factors={"none": "none"}, prompt=PROMPT)},
    # a service that is not well
    "401": {"preauth": refused(40102, "Invalid integration key in request credentials")},
    "403": {"preauth": refused(40301, "Access forbidden")},
    "429": {"preauth": refused(42901, "Too many requests")},
    "500": {"preauth": refused(50000, "Internal server error")},
    "fail": {"preauth": (200, refused(40002, "Invalid request parameters")[1])},
    "garbage": {"preauth": (200, b"<html>Welcome to the hotel's network</html>")},
    "401-later": {"auth": refused(40102, "Invalid integration key in request credentials")},
    "500-later": {"auth": refused(50000, "Internal server error")},
    "slow": {"delay": "preauth"},
    "slow-later": {"delay": "auth"},
    # the host has another secret key than the service
    "bad-signature": {},
    # not the service at all
    "wrong-ca": {},
    "wrong-name": {},
}


def bson(document):
    body = b""
    for key, value in document.items():
        name = key.encode() + b"\0"
        if isinstance(value, dict):
            body += b"\x03" + name + bson(value)
        elif isinstance(value, int):
            body += b"\x10" + name + struct.pack("<i", value)
        else:
            text = value.encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def signature(skey, method, host, path, arguments):
    """As pam_duo signs a request: no date in it, SHA-1, and the host without its port."""
    query = "&".join(sorted("=".join(urllib.parse.quote(part, safe="") for part in pair) for pair in arguments))
    return hmac.new(skey.encode(), "\n".join((method, host, path, query)).encode(), hashlib.sha1).hexdigest()


class Call(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def parse_request(self):
        if self.raw_requestline == b"\r\n":  # pam_duo's GET has an empty line too many
            self.raw_requestline = self.rfile.readline()
        return super().parse_request()

    def do_GET(self):
        self.answer(urllib.parse.urlsplit(self.path).query)

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def credentials(self, path, arguments):
        """None where the request is signed as it should be, else what the service says to it."""
        scheme, __, text = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return refused(40101, "Missing request credentials")
        ikey, __, signed = base64.b64decode(text).decode().partition(":")
        if ikey != IKEY:
            return refused(40102, "Invalid integration key in request credentials")
        skey = SKEY[::-1] if self.server.mode() == "bad-signature" else SKEY
        right = signature(skey, self.command, self.headers["Host"].partition(":")[0], path, arguments)
        if not hmac.compare_digest(signed, right):
            return refused(40103, "Invalid signature in request credentials")
        return None

    def usual(self, call, arguments):
        if call == "preauth":
            return ASK
        if call == "auth" and arguments.get("auto") not in (*FACTORS.values(), PASSCODE):
            return fine(result="deny", status="Incorrect passcode. Please try again.", txid="deny")
        if call == "auth":
            return fine(result="allow", status="Success. Logging you in...", txid="allow")
        self.server.polled = not self.server.polled
        if self.server.polled:  # every other time there is nothing to tell yet
            return fine(status="Pushed a login request to your phone...")
        if arguments["txid"] == "allow":
            return fine(result="allow", status="Success. Logging you in...")
        return fine(result="deny", status="Incorrect passcode. Please try again.")

    def answer(self, query):
        path = urllib.parse.urlsplit(self.path).path
        arguments = urllib.parse.parse_qsl(query, keep_blank_values=True)
        call, mode = path.removeprefix("/rest/v1/").removesuffix(".bson"), self.server.mode()
        script = MODES[mode]
        status, body = self.credentials(path, arguments) or script.get(call) or self.usual(call, dict(arguments))
        self.server.note(mode=mode, call=call, status=status, arguments=dict(arguments))
        if script.get("delay") == call:
            time.sleep(SLOW)
        body = body if isinstance(body, bytes) else bson(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Service(http.server.ThreadingHTTPServer):
    def __init__(self, directory, port):
        self.directory, self.polled, self.contexts = directory, False, {}
        for name in ("right", "wrong-ca", "wrong-name"):
            self.contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.contexts[name].load_cert_chain(directory / f"{name}.pem")
        super().__init__(("127.0.0.1", port), Call)

    def mode(self):
        return (self.directory / "mode").read_text(encoding="utf-8").strip()

    def note(self, **what):
        with (self.directory / "log").open("a", encoding="utf-8") as log:
            log.write(json.dumps(what) + "\n")

    def finish_request(self, request, client_address):
        mode = self.mode()
        try:
            with self.contexts.get(mode, self.contexts["right"]).wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)
        except OSError as error:  # who did not like the certificate, or did not want to wait
            self.note(mode=mode, broken=str(error))


if __name__ == "__main__":
    Service(pathlib.Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
