# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before MFA is confirmed: an enrolled person gets in at each of these PAM services, and nobody does without the code.

The person is `nobody`, who cannot log in and is enrolled for as long as this runs: a real person's code would be used
up, and a real person's failures counted. Usage: prove.py SERVICE…
"""

import base64
import ctypes
import hmac
import os
import sys
import time

PERSON = "nobody"
FILE = "/var/lib/rampart/mfa/totp/" + PERSON
FAILURES = "/run/faillock/" + PERSON
PAM = ctypes.CDLL("libpam.so.0")
LIBC = ctypes.CDLL(None)
SUCCESS, CONV_ERR = 0, 19
DELAY = 10  # PAM_FAIL_DELAY
KEY = b"SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA"


class Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class Response(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


TALK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Message)), ctypes.POINTER(ctypes.POINTER(Response)),
    ctypes.c_void_p,
)  # fmt: skip
WAIT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class Conversation(ctypes.Structure):
    _fields_ = [("talk", TALK), ("data", ctypes.c_void_p)]


LIBC.calloc.restype = LIBC.strdup.restype = ctypes.c_void_p
LIBC.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
PAM.pam_start.argtypes = [
    ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Conversation), ctypes.POINTER(ctypes.c_void_p),
]  # fmt: skip
PAM.pam_authenticate.argtypes = PAM.pam_end.argtypes = [ctypes.c_void_p, ctypes.c_int]
PAM.pam_putenv.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
PAM.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, WAIT]


def authenticate(service, answer, *environment):
    """(whether PAM lets PERSON in, the questions that it asked); the first is answered, at the second we hang up."""
    asked = []

    def talk(count, messages, responses, _data):
        asked.extend(messages[number].contents.text.decode() for number in range(count))
        if len(asked) > 1:
            return CONV_ERR
        memory = LIBC.calloc(count, ctypes.sizeof(Response))
        responses[0] = ctypes.cast(memory, ctypes.POINTER(Response))
        responses[0][0].text = LIBC.strdup(answer.encode())
        return SUCCESS

    talker, waiter, handle = TALK(talk), WAIT(lambda *_: None), ctypes.c_void_p()
    conversation = Conversation(talker, None)
    rc = PAM.pam_start(service.encode(), PERSON.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    if rc != SUCCESS:
        sys.exit(f"PAM does not start for {service}: {rc}")
    PAM.pam_set_item(handle, DELAY, waiter)  # nobody is guessing here: no pause after a failure
    for variable in environment:
        PAM.pam_putenv(handle, variable)
    rc = PAM.pam_authenticate(handle, 0)
    PAM.pam_end(handle, rc)
    return rc == SUCCESS, asked


def code(secret, now):
    """RFC 6238, as every authenticator has it: HMAC-SHA1, 30 seconds, 6 digits."""
    digest = hmac.new(secret, int(now // 30).to_bytes(8, "big"), "sha1").digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def enrol():
    """Enrol PERSON anew, with nothing used up or counted; the code that is right at the moment."""
    if os.path.exists(FAILURES):
        os.unlink(FAILURES)
    secret = os.urandom(20)
    text = base64.b32encode(secret).decode() + '\n" WINDOW_SIZE 3\n" DISALLOW_REUSE\n" TOTP_AUTH\n'
    with open(os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w", encoding="ascii") as handle:
        handle.write(text)
    return code(secret, time.time())


def prove(service):
    """What is wrong with the service; None where nothing is."""
    over_ssh = service == "sshd"
    key = [KEY] if over_ssh else []
    right = enrol()
    let_in, asked = authenticate(service, right, *key)
    # anywhere but over SSH the password comes next, and nobody has none
    if over_ssh and not let_in:
        return f"an enrolled person is refused (asked: {asked})"
    if not over_ssh and len(asked) < 2:
        return f"an enrolled person does not get as far as the password (asked: {asked})"
    right = enrol()
    wrong = f"{(int(right) + 1) % 10**6:06}"
    if authenticate(service, wrong, *key)[0]:
        return "a wrong code is let in"
    if over_ssh and authenticate(service, right)[0]:
        return "a code is let in where no key came before it"
    return None


def main(services):
    try:
        troubles = {service: prove(service) for service in services}
    finally:
        for left in (FILE, FAILURES):
            if os.path.exists(left):
                os.unlink(left)
    wrong = [f"{service}: {trouble}" for service, trouble in troubles.items() if trouble]
    if wrong:
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
