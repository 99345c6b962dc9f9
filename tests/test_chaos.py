"""A short chaos run. `make chaos` plays a long one."""

import subprocess
import sys

from tests.services import Missing, do_without, postgres_program, program
from tests.site import ROOT

SECONDS = 15
END_TIMEOUT = 240


def test_every_client_sees_each_message_once_and_in_order() -> None:
    try:
        program("redis-server")
        postgres_program("postgres")
    except Missing as missing:
        do_without(str(missing))
    world = ("--seconds", str(SECONDS), "--seed", "25", "--clients", "60", "--rate", "80")
    command = [sys.executable, "-W", "error", "-m", "chaos", *world]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            told, _ = run.communicate(timeout=END_TIMEOUT)
        except BaseException:
            run.terminate()  # it ends its servers, too
            raise
    print(told)
    assert run.returncode == 0, told
