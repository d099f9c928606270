# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host under test: as `nobody`, who has a secret while this runs, talk to PAM or to a real program.

Usage: talk.py FILE, which is where PAM looks for nobody's secret. Reads on stdin a JSON list of questions: `service`
(asked through libpam, `key` says that a key came before) or `program` (at a terminal; `user` as nobody, else as root),
and `code`: right, wrong or none (no secret at all). Says for each what was `asked`, and what was `said` last or
whether it let `in`.
"""

import base64
import contextlib
import ctypes
import glob
import hashlib
import hmac
import json
import os
import pty
import re
import select
import struct
import sys
import time

SECRET = os.urandom(20)
NOBODY = 65534
HANG_UP = 19  # PAM_CONV_ERR
FAIL_DELAY = 10  # PAM_FAIL_DELAY


def enrol(path):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w", encoding="ascii") as file:
        file.write(base64.b32encode(SECRET).decode() + '\n" TOTP_AUTH\n" WINDOW_SIZE 3\n')


def withdraw(path):
    for left in (path, "/run/faillock/nobody", *glob.glob(path + "~*")):  # what the modules note down
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left)


def shown(kind):
    """The code of this moment, or another."""
    mac = hmac.new(SECRET, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    number = struct.unpack(">I", mac[mac[-1] & 15 :][:4])[0] & 0x7FFFFFFF
    return f"{(number + (kind == 'wrong')) % 1000000:06d}"


class Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class Answer(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


Speak = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(Message)),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)
Pause = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class Speaker(ctypes.Structure):
    _fields_ = [("speak", Speak), ("data", ctypes.c_void_p)]


def pam(service, code, key):
    asked, libc, lib = [], ctypes.CDLL(None), ctypes.CDLL("libpam.so.0")
    libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p

    def speak(count, messages, answers, _data):
        asked.append(messages[0].contents.text.decode())
        if len(asked) > 1 or count != 1:
            return HANG_UP
        answers[0] = libc.calloc(1, ctypes.sizeof(Answer))
        Answer.from_address(answers[0]).text = libc.strdup(code.encode())
        return 0

    handle, speaker, pause = ctypes.c_void_p(), Speaker(Speak(speak), None), Pause(lambda *_: None)
    lib.pam_start(service.encode(), b"nobody", ctypes.byref(speaker), ctypes.byref(handle))
    lib.pam_set_item(handle, FAIL_DELAY, pause)
    if key:
        lib.pam_putenv(handle, b"SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA")
    rc = lib.pam_authenticate(handle, 0)
    lib.pam_end(handle, rc)
    return {"asked": asked, "in": rc == 0}


def program(argv, code, as_nobody):
    pid, terminal = pty.fork()
    if pid == 0:
        if as_nobody:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.execvp(argv[0], argv)
    said, asked, until = b"", [], time.monotonic() + 15
    while time.monotonic() < until and len(asked) < 2:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # it has ended; or login hangs up the terminal, to have it for itself
            if os.waitpid(pid, os.WNOHANG)[0]:
                return {"asked": asked, "said": said.decode(errors="replace").strip()}
            time.sleep(0.1)
            continue
        said += piece
        question = re.search(rb"([^\r\n]*[^\s:]): ?$", said)
        if question and question.group(1).decode() != argv[0]:  # else the program's name, and its message is to come
            asked.append(question.group(1).decode(errors="replace"))
            said = b""
            if len(asked) < 2:
                os.write(terminal, code.encode() + b"\n")
    with contextlib.suppress(OSError):
        os.kill(pid, 9)
    os.close(terminal)
    os.waitpid(pid, 0)
    return {"asked": asked, "said": said.decode(errors="replace").strip()}


def main(path):
    found = []
    try:
        for one in json.load(sys.stdin):
            withdraw(path)
            if one["code"] != "none":
                enrol(path)
            if "service" in one:
                found.append(pam(one["service"], shown(one["code"]), one["key"]))
            else:
                found.append(program(one["program"], shown(one["code"]), one["user"]))
    finally:
        withdraw(path)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
