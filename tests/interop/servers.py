"""Starts a broker for an interoperability suite: our agent, or Mosquitto to show what the suite makes of another."""

import pathlib
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Server:
    """A fresh broker on a free port, for use in a `with`."""

    def __init__(self, stand_in=False, limits="", rights="", binary=None):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        if stand_in:
            (folder / "conf").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_keepalive 60\n")
            command = ["/usr/sbin/mosquitto", "-c", folder / "conf"]
        else:
            (folder / "solo.yaml").write_text(
                f"version: 1\nnetwork: solo\nbrokers:\n  solo: {{ host: localhost{rights} }}\n"
                f'doors: {{ programs: "127.0.0.1:{self.port}" }}\n{limits}\n'
            )
            places = ["--control", folder / "control", "--state", folder / "state"]
            command = [binary or ROOT / "target/debug/hobnail", "run", folder / "solo.yaml", *places]
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def __enter__(self):
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError("the server does not open its door") from None
                time.sleep(0.02)

    def alive(self):
        return self.process.poll() is None

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()
