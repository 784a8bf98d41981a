"""Stands where Mosquitto's test scripts expect its binary, and becomes our agent with the same settings.

What a script sets that has no counterpart here ends it with status 97 and a line in the file that
HOBNAIL_STAND_IN_REFUSALS names, so that the script is counted as not applicable, not as failed.
"""

import os
import pathlib
import sys
import tempfile

REFUSED = 97
# Settings that change nothing that a script of this suite looks at.
IGNORED = {
    "log_dest", "log_type", "log_timestamp", "connection_messages", "allow_anonymous", "persistence",
    "enable_control_api", "sys_interval", "user",
}
# The smallest packet limit that a topology takes.
PACKET_BYTES_MIN = 1024
# Ours, and how the value is written.
LIMITS = {
    "max_inflight_messages": ("inflight", int),
    "max_queued_messages": ("queue", int),
    "max_connections": ("connections", int),
    "global_max_connections": ("connections", int),
    "max_keepalive": ("keep_alive", lambda value: f"{value}s"),
    "max_packet_size": ("packet", lambda value: f"{value}B"),
    "max_queued_bytes": ("queue_bytes", lambda value: f"{value}B"),
}


def refuse(reason):
    with open(os.environ["HOBNAIL_STAND_IN_REFUSALS"], "a") as refusals:
        refusals.write(reason + "\n")
    sys.exit(REFUSED)


def settings(arguments):
    """The port, and the lines of the configuration file."""
    port, lines, rest = None, [], list(arguments)
    while rest:
        flag = rest.pop(0)
        if flag == "-p":
            port = int(rest.pop(0))
        elif flag == "-c":
            lines = pathlib.Path(rest.pop(0)).read_text(errors="replace").splitlines()
        elif flag != "-v":
            refuse(f"argument {flag}")
    return port, [line.split() for line in lines if line.strip() and not line.startswith("#")]


def main():
    port, lines = settings(sys.argv[1:])
    # Mosquitto's own default, which some scripts count on.
    limits, door, listeners, anonymous = {"inflight": 20}, "programs", 0, None
    unix = None
    for key, *values in lines:
        value = " ".join(values)
        if key in ("listener", "port") and len(values) > 1 and values[0] == "0":
            unix, listeners = values[1], listeners + 1
        elif key in ("listener", "port"):
            port, listeners = int(values[0]), listeners + 1
        elif key == "allow_anonymous":
            anonymous = value
        elif key == "protocol" and value == "websockets":
            door = "websocket"
        elif key == "max_packet_size" and int(value) < PACKET_BYTES_MIN:
            refuse(f"setting {key} of less than {PACKET_BYTES_MIN}")
        elif key in LIMITS:
            ours, write = LIMITS[key]
            limits[ours] = write(value)
        elif key not in IGNORED:
            refuse(f"setting {key}")
    if listeners > 1:
        refuse("several listeners")
    if anonymous == "false" or listeners and anonymous is None:
        refuse("setting allow_anonymous false")
    doors = f'unix: "{unix}"' if unix else f'{door}: "127.0.0.1:{port}"'
    if not doors.startswith("programs"):
        # There always is one; nobody is to find it where it usually is.
        doors += ', programs: "127.0.0.1:0"'
    # Where the runner cleans up.
    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(os.environ["HOBNAIL_STAND_IN_REFUSALS"]).parent))
    text = f"version: 1\nnetwork: solo\nbrokers:\n  solo: {{ host: localhost }}\ndoors: {{ {doors} }}\n"
    text += "limits: { " + ", ".join(f"{key}: {value}" for key, value in limits.items()) + " }\n"
    (folder / "solo.yaml").write_text(text)
    binary = os.environ["HOBNAIL_BINARY"]
    places = ["--control", str(folder / "control"), "--state", str(folder / "state")]
    os.execv(binary, [binary, "run", str(folder / "solo.yaml"), *places])


main()
