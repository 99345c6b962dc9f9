"""`python -m chaos`: one run, its report, and exit status 1 where something was lost."""

import argparse
import asyncio
import random
import shutil
import signal
import sys

from chaos.fleet import Fleet, World
from chaos.pages import chromium
from chaos.report import tell, write_logs
from chaos.run import Run
from tests.services import Missing


def world_of(arguments: list[str]) -> tuple[World, bool]:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long faults are injected (300)")
    parser.add_argument("--seed", default=str(random.randrange(10**6)), help="repeats a run (default: a new one)")
    parser.add_argument("--clients", type=int, default=150, help="how many (150)")
    parser.add_argument("--rate", type=float, default=120, help="messages a second (120)")
    parser.add_argument("--pages", type=int, default=2, help="in Chromium, where there is one (2)")
    parser.add_argument(
        "--layer", choices=("pubsub", "core", "none"), default="pubsub", help="of channels_redis (pubsub)"
    )
    parser.add_argument("--tutorial", action="store_true", help="try the Channels tutorial's consumer instead")
    parser.add_argument("--keep", action="store_true", help="keep the logs also if all is well")
    options = vars(parser.parse_args(arguments))
    keep = options.pop("keep")
    is_tutorial = options.pop("tutorial")
    if is_tutorial:
        options["pages"] = 0
    return World(is_tutorial=is_tutorial, **options), keep


async def played(world: World, fleet: Fleet) -> bool:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.to_thread(fleet.start)
    run = Run(world, fleet)
    try:
        await run.play()
        return tell(run)
    finally:
        write_logs(fleet.directory, run.clients, run.ledger)


def main() -> int:
    world, keep = world_of(sys.argv[1:])
    fleet = Fleet(world)
    is_well = False
    if world.pages and not chromium():
        print("Without pages: they need Chromium on the PATH, and playwright")
    layer = f"Redis ({world.layer})" if world.layer != "none" else "no layer"
    print(f"Chaos, seed {world.seed}: {world.seconds:g} s, {world.clients} clients, {layer}, PostgreSQL")
    try:
        is_well = asyncio.run(played(world, fleet))
    except Missing as missing:
        print(missing)
        is_well = keep = False
        shutil.rmtree(fleet.directory)
        return 2
    finally:
        fleet.end()
        if is_well and not keep:
            shutil.rmtree(fleet.directory)
        elif fleet.directory.exists():
            print(f"Logs of clients and servers: {fleet.directory}")
        tutorial = " --tutorial" if world.is_tutorial else ""
        print(
            f"To repeat: python -m chaos --seconds {world.seconds:g} --seed {world.seed} "
            f"--clients {world.clients} --rate {world.rate:g} --pages {world.pages} --layer {world.layer}{tutorial}"
        )
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
