"""A Debian system of its own under systemd-nspawn: booted with systemd as its first process, forgotten at the end."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
import zlib

INSIDE = "systemd,systemd-sysv,dbus,procps,iproute2,mosquitto-clients,openssl,man-db,libfaketime"
BOOT_SECONDS = 60
STEP_SECONDS = 60
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "dpkg-deb", "lintian")


def missing_tools():
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def root_folder(cache, suite):
    """A system with what the tests need, made once for each suite: a minute, and 220 MB."""
    root = pathlib.Path(cache, f"{suite}-{zlib.crc32(INSIDE.encode()):08x}")
    if not root.exists():
        trial = root.with_suffix(".new")
        shutil.rmtree(trial, ignore_errors=True)
        trial.parent.mkdir(parents=True, exist_ok=True)
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={INSIDE}", suite, str(trial)]
        subprocess.run(command, check=True, timeout=900)
        trial.rename(root)
    return root


class Machine:
    """Everything that happens inside is in memory; the root folder stays as it was."""

    def __init__(self, root, packages):
        command = ["systemd-nspawn", "--register=no", "--keep-unit", "--link-journal=no", "--quiet", "-D", str(root)]
        command += ["--volatile=overlay", "--private-network", f"--bind-ro={packages}:/mnt", "--console=pipe"]
        command += ["--hostname=workbench", "--boot", "systemd.unit=multi-user.target"]
        quiet = subprocess.DEVNULL
        self.nspawn = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE)
        until = time.monotonic() + BOOT_SECONDS
        self.leader = None
        while not self._is_up():
            if self.nspawn.poll() is not None:
                raise SystemExit(f"systemd-nspawn ended: {self.nspawn.stderr.read().decode()}")
            if time.monotonic() > until:
                self.stop()
                raise SystemExit("the system did not boot in time")
            time.sleep(0.1)

    def _is_up(self):
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        if not children:
            return False
        self.leader = children[0]
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def run(self, *command, check=True, seconds=STEP_SECONDS, text=None):
        enter = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C"]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            enter + list(command), input=text, capture_output=True, text=True, timeout=seconds, env=env
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sh(self, script, **more):
        return self.run("sh", "-ec", script, **more).stdout.strip()

    def start_on_its_network(self, *command):
        """A program of this computer that sees the machine's network only."""
        return subprocess.Popen(
            ["nsenter", "-t", self.leader, "-n", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def stop(self):
        if self.leader:
            # The first process of a container ends at SIGRTMIN+4 as a machine that is switched off.
            os.kill(int(self.leader), signal.SIGRTMIN + 4)
        try:
            self.nspawn.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
