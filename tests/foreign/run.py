#!/usr/bin/env python3
"""Binaries for other processors, under qemu-user, with this computer's own as the other side of every conversation.

usage: tests/foreign/run.py [FOLDER] [NAME...]

FOLDER holds what cross/build made (target/dist); each NAME is arm64, armv7 or armv6, without one all that are there.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = [str(REPOSITORY / "target/debug/hobnail")]
# The processor of a Pi Zero stops at an instruction of any later one.
QEMU = {
    "arm64": ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"],
    "armv7": ["qemu-arm-static", "-L", "/usr/arm-linux-gnueabihf"],
    "armv6": ["qemu-arm-static", "-cpu", "arm1176"],
}
ARCH = {"arm64": "aarch64", "armv7": "arm", "armv6": "arm"}
STEP_SECONDS = 60
SOLO = 'version: 1\nnetwork: test\ndoors: { programs: "127.0.0.1:0" }\nbrokers:\n  solo: { host: localhost }\n'


class Agent:
    """`hobnail run` of one machine, told apart by its port, with a service manager's ear on it."""

    def __init__(self, program, folder, text=SOLO):
        self.program, self.folder = program, pathlib.Path(folder)
        self.file = self.folder / "t.yaml"
        self.file.write_text(text)
        self.start()

    def start(self):
        notify = self.folder / "notify"
        notify.unlink(missing_ok=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(notify))
        self.manager.settimeout(STEP_SECONDS)
        env = os.environ | {"NOTIFY_SOCKET": str(notify), "HOBNAIL_STATE": str(self.folder / "state")}
        command = self.program + ["run", str(self.file), "--name", "solo"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        status = self.told("READY=1")
        self.port = re.search(r"programs at 127\.0\.0\.1:(\d+)", status).group(1)

    def told(self, start):
        while not (message := self.manager.recv(4096).decode()).startswith(start):
            pass
        return message

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(timeout=STEP_SECONDS)
        self.process.stdout.close()
        self.manager.close()
        return code


def answer(program, *args, code=0):
    done = subprocess.run(program + list(args), capture_output=True, text=True, timeout=STEP_SECONDS)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def it_is_what_it_is_called(program, name):
    assert json.loads(answer(program, "version", "--json"))["arch"] == ARCH[name]


def it_checks_topologies_as_we_do(program, _):
    for file in sorted((REPOSITORY / "topologies").glob("*.yaml")):
        answer(program, "check", str(file))
    bad = sorted((REPOSITORY / "tests/topologies-bad").glob("*.yaml"))
    assert len(bad) > 20
    for file in bad[::7]:
        theirs, ours = (answer(one, "check", str(file), code=78) for one in (program, OURS))
        assert theirs == ours, f"{file}:\n{theirs}"


def talk(server, publisher, subscriber):
    """Twenty messages of every kind, from one program to another by an agent, at QoS 1 and 2."""
    where = ["-p", server.port]
    for qos in ("1", "2"):
        session = where + ["-q", qos, "-i", f"s{qos}", "-c", "-t", "a/#"]
        answer(subscriber, "sub", *session, "-E")
        for number in range(10):
            answer(publisher, "pub", *where, "-q", qos, "-t", f"a/{qos}", "-m", f"é {number}")
        heard = answer(subscriber, "sub", *session, "-C", "10", "-W", "30")
        assert heard == "".join(f"é {number}\n" for number in range(10)), heard


def its_agent_serves_our_programs_and_ours_serves_its(program, _):
    for server, publisher, subscriber in ((program, OURS, OURS), (OURS, program, OURS), (OURS, OURS, program)):
        with tempfile.TemporaryDirectory() as folder:
            agent = Agent(server, folder)
            try:
                talk(agent, publisher, subscriber)
            finally:
                assert agent.end() == 0


def it_reloads_is_killed_and_comes_back(program, _):
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(program, folder)
        try:
            agent.file.write_text("version: 1\n")
            agent.process.send_signal(signal.SIGHUP)
            agent.told("RELOADING=1")
            assert "not reloaded" in agent.told("READY=1")
            agent.file.write_text(SOLO)
            agent.process.send_signal(signal.SIGHUP)
            agent.told("RELOADING=1")
            assert "not reloaded" not in agent.told("READY=1")
            agent.end(signal.SIGKILL)
            agent.start()
            talk(agent, OURS, OURS)
        finally:
            agent.end()


def it_needs_little(program, _):
    """Memory under qemu holds qemu's own too, so this is told and not judged; waking up is counted by the kernel."""
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(program, folder)
        try:
            status = pathlib.Path(f"/proc/{agent.process.pid}/status")
            time.sleep(2)
            before, began = switches(agent.process.pid), time.monotonic()
            time.sleep(5)
            per_second = (switches(agent.process.pid) - before) / (time.monotonic() - began)
            memory = re.search(r"VmRSS:\s+(\d+)", status.read_text()).group(1)
            print(f"  {int(memory) / 1024:.1f} MiB with qemu, {per_second:.1f} wake-ups a second when idle")
            assert per_second < 5
        finally:
            agent.end()


def switches(pid):
    """How often any thread of the process has slept of its own will."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/status")
    return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", task.read_text()).group(1)) for task in tasks)


CLAIMS = [
    it_is_what_it_is_called,
    it_checks_topologies_as_we_do,
    its_agent_serves_our_programs_and_ours_serves_its,
    it_reloads_is_killed_and_comes_back,
    it_needs_little,
]


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "target/dist")
    names = sys.argv[2:] or [name for name in QEMU if (folder / f"hobnail-{name}").exists()]
    if not names:
        sys.exit(f"no foreign binaries in {folder}; cross/build makes them")
    missing = sorted({QEMU[name][0] for name in names if shutil.which(QEMU[name][0]) is None})
    if missing:
        sys.exit(f"missing here: {', '.join(missing)}; run tests/setup")
    for name in names:
        for claim in CLAIMS:
            began = time.monotonic()
            print(f"{name}: {claim.__name__.replace('_', ' ')}", flush=True)
            claim(QEMU[name] + [str(folder / f"hobnail-{name}")], name)
            print(f"  {time.monotonic() - began:.1f} s", flush=True)


main()
