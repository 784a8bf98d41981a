"""Runs the Eclipse Paho interoperability suites from a checkout of eclipse-paho/paho.mqtt.testing.

Usage: paho.py [--stand-in] CHECKOUT [TEST...]

Each test runs by itself against a fresh broker, so that none inherits what another left behind. The suites presuppose
a broker that asks for a keep alive of 60 seconds and refuses to subscribe anybody to test/nosubscribe.
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys

from servers import Server

TEST_SECONDS = 90
AT_ONCE = 4
LIMITS = "limits: { keep_alive: 60s }"
# Rights here are lists of what is allowed, so only this test runs with any.
RIGHTS = {"test_subscribe_failure": ', publish: ["#"], subscribe: ["TopicA", "client_test5/#"]'}

# Tests that contradict the standard: what they then say, the section, and our answer.
AGAINST_THE_STANDARD = {
    "test_subscribe_failure": (
        "return code in QoS must be 0, 1, 2 or 0x80",
        "0x87, not authorized, is a code of SUBACK in MQTT 5, 3.9.3; the suite's client knows only those of 3.1.1",
    ),
}
# The suites set these only when they are the main program, and then 3.1.1 refuses to be given a port.
RUN_ONE = """
import sys, unittest
sys.path.insert(0, ".")
import {module} as suite
suite.host, suite.port, suite.topic_prefix = "127.0.0.1", {port}, "{prefix}"
suite.topics = ["{prefix}" + t for t in ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")]
suite.wildtopics = ["{prefix}" + t for t in ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")]
suite.nosubscribe_topics = ("test/nosubscribe",)
loaded = unittest.defaultTestLoader.loadTestsFromName("Test.{test}", suite)
sys.exit(not unittest.TextTestRunner().run(loaded).wasSuccessful())
"""


def run_one(folder, module, test, stand_in):
    prefix = "client_test5/" if module == "client_test5" else ""
    with Server(stand_in, LIMITS if module == "client_test5" else "", RIGHTS.get(test, "")) as server:
        program = RUN_ONE.format(module=module, port=server.port, prefix=prefix, test=test)
        try:
            done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=folder, timeout=TEST_SECONDS,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            passed, said = done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired as late:
            passed, said = False, (late.stdout or b"").decode(errors="replace") + f"\nstill running after {TEST_SECONDS} s"
        if not server.alive():
            passed, said = False, said + "\nthe server is gone"
    contradiction, why = AGAINST_THE_STANDARD.get(test, (None, ""))
    if not passed and contradiction and contradiction in said:
        return "ours", why
    return ("pass" if passed else "FAIL"), said


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--stand-in"]
    stand_in = "--stand-in" in sys.argv
    folder = pathlib.Path(args[0]) / "interoperability"
    work = []
    for module in ("client_test", "client_test5"):
        tests = re.findall(r"^    def (test\w*)\(self", (folder / f"{module}.py").read_text(), re.MULTILINE)
        tests += re.findall(r"^  def (test\w*)\(self", (folder / f"{module}.py").read_text(), re.MULTILINE)
        if module == "client_test":
            tests.append("will_message_test")  # unittest does not take it for a test by its name
        assert tests, f"no tests found in {module}.py"
        work += [(module, test) for test in tests if not args[1:] or test in args[1:]]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda one: run_one(folder, *one, stand_in), work))
    for (module, test), (verdict, said) in zip(work, results):
        print(f"{verdict}  {module:13} {test}" + (f"  {said}" if verdict == "ours" else ""))
        if verdict == "FAIL":
            print("      " + "\n      ".join(said.strip().splitlines()[-12:]))
    for module in ("client_test", "client_test5"):
        own = [verdict for (name, _), (verdict, _) in zip(work, results) if name == module]
        print(f"{module}: {own.count('pass')} of {len(own)} pass, {own.count('ours')} contradict the standard")
    sys.exit(any(verdict == "FAIL" for verdict, _ in results))


main()
