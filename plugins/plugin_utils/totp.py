# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of TOTP: made, checked, and written down for the person who will show the codes. Never named in a message."""

from __future__ import annotations

import base64
import io
import re
import secrets
import urllib.parse
from collections.abc import Mapping

import yaml

SECRET_BYTES = 20  # RFC 4226: 160 bits
SHORTEST = 10  # bytes, of a secret that was supplied
SCRATCH_CODES = 5
DOCUMENT = """# Made by rampart.hardening.mfa_enrol and encrypted as a whole; look at it with ansible-vault view
"""
PAGE = """{person} at {issuer}

1. Scan this with an authenticator app on your phone:

{picture}
   Or give the app this address:
   {uri}
   Or enter by hand: account {person}, secret {grouped}, based on time, 6 digits, 30 seconds.

2. Print these and lock them away. If the phone is gone, each opens the account once, in place of a code:

{scratch}
Destroy this page when the app shows codes.
"""


def normalise(secret: object) -> str:
    """A secret as pam_google_authenticator reads it: base32 in capitals, without blanks and padding."""
    return re.sub(r"[\s-]", "", str(secret)).upper().rstrip("=")


def problems(given: object) -> list[str]:
    """What is wrong with hardening_totp_secrets. Names the person, never the secret."""
    if not isinstance(given, Mapping):
        return ["hardening_totp_secrets: this has to be a mapping of names to secret and scratch_codes"]
    found, seen = [], {}
    for person, entry in given.items():
        where = f"hardening_totp_secrets: {person}"
        if not isinstance(entry, Mapping) or not entry.get("secret"):
            found.append(f"{where} has no secret")
            continue
        secret = normalise(entry["secret"])
        try:
            length = len(base64.b32decode(secret + "=" * (-len(secret) % 8)))
        except ValueError:
            found.append(f"{where}: the secret is not base32 (A to Z, 2 to 7)")
            continue
        if length < SHORTEST:
            found.append(f"{where}: the secret is too short; {SHORTEST} bytes are 16 characters of base32")
        if secret in seen:
            found.append(f"{where} has the secret of {seen[secret]}")
        seen[secret] = person
        codes = entry.get("scratch_codes") or []
        if not isinstance(codes, (list, tuple)) or not all(re.fullmatch(r"[1-9]\d{7}", str(code)) for code in codes):
            found.append(f"{where}: scratch_codes has to be a list of numbers of 8 digits, the first of them no 0")
    return found


def make() -> dict:
    """A new entry of hardening_totp_secrets."""
    codes: set[str] = set()
    while len(codes) < SCRATCH_CODES:
        codes.add(str(10**7 + secrets.randbelow(9 * 10**7)))
    return {
        "secret": base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode(),
        "scratch_codes": sorted(codes),
    }


def uri(person: str, entry: Mapping, issuer: str) -> str:
    """What the QR code says, as authenticators read it."""
    label = urllib.parse.quote(f"{issuer}:{person}", safe=":")
    return f"otpauth://totp/{label}?" + urllib.parse.urlencode(
        {"secret": normalise(entry["secret"]), "issuer": issuer}, quote_via=urllib.parse.quote
    )


def sheet(person: str, entry: Mapping, issuer: str) -> dict[str, bytes]:
    """What the person is handed: a page of text (txt) and a picture (png). ImportError without segno."""
    import segno

    address = uri(person, entry, issuer)
    code = segno.make(address, micro=False)
    text, picture = io.StringIO(), io.BytesIO()
    code.terminal(text, compact=True)
    code.save(picture, kind="png", scale=6)
    secret = normalise(entry["secret"])
    page = PAGE.format(
        person=person,
        issuer=issuer,
        picture=text.getvalue(),
        uri=address,
        grouped=" ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        scratch="".join(f"   {number}\n" for number in entry["scratch_codes"]),
    )
    return {"txt": page.encode(), "png": picture.getvalue()}


def document(entries: Mapping) -> bytes:
    """The file of variables."""
    return (DOCUMENT + yaml.safe_dump({"hardening_totp_secrets": dict(entries)})).encode()
