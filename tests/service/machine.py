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


def root_folder(cache, suite, arch):
    """A system with what the tests need, made once for each suite: a minute, or five under qemu, and 220 MB."""
    root = pathlib.Path(cache, f"{suite}-{arch}-{zlib.crc32(INSIDE.encode()):08x}")
    if not root.exists():
        trial = root.with_suffix(".new")
        shutil.rmtree(trial, ignore_errors=True)
        trial.parent.mkdir(parents=True, exist_ok=True)
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--skip=check/qemu", f"--arch={arch}"]
        subprocess.run([*command, f"--include={INSIDE}", suite, str(trial)], check=True, timeout=1800)
        trial.rename(root)
    return root


# qemu-user can give a process neither users of its own nor, as systemd does it, credentials; nor can it give haste.
UNDER_QEMU = "[Service]\nPrivateUsers=no\nLoadCredential=\n"
PATIENCE_UNDER_QEMU = 6


class Machine:
    """Everything that happens inside is in memory; the root folder stays as it was. Not so under qemu: an overlay of a
    user namespace does not let dpkg rename a new folder, so there the folder is used up."""

    def __init__(self, root, packages, foreign):
        self.foreign = foreign
        self.patience = PATIENCE_UNDER_QEMU if foreign else 1
        command = ["systemd-nspawn", "--register=no", "--keep-unit", "--link-journal=no", "--quiet", "-D", str(root)]
        command += ["--private-network", f"--bind-ro={packages}:/mnt", "--console=pipe", "--hostname=workbench"]
        if not foreign:
            command.append("--volatile=overlay")
        command += ["--boot", "systemd.unit=multi-user.target"]
        quiet = subprocess.DEVNULL
        self.nspawn = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=subprocess.PIPE)
        until = time.monotonic() + BOOT_SECONDS * self.patience
        self.leader = None
        while not self._is_up():
            if self.nspawn.poll() is not None:
                raise SystemExit(f"systemd-nspawn ended: {self.nspawn.stderr.read().decode()}")
            if time.monotonic() > until:
                self.stop()
                raise SystemExit("the system did not boot in time")
            time.sleep(0.1)
        if foreign:
            # For every unit; below /run, where no package puts anything.
            self.sh("mkdir -p /run/systemd/system/service.d")
            self.run("tee", "/run/systemd/system/service.d/qemu.conf", text=UNDER_QEMU)
            self.run("systemctl", "daemon-reload")

    def _is_up(self):
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        if not children:
            return False
        self.leader = children[0]
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def wait_until(self, what, seconds, truth):
        until = time.monotonic() + seconds * self.patience
        while not truth():
            assert time.monotonic() < until, f"not within {seconds * self.patience} s: {what}"
            time.sleep(0.05)

    def run(self, *command, check=True, text=None):
        enter = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C"]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            enter + list(command), input=text, capture_output=True, text=True, timeout=STEP_SECONDS * self.patience, env=env
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sh(self, script):
        return self.run("sh", "-ec", script).stdout.strip()

    def start_on_its_network(self, *command):
        """A program of this computer that sees the machine's network only."""
        return subprocess.Popen(
            ["nsenter", "-t", self.leader, "-n", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def stop(self):
        if self.leader and self.foreign:
            # qemu-user gives its own numbers to the signals that systemd has words for.
            self.run("systemctl", "poweroff", check=False)
        elif self.leader:
            # The first process of a container ends at SIGRTMIN+4 as a machine that is switched off.
            os.kill(int(self.leader), signal.SIGRTMIN + 4)
        try:
            self.nspawn.wait(timeout=10 * self.patience)
        except subprocess.TimeoutExpired:
            # The first process takes all others in there with it; without nspawn it would live on.
            if self.leader:
                os.kill(int(self.leader), signal.SIGKILL)
            self.nspawn.kill()
            self.nspawn.wait()
