"""Runs Mosquitto's own broker scripts from a checkout of eclipse-mosquitto/mosquitto, with our agent in its place.

Usage: mosquitto.py [--stand-in] CHECKOUT [SCRIPT...]

Scripts that need what is Mosquitto's alone (its plugins, bridges, configuration language, control interfaces) are
listed as not applicable with the reason. Those that end otherwise than with Mosquitto for a reason that tests/INTEROP.md
states are told apart from failures. Prints a line a script.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from servers import ROOT, free_port

AT_ONCE = 4
# Not one script but many sequences of packets, which have a runner of their own.
SEQUENCES = "msg_sequence_test.py"
# With psutil, which some scripts need; tests/setup installs it there.
PYTHON = next((str(path) for path in [ROOT / "target/venv/bin/python"] if path.exists()), sys.executable)
SCRIPT_SECONDS = 120
# How many ports each script is to be given, as its own list says.
PORTS = re.compile(r"^\s*\((\d+), '\./([^']+)'", re.MULTILINE)
# Scripts that end otherwise than with Mosquitto, with the reason, as rows of a table.
DIFFERENCES = re.compile(r"^\| `([^`]+\.py)` \| (.+) \|$", re.MULTILINE)
# Groups of scripts that are about something that is not MQTT, by the beginning of their names.
NOT_MQTT = {
    "01-plugin": "Mosquitto's plugins",
    "06-": "Mosquitto's bridges",
    "08-": "Mosquitto's TLS settings; ours are tested in tests/doors.rs",
    "09-": "Mosquitto's plugins, password and access files",
    "11-persist": "Mosquitto's persistence",
    "13-websocket": "Mosquitto's WebSocket settings",
    "14-": "Mosquitto's dynamic security plugin",
    "15-": "Mosquitto's persistence plugins",
    "16-": "Mosquitto's command line and configuration files",
    "17-": "Mosquitto's control interface",
    "20-": "Mosquitto's Sparkplug plugin",
    "21-": "the PROXY protocol",
    "22-": "Mosquitto's HTTP interface",
    "23-": "Mosquitto's password and access files",
}


def lay_out(work, checkout, stand_in):
    """A copy of the scripts, which write beside themselves, where Mosquitto's build would be, with ours in its place."""
    shutil.copytree(checkout / "test", work / "test")
    for folder in ("src", "client"):
        (work / folder).mkdir()
    broker = work / "src/mosquitto"
    if stand_in:
        broker.symlink_to("/usr/sbin/mosquitto")
    else:
        broker.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/interop/mosquitto_stand_in.py "$@"\n')
        broker.chmod(0o755)
    shutil.copy(ROOT / "tests/interop/mosquitto_allowances.py", work / "test")
    with open(work / "test/mosq_test.py", "a") as mosq_test:
        mosq_test.write("\nimport mosquitto_allowances\nmosquitto_allowances.install(sys.modules[__name__])\n")
    for tool in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
        (work / "client" / tool).symlink_to(f"/usr/bin/{tool}")


def run_one(work, script, ports):
    for beginning, about in NOT_MQTT.items():
        if script.startswith(beginning):
            return "n/a", f"about {about}", ""
    folder, refusals, allowances = work / "test/broker", work / f"{script}.refused", work / f"{script}.allowed"
    env = dict(os.environ, BUILD_ROOT=str(work), HOBNAIL_STAND_IN_REFUSALS=str(refusals), HOBNAIL_LOG="error",
               HOBNAIL_ALLOWANCES=str(allowances),
               HOBNAIL_BINARY=os.environ.get("HOBNAIL_BINARY", str(ROOT / "target/debug/hobnail")))
    command = [PYTHON, script, *map(str, ports)]
    if script == SEQUENCES:
        command = [PYTHON, str(ROOT / "tests/interop/mosquitto_sequences.py"), str(folder)]
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as child:
        try:
            said, _ = child.communicate(timeout=SCRIPT_SECONDS)
            passed = child.returncode == 0
        except subprocess.TimeoutExpired:
            passed, said = False, f"still running after {SCRIPT_SECONDS} s".encode()
        finally:
            # The script and whatever it started and left behind.
            try:
                os.killpg(child.pid, 9)
            except ProcessLookupError:
                pass
    if refusals.exists():
        return "n/a", f"needs {refusals.read_text().splitlines()[0]}", ""
    allowed = sorted(set(allowances.read_text().splitlines())) if allowances.exists() else []
    return ("pass" if passed else "FAIL"), "; ".join(allowed), said.decode(errors="replace")


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--stand-in"]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        lay_out(work, pathlib.Path(args[0]), "--stand-in" in sys.argv)
        listed = dict((name, int(count)) for count, name in PORTS.findall((work / "test/broker/test.py").read_text()))
        scripts = sorted(name for name in listed if not args[1:] or name in args[1:])
        assert scripts, "no scripts found"
        ports = [[free_port() for _ in range(listed[script])] for script in scripts]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(lambda one: run_one(work, *one), zip(scripts, ports)))
        known = dict(DIFFERENCES.findall((ROOT / "tests/INTEROP.md").read_text()))
        for at, (script, (verdict, _, said)) in enumerate(zip(scripts, results)):
            if verdict == "FAIL" and script in known:
                results[at] = "ours", known[script], said
            elif verdict == "FAIL":
                # Some wait only a tenth of a second for their broker: once more, alone.
                results[at] = run_one(work, script, ports[at])
    for script, (verdict, reason, said) in zip(scripts, results):
        print(f"{verdict:4}  {script}  {reason}".rstrip())
        if verdict == "FAIL" or script == SEQUENCES:
            print("      " + "\n      ".join(said.strip().splitlines()[-14:]))
    counts = collections.Counter(verdict for verdict, _, _ in results)
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    sys.exit(counts["FAIL"] > 0)


main()
