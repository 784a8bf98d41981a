#!/usr/bin/env python3
"""A package's whole life on a Debian system with systemd as its first process: installed, run, hurt, upgraded, purged.

usage: tests/service/life.py [--suite SUITE] [BINARY]
       tests/service/foreign.py arm64 tests/service/life.py --arch arm64 [--suite SUITE] BINARY

BINARY is target/debug/hobnail unless named. Needs root, and what tests/setup installs. The systems are made once, in
target/service. Under qemu, services get no users of their own and no credentials; all else is as it is.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from machine import Machine, missing_tools, root_folder

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TOPOLOGY = "/etc/hobnail/topology.yaml"
OURS = "amd64"
EXPOSURE_MAX = 1.5
SOON = 20
PRESS_DOOR = 'doors: { programs: "127.0.0.1:1884" }\n'


def at_1970(machine):
    """The time of day alone: what counts from boot goes on as it does."""
    libraries = machine.sh("echo /usr/lib/*-linux-gnu*")
    return (
        f"[Service]\nEnvironment=LD_PRELOAD={libraries}/faketime/libfaketime.so.1\n"
        'Environment="FAKETIME=@1970-01-01 00:01:00" DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n'
    )


def show(machine, name, unit="hobnail"):
    return machine.sh(f"systemctl show -p {name} --value {unit}")


def it_serves(machine, port=1883):
    where = f"-h 127.0.0.1 -p {port} -q 1 -t probe"
    subscriber = f"mosquitto_sub {where} -i sub -c"
    assert machine.sh(f"{subscriber} -E; mosquitto_pub {where} -m hello; {subscriber} -C 1 -W 10") == "hello"


def edit(machine, text):
    machine.run("tee", TOPOLOGY, text=text)


def installing_starts_a_service_that_only_this_machine_reaches(machine):
    machine.run("dpkg", "-i", "/mnt/first.deb")
    assert show(machine, "ActiveState") == "active"
    told = machine.sh("hobnail status --name solo")
    assert "solo" in told, told
    doctor = machine.sh("hobnail doctor")
    for line in ("fine  agent     it answers, and finds nothing wrong", "fine  service   solo in network solo"):
        assert line in doctor, doctor
    status = show(machine, "StatusText")
    assert status == "solo in network solo, programs at 127.0.0.1:1883; 0 connections", status
    listening = machine.sh("ss -Hltn | awk '{print $4}'")
    assert listening == "127.0.0.1:1883", listening
    it_serves(machine)
    memory = machine.sh(f"sed -n 's/^VmRSS:[^0-9]*//p' /proc/{show(machine, 'MainPID')}/status")
    print(f"  {memory} resident{' with qemu' if machine.foreign else ''}")


def the_service_is_a_user_of_its_own_in_a_tight_box(machine):
    pid = show(machine, "MainPID")
    assert machine.sh(f"ps -o user= -p {pid}") == "hobnail"
    assert "CapEff:\t0000000000000000" in machine.sh(f"cat /proc/{pid}/status")
    assert machine.sh("stat -c '%U %a' /var/lib/hobnail /etc/hobnail/keys") == "hobnail 750\nhobnail 700"
    units = "hobnail.service hobnail@one.service hobnail.socket"
    complaints = machine.run("sh", "-c", f"systemd-analyze verify {units} 2>&1").stdout
    assert complaints == "", complaints
    line = machine.sh("systemd-analyze security --no-pager hobnail.service | tail -n 1")
    exposure = float(re.search(r"(\d+\.\d+)", line).group(1))
    assert exposure <= EXPOSURE_MAX, line
    print(f"  exposure {exposure}")


def a_good_file_is_read_and_a_bad_one_changes_nothing(machine):
    pid, good = show(machine, "MainPID"), machine.sh(f"cat {TOPOLOGY}") + "\n"
    machine.run("systemctl", "reload", "hobnail")
    assert show(machine, "StatusText").endswith("; 0 connections")
    edit(machine, good + "limits: { connections: many }\n")
    refused = machine.run("systemctl", "reload", "hobnail", check=False)
    assert refused.returncode != 0, "a reload with a bad file must fail"
    log = machine.sh("journalctl -u hobnail -o cat -n 20")
    assert f"{TOPOLOGY}:8:" in log and "error[" in log, log
    # What only the running agent knows: that much is taken away, or that a door cannot be opened.
    for bad, says in (
        (good.replace("  solo:", "  other:"), "hobnail reload --confirm"),
        (good.replace("brokers:", 'doors: { programs: "10.9.9.9:1883" }\nbrokers:'), "10.9.9.9"),
    ):
        edit(machine, bad)
        refused = machine.run("systemctl", "reload", "hobnail", check=False)
        assert refused.returncode != 0, f"it stays as it was, so the reload has to fail:\n{bad}"
        log = machine.sh("journalctl -u hobnail -o cat -n 5")
        assert says in log, log
    assert (show(machine, "MainPID"), show(machine, "ActiveState")) == (pid, "active")
    it_serves(machine)
    edit(machine, good)
    machine.run("systemctl", "reload", "hobnail")


def a_start_with_a_bad_file_goes_by_the_last_good_one_or_waits_for_a_first(machine):
    good = machine.sh(f"cat {TOPOLOGY}") + "\n"
    for code, before in (("last-good-topology", "true"), ("safe-mode", "rm -r /var/lib/hobnail/*/*/topologies")):
        machine.sh(f"systemctl stop hobnail; {before}")
        edit(machine, "version: 1\n")
        machine.run("systemctl", "start", "hobnail")
        told = machine.sh("hobnail status || true")
        assert f"[{code}]" in told, told
        edit(machine, good)
        status = lambda: machine.sh("hobnail status || true")
        machine.wait_until("the mended file is in force", SOON, lambda: "all is well" in status())
        it_serves(machine)
        facts = [show(machine, name) for name in ("NRestarts", "ActiveState")]
        assert facts == ["0", "active"], facts


def killed_it_comes_back(machine):
    pid = show(machine, "MainPID")
    machine.run("kill", "-9", pid)
    machine.wait_until("another process is ready", SOON, lambda: restarted(machine, pid))
    it_serves(machine)


def frozen_it_is_ended_by_the_watchdog_and_comes_back(machine):
    machine.sh("mkdir -p /run/systemd/system/hobnail.service.d")
    machine.run("tee", "/run/systemd/system/hobnail.service.d/test.conf", text="[Service]\nWatchdogSec=2\n")
    machine.sh("systemctl daemon-reload; systemctl restart hobnail")
    pid = show(machine, "MainPID")
    time.sleep(4)  # two intervals: a loop that turns is left alone
    assert show(machine, "MainPID") == pid
    machine.run("kill", "-STOP", pid)
    machine.wait_until("another process is ready", SOON, lambda: restarted(machine, pid))
    log = machine.sh("journalctl -u hobnail -o cat -n 50")
    assert "Watchdog timeout" in log, log
    machine.sh("rm -r /run/systemd/system/hobnail.service.d; systemctl daemon-reload; systemctl restart hobnail")
    it_serves(machine)


def restarted(machine, pid):
    return show(machine, "ActiveState") == "active" and show(machine, "MainPID") not in ("0", pid)


def secrets_of_root_reach_it_as_credentials_and_its_own_at_once(machine):
    """A device's password: in a folder that only root can look into, and in one that is the agent's own."""
    good = machine.sh(f"cat {TOPOLOGY}") + "\n"
    machine.sh(
        "cd /etc/hobnail/keys; printf sesame | hobnail passwd --password-stdin plc.pw;"
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        " -addext subjectAltName=IP:127.0.0.1 -keyout door.key -out door.crt 2>/dev/null;"
        "cp door.crt /tmp/ca.crt; chmod 600 *"
    )
    owner = "root:root" if has_folders_of_credentials(machine) else "hobnail:hobnail"
    machine.sh(f"cd /etc/hobnail/keys; chown {owner} . *")
    doors = 'doors: { devices: { listen: "127.0.0.1:8884", cert: door.crt, cert_key: door.key } }\n'
    edit(machine, good + doors + "clients:\n  plc: { device: true, password_file: plc.pw }\n")
    # The folder is no longer the service's to look into.
    machine.sh("systemctl restart hobnail")
    assert "devices at 127.0.0.1:8884" in show(machine, "StatusText")

    def login(password):
        command = f"mosquitto_pub -h 127.0.0.1 -p 8884 --cafile /tmp/ca.crt -u plc -P {password} -q 1 -t a -m b"
        return machine.run("sh", "-c", command, check=False).returncode == 0

    assert login("sesame") and not login("open")
    machine.sh("cd /etc/hobnail/keys; chown hobnail:hobnail .; printf open | hobnail passwd --password-stdin plc.pw")
    assert machine.sh("stat -c %U /etc/hobnail/keys/plc.pw") == "hobnail", "written for whoever owns the folder"
    assert login("open") and not login("sesame"), "a changed password counts at once"
    edit(machine, good)
    machine.sh("rm /etc/hobnail/keys/*; systemctl restart hobnail")


def at_1970_without_names_or_a_network_it_starts_and_joins_once_the_name_is_there(machine):
    """Two machines of one network, sealed, on a computer with no interface but loopback. systemd itself never lets a
    clock stand before its own release, so the agents are told 1970 by libfaketime."""
    assert machine.sh("ip -br link | awk '{print $1}'") == "lo"
    good = machine.sh(f"cat {TOPOLOGY}") + "\n"
    text = "version: 1\nnetwork: plant\nbrokers:\n  hub: { host: hub.plant }\nclients:\n  press: {}\n"
    machine.run("tee", "/etc/hobnail/press.yaml", text=text.replace("brokers:", PRESS_DOOR + "brokers:"))
    edit(machine, text)
    machine.sh(
        "cd /etc/hobnail; hobnail key new --keys keys; mkdir press.keys; cp keys/* press.keys; chmod 600 press.keys/*;"
        "chown -R hobnail:hobnail keys press.keys; chmod 700 press.keys; echo HOBNAIL_NAME=hub >/etc/default/hobnail; echo HOBNAIL_NAME=press >/etc/default/hobnail-press"
    )
    for unit in ("hobnail", "hobnail@press"):
        machine.sh(f"mkdir -p /run/systemd/system/{unit}.service.d")
        machine.run("tee", f"/run/systemd/system/{unit}.service.d/test.conf", text=at_1970(machine))
    machine.sh("systemctl daemon-reload; systemctl restart hobnail; systemctl start hobnail@press")

    def press():
        asked = machine.run("hobnail", "status", "--name", "press", "--json", check=False)
        return json.loads(asked.stdout)

    it_serves(machine, 1884)
    assert press()["node"]["home"] is None and "no-home" in str(press()["health"]), press()
    machine.sh("echo 127.0.0.1 hub.plant >>/etc/hosts")
    machine.wait_until("press is at home", 60, lambda: press()["node"]["home"] == "hub")
    hears = "mosquitto_sub -h 127.0.0.1 -q 1 -t sealed -i away -c"
    machine.sh(f"{hears} -E")

    def heard():
        machine.sh("mosquitto_pub -h 127.0.0.1 -p 1884 -q 1 -t sealed -m 1970")
        return machine.run("sh", "-c", f"{hears} -C 1 -W 1", check=False).stdout == "1970\n"

    machine.wait_until("a sealed message arrives", SOON, heard)
    seen = {}

    def seen_online():
        seen.update(json.loads(machine.sh("mosquitto_sub -h 127.0.0.1 -t '$hobnail/nodes/press' -C 1 -W 10")))
        return seen["state"] == "online"

    machine.wait_until("the hub's programs see press", SOON, seen_online)
    assert seen["since_ms"] is None, f"a clock that is not set tells no time: {seen}"
    machine.sh(
        "systemctl stop hobnail@press; rm -r /run/systemd/system/hobnail*.service.d /etc/hobnail/press.*;"
        "rm /etc/hobnail/keys/* /etc/default/hobnail-press; echo >/etc/default/hobnail; systemctl daemon-reload"
    )
    edit(machine, good)
    machine.sh("systemctl restart hobnail")


def several_run_side_by_side(machine):
    text = "version: 1\nnetwork: second\ndoors: { programs: \"127.0.0.1:1884\" }\nbrokers:\n  b: { host: localhost }\n"
    machine.run("tee", "/etc/hobnail/second.yaml", text=text)
    machine.sh("mkdir -p /etc/hobnail/second.keys; systemctl start hobnail@second")
    it_serves(machine, 1884)
    it_serves(machine)
    machine.run("tee", "/etc/hobnail/second.yaml", text=text + "limits: { connections: many }\n")
    assert machine.run("systemctl", "reload", "hobnail@second", check=False).returncode != 0, "its file is bad"
    assert "/etc/hobnail/second.yaml:" in machine.sh("journalctl -u hobnail@second -o cat -n 20")
    machine.run("systemctl", "reload", "hobnail")
    machine.run("tee", "/etc/hobnail/second.yaml", text=text)
    machine.run("systemctl", "reload", "hobnail@second")
    machine.sh("systemctl stop hobnail@second; rm -r /etc/hobnail/second.*")
    assert machine.sh("ls -d /var/lib/hobnail-second") == "/var/lib/hobnail-second"


def an_upgrade_under_traffic_refuses_nobody_and_keeps_state(machine):
    machine.sh("touch /var/lib/hobnail/marker; echo '# mine' >>/etc/hobnail/topology.yaml")
    # The three commands that hobnail.socket names.
    machine.sh("systemctl stop hobnail; systemctl enable --now hobnail.socket; systemctl start hobnail")
    for package, version in (("second.deb", "0.9.9"), ("first.deb", None)):
        pid = show(machine, "MainPID")
        knocking = machine.start_on_its_network(sys.executable, str(HERE / "knock.py"))
        time.sleep(0.5)
        machine.run("dpkg", "-i", f"/mnt/{package}")
        machine.wait_until("the new program runs", SOON, lambda: restarted(machine, pid))
        time.sleep(0.5)
        counts = json.loads(knocking.communicate("\n", timeout=(SOON + 10) * machine.patience)[0])
        print(f"  {'up' if version else 'down'}grade: {counts}")
        assert counts["refused"] == 0 and counts["answered"] > 20, counts
        installed = machine.sh("dpkg-query -W -f '${Version}' hobnail")
        assert (installed == version) == (version is not None), installed
    kept = machine.sh("cd /var/lib/hobnail; ls -d marker solo; tail -n 1 /etc/hobnail/topology.yaml")
    assert kept == "marker\nsolo\n# mine", kept
    machine.sh("systemctl disable --now hobnail.socket; systemctl restart hobnail")


def removed_it_leaves_what_is_yours_and_purged_it_leaves_nothing(machine):
    machine.run("dpkg", "--remove", "hobnail")
    assert machine.sh("ss -Hltn") == ""
    assert machine.sh("tail -n 1 /etc/hobnail/topology.yaml; ls -d /var/lib/hobnail/marker") == "# mine\n/var/lib/hobnail/marker"
    machine.run("dpkg", "--purge", "hobnail")
    # What man-db remembers of pages that were looked at is its own; the packages lie in /mnt.
    elsewhere = " ".join(f"-not -path '{path}/*'" for path in ("/proc", "/sys", "/tmp", "/mnt", "/var/cache/man"))
    left = machine.sh(f"find / -xdev -name '*hobnail*' {elsewhere}")
    assert left == "", left
    machine.run("dpkg", "-i", "/mnt/first.deb")
    assert show(machine, "ActiveState") == "active"
    machine.run("dpkg", "--purge", "hobnail")


def the_tarball_installs_runs_and_goes(machine):
    machine.sh("cd /tmp; tar -xzf /mnt/first.tar.gz; cd hobnail-*; ./install.sh; ./install.sh")
    assert show(machine, "ActiveState") == "active"
    it_serves(machine)
    machine.sh("cd /tmp/hobnail-*; ./install.sh --remove")
    assert machine.sh("ss -Hltn; ls /etc/hobnail") == "keys\ntopology.yaml\ntopology.yaml.dist"
    assert machine.run("sh", "-c", "command -v hobnail", check=False).returncode != 0


def has_folders_of_credentials(machine):
    """Before version 250 systemd cannot hand over a folder, and the package asks it for none."""
    version = int(machine.sh("systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'"))
    return version >= 250 and not machine.foreign


LIFE = [
    installing_starts_a_service_that_only_this_machine_reaches,
    the_service_is_a_user_of_its_own_in_a_tight_box,
    a_good_file_is_read_and_a_bad_one_changes_nothing,
    a_start_with_a_bad_file_goes_by_the_last_good_one_or_waits_for_a_first,
    killed_it_comes_back,
    frozen_it_is_ended_by_the_watchdog_and_comes_back,
    secrets_of_root_reach_it_as_credentials_and_its_own_at_once,
    several_run_side_by_side,
    at_1970_without_names_or_a_network_it_starts_and_joins_once_the_name_is_there,
    an_upgrade_under_traffic_refuses_nobody_and_keeps_state,
    removed_it_leaves_what_is_yours_and_purged_it_leaves_nothing,
    the_tarball_installs_runs_and_goes,
]


def packages(binary, folder, arch):
    """The same program as two versions, one after the other."""
    named = folder / f"hobnail-{arch}"
    shutil.copy(binary, named)
    if arch == OURS:
        subprocess.run(["strip", str(named)], check=True)
    for name, more in (("first", []), ("second", ["--version", "0.9.9"])):
        made = folder / name
        made.mkdir()
        shutil.copy(named, made)
        subprocess.run([REPOSITORY / "cross/package", "--out", made, *more, arch], check=True, capture_output=True)
        next(made.glob("*.deb")).rename(folder / f"{name}.deb")
        next(made.glob("*.tar.gz")).rename(folder / f"{name}.tar.gz")


def lintian_has_no_errors(folder):
    lint = ["lintian", "--allow-root", "--fail-on", "error", str(folder / "first.deb")]
    done = subprocess.run(lint, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def copied(root, scratch):
    copy = scratch / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", str(root), str(copy)], check=True)
    return copy


def main():
    parser = argparse.ArgumentParser(description="a package's whole life under systemd")
    parser.add_argument("binary", nargs="?", default=REPOSITORY / "target/debug/hobnail", type=pathlib.Path)
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--arch", default=OURS)
    args = parser.parse_args()
    if missing := missing_tools():
        sys.exit(f"missing here: {', '.join(missing)}; run tests/setup")
    root = root_folder(REPOSITORY / "target/service", args.suite, args.arch)
    with tempfile.TemporaryDirectory(prefix="hobnail-service-") as scratch:
        scratch = pathlib.Path(scratch)
        scratch.chmod(0o755)
        folder = scratch / "packages"
        folder.mkdir()
        packages(args.binary.resolve(), folder, args.arch)
        lintian_has_no_errors(folder)
        foreign = args.arch != OURS
        if foreign:
            root = copied(root, scratch)
        machine = Machine(root, folder, foreign)
        try:
            for step in LIFE:
                began = time.monotonic()
                print(step.__name__.replace("_", " "), flush=True)
                try:
                    step(machine)
                except AssertionError:
                    print(machine.run("journalctl", "-n", "30", "-o", "short-monotonic", check=False).stdout)
                    raise
                print(f"  {time.monotonic() - began:.1f} s", flush=True)
        finally:
            machine.stop()


main()
