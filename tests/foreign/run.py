#!/usr/bin/env python3
"""Binaries for other processors, under qemu-user, with this computer's own as the other side of every conversation.

usage: tests/foreign/run.py [FOLDER] [NAME...]

FOLDER holds what cross/build made (target/dist); each NAME is arm64, armv7 or armv6, without one all that are there.
"""

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time

from agent import OURS, REPOSITORY, SOLO, Agent, answer, running, wait_until

# The processor of a Pi Zero stops at an instruction of any later one.
QEMU = {
    "arm64": ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"],
    "armv7": ["qemu-arm-static", "-L", "/usr/arm-linux-gnueabihf"],
    "armv6": ["qemu-arm-static", "-cpu", "arm1176"],
}
ARCH = {"arm64": "aarch64", "armv7": "arm", "armv6": "arm"}
# What nothing here may count: a payload that was not opened, not believed, not let through.
NEVER = ("unsealed", "unknown_key", "unopened", "forged", "malformed", "refused_rights", "link_faults", "gaps")


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


def talk(here, there, publisher, subscriber):
    """Ten messages at QoS 1 and ten at QoS 2, from a program at one agent to one that was away at the other."""
    for qos in ("1", "2"):
        session = ["-p", there.port, "-q", qos, "-i", f"s{qos}", "-c", "-t", "a/#"]
        answer(subscriber, "sub", *session, "-E")
        if here is not there:
            await_path(here, there)
        for number in range(10):
            answer(publisher, "pub", "-p", here.port, "-q", qos, "-t", f"a/{qos}", "-m", f"é {number}")
        heard = answer(subscriber, "sub", *session, "-C", "10", "-W", "30")
        assert heard == "".join(f"é {number}\n" for number in range(10)), heard


def await_path(here, there):
    """Until a message gets from the one to the other; so does then what else is wanted there."""
    topic = f"path/{time.monotonic_ns()}"
    ears = subprocess.Popen(OURS + ["sub", "-p", there.port, "-t", topic, "-C", "1"], stdout=subprocess.DEVNULL)
    try:

        def heard():
            answer(OURS, "pub", "-p", here.port, "-t", topic, "-m", "x")
            return ears.poll() is not None

        wait_until(f"a message gets from {here.name} to {there.name}", heard)
    finally:
        ears.kill()
        ears.wait()


def its_agent_serves_our_programs_and_ours_serves_its(program, _):
    for server, publisher, subscriber in ((program, OURS, OURS), (OURS, program, OURS), (OURS, OURS, program)):
        with running(lambda folder: Agent(server, folder)) as (agent,):
            talk(agent, agent, publisher, subscriber)


def it_reloads_is_killed_and_comes_back(program, _):
    with running(lambda folder: Agent(program, folder)) as (agent,):
        assert "not reloaded" in agent.reload("version: 1\n")
        assert "not reloaded" not in agent.reload(SOLO)
        agent.kill()
        agent.start()
        talk(agent, agent, OURS, OURS)


def free_port():
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        return held.getsockname()[1]


def network(hub, press):
    """The functions that start the two machines of one network, each a program of its own."""
    text = (
        "version: 1\nnetwork: test\nheartbeat: { every: 500ms, miss: 6 }\nkeys: { active: k1 }\n"
        'doors: { programs: "127.0.0.1:0" }\n'
        f"brokers:\n  hub: {{ host: 127.0.0.1, doors: {{ agents: {free_port()} }} }}\nclients:\n  press: {{}}\n"
    )

    def start_hub(folder):
        # Whoever makes it, the other reads it.
        answer(press, "key", "new", "k1", "--keys", folder)
        return Agent(hub, folder, "hub", text)

    return start_hub, lambda folder: Agent(press, folder, "press", text)


def its_agent_and_ours_share_a_network_through_a_sealed_link(program, _):
    for one, other in ((OURS, program), (program, OURS)):
        with running(*network(one, other)) as (hub, press):
            wait_until("press is at home", lambda: press.status()["node"]["home"] == "hub")
            talk(press, hub, OURS, OURS)
            talk(hub, press, OURS, OURS)
            foreign = press if other is program else hub
            assert "not reloaded" in foreign.reload("version: 1\n")
            assert "not reloaded" not in foreign.reload((hub if foreign is press else press).file.read_text())
            foreign.kill()
            foreign.start()
            wait_until("press is at home again", lambda: press.status()["node"]["home"] == "hub")
            talk(press, hub, OURS, OURS)
            talk(hub, press, OURS, OURS)
            for agent in (hub, press):
                counted = agent.status()["node"]["counters"]
                assert counted["delivered"] >= 20, counted
                assert not any(counted[name] for name in NEVER), counted
            print(f"  {foreign.memory():.1f} MiB with qemu, as {foreign.name} of a network")


def it_needs_little(program, _):
    """Memory under qemu holds qemu's own too, so this is told and not judged; waking up is counted by the kernel, once the
    agent no longer looks whether it is well under a topology that is new to it."""
    with running(lambda folder: Agent(program, folder)) as (agent,):
        time.sleep(12)
        before, began = agent.switches(), time.monotonic()
        time.sleep(5)
        per_second = (agent.switches() - before) / (time.monotonic() - began)
        print(f"  {agent.memory():.1f} MiB with qemu, {per_second:.1f} wake-ups a second when idle")
        assert per_second < 5


CLAIMS = [
    it_is_what_it_is_called,
    it_checks_topologies_as_we_do,
    its_agent_serves_our_programs_and_ours_serves_its,
    it_reloads_is_killed_and_comes_back,
    its_agent_and_ours_share_a_network_through_a_sealed_link,
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
