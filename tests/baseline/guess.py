# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host under test: asks PAM as it is for everything that has no service of its own.

`password WORD`: would PAM take this as nobody's new password? Exit status 0 where it would; nothing is changed.
`guess TRIES`: as nobody, give a wrong password that often; exit status 0 where the account is locked by then. It is
unlocked again.
"""

import ctypes
import subprocess
import sys

SERVICE, PERSON = b"rampart-verify", b"nobody"  # no file of that name: PAM's service `other`
FAIL_DELAY, PROMPT, SUCCESS, HANG_UP, AGAIN = 10, (1, 2), 0, 19, "etype"


class Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class Answer(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("code", ctypes.c_int)]


Speak = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Message)), ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)  # fmt: skip
Pause = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class Speaker(ctypes.Structure):
    _fields_ = [("speak", Speak), ("data", ctypes.c_void_p)]


def start(answer):
    """(handle, what PAM said, what must live on); every question is answered by `answer`."""
    said, libc, lib = [], ctypes.CDLL(None), ctypes.CDLL("libpam.so.0")
    libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p

    def speak(count, messages, answers, _data):
        answers[0] = libc.calloc(count, ctypes.sizeof(Answer))
        for number in range(count):
            if AGAIN in messages[number].contents.text.decode(errors="replace"):
                said.append(AGAIN)
                return HANG_UP
            message = messages[number].contents
            said.append(message.text.decode(errors="replace"))
            if message.style in PROMPT:
                place = answers[0] + number * ctypes.sizeof(Answer)
                Answer.from_address(place).text = libc.strdup(answer.encode())
        return SUCCESS

    handle, speaker, pause = ctypes.c_void_p(), Speaker(Speak(speak), None), Pause(lambda *_: None)
    lib.pam_start(SERVICE, PERSON, ctypes.byref(speaker), ctypes.byref(handle))
    lib.pam_set_item(handle, FAIL_DELAY, pause)
    return lib, handle, said, (speaker, pause)


def judge(word):
    """A good word is asked for twice, and there we hang up; a bad one is called so before, also to root."""
    lib, handle, said, kept = start(word)
    rc = lib.pam_chauthtok(handle, 0)
    lib.pam_end(handle, rc)
    print("; ".join(said))
    return "BAD" in " ".join(said) or not any(AGAIN in line for line in said)


def guess(tries):
    reset = ["faillock", "--user", PERSON.decode(), "--reset"]
    if subprocess.run(reset, capture_output=True, check=False).returncode:
        print("nothing counts wrong passwords (faillock)")
        return 1
    try:
        for attempt in range(tries + 1):
            lib, handle, said, kept = start("not the password")
            rc = lib.pam_authenticate(handle, 0)
            lib.pam_end(handle, rc)
            if not any("assword" in line for line in said):
                print(f"after {attempt} wrong passwords none is asked for any more: {said}")
                return int(attempt == 0)
        print(f"after {tries} wrong passwords another is asked for")
        return 1
    finally:
        subprocess.run(reset, capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit({"password": judge, "guess": lambda tries: guess(int(tries))}[sys.argv[1]](sys.argv[2]))
