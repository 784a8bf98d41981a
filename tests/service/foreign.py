#!/usr/bin/env python3
"""Runs a command where programs for another processor run as if they were this computer's own.

usage: tests/service/foreign.py ARCH COMMAND...     ARCH is arm64 or armhf

The command gets user and mount namespaces, and a binfmt_misc of that user namespace with qemu-user in it: nobody else
on this computer meets it, and it goes with the command. Needs root, for the whole range of users.
"""

import ctypes
import os
import pathlib
import subprocess
import sys

# As Debian's qemu-user-static brings them.
HANDLERS = {"arm64": "/usr/lib/binfmt.d/qemu-aarch64.conf", "armhf": "/usr/lib/binfmt.d/qemu-arm.conf"}
BINFMT = "/proc/sys/fs/binfmt_misc"
EVERYBODY = "0 0 4294967295"
NEW_NAMESPACES = 0x10000000 | 0x00020000


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in HANDLERS:
        sys.exit(__doc__)
    handler, command = pathlib.Path(HANDLERS[sys.argv[1]]), sys.argv[2:]
    if os.geteuid() != 0 or not handler.exists():
        sys.exit("it needs root, and qemu-user-static: run tests/setup")
    inside, outside = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        if ctypes.CDLL(None, use_errno=True).unshare(NEW_NAMESPACES) != 0:
            sys.exit(f"no namespaces of its own: {os.strerror(ctypes.get_errno())}")
        os.write(inside[1], b"x")
        os.read(outside[0], 1)
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)
        pathlib.Path(BINFMT, "register").write_text(handler.read_text())
        os.execvp(command[0], command)
    # Who is who in there can be said from outside alone, and only once it is there.
    os.close(inside[1])
    if os.read(inside[0], 1):
        for kind in ("uid_map", "gid_map"):
            pathlib.Path(f"/proc/{child}/{kind}").write_text(EVERYBODY)
        os.write(outside[1], b"x")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


main()
