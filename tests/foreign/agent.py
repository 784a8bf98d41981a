"""Agents of this computer's own and of other processors', each a process with a service manager's ear on it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
OURS = [str(REPOSITORY / "target/debug/hobnail")]
STEP_SECONDS = 60
SOLO = 'version: 1\nnetwork: test\ndoors: { programs: "127.0.0.1:0" }\nbrokers:\n  solo: { host: localhost }\n'


class Agent:
    """`hobnail run` of one machine. Its folder holds its topology, keys, state and sockets."""

    def __init__(self, program, folder, name="solo", text=SOLO):
        self.program, self.folder, self.name = program, pathlib.Path(folder), name
        self.file = self.folder / f"{name}.yaml"
        self.file.write_text(text)
        self.env = os.environ | {
            "NOTIFY_SOCKET": str(self.folder / f"{name}.notify"),
            "HOBNAIL_CONTROL": str(self.folder / f"{name}.control"),
            "HOBNAIL_STATE": str(self.folder / "state"),
            "HOBNAIL_KEYS": str(self.folder),
        }
        self.start()

    def start(self):
        notify = pathlib.Path(self.env["NOTIFY_SOCKET"])
        notify.unlink(missing_ok=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(notify))
        self.manager.settimeout(STEP_SECONDS)
        command = self.program + ["run", str(self.file), "--name", self.name]
        self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        status = self.told("READY=1")
        self.port = re.search(r"programs at 127\.0\.0\.1:(\d+)", status).group(1)

    def told(self, start):
        while not (message := self.manager.recv(4096).decode()).startswith(start):
            pass
        return message

    def reload(self, text):
        """What the manager is told once another text has been looked at."""
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        self.told("RELOADING=1")
        return self.told("READY=1")

    def status(self):
        """Whatever is wrong with it; the exit code says whether something is."""
        ask = OURS + ["status", "--json"]
        return json.loads(subprocess.run(ask, capture_output=True, timeout=STEP_SECONDS, env=self.env).stdout)

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=STEP_SECONDS)
        self.process.stdout.close()
        self.manager.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=STEP_SECONDS)
        self.process.stdout.close()
        self.manager.close()
        assert code == 0, f"{self.name} ended with {code}"

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def switches(self):
        """How often any thread of the process has slept of its own will."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/status")
        return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", task.read_text()).group(1)) for task in tasks)


@contextlib.contextmanager
def running(*agents):
    """Agents, each made by a function of its folder, all gone at the end."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as all_of_them:
        started = []
        for make in agents:
            agent = make(folder)
            all_of_them.callback(lambda agent=agent: agent.process.poll() is None and agent.kill())
            started.append(agent)
        yield started
        for agent in started:
            agent.stop()


def answer(program, *args, code=0):
    done = subprocess.run(program + list(args), capture_output=True, text=True, timeout=STEP_SECONDS)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def wait_until(what, truth):
    until = time.monotonic() + STEP_SECONDS
    while not truth():
        assert time.monotonic() < until, f"not within {STEP_SECONDS} s: {what}"
        time.sleep(0.05)
