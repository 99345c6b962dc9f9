"""`python -m abuse`: one run, its report, and exit status 1 where an honest client was hurt or the server failed."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
from pathlib import Path

from abuse.attacks import ATTACKS
from abuse.house import House
from abuse.report import tell
from abuse.run import Run, World
from bench.crowd import allow_files
from tests.services import Missing, Postgres, services_directory


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m abuse", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long the abuse lasts (120)")
    parser.add_argument("--quiet", type=float, help="how long the time before it lasts (as long)")
    parser.add_argument("--frames", type=int, default=0, help="goes on until so many frames and requests came instead")
    parser.add_argument("--seed", default=str(random.randrange(10**6)), help="repeats a run (default: a new one)")
    parser.add_argument("--attacks", default="", help="some of them, with commas: " + ", ".join(ATTACKS))
    parser.add_argument("--at-once", type=int, default=3, help="attacks of a wave (3)")
    parser.add_argument("--wave", type=float, default=7.5, help="seconds of a wave (7.5)")
    parser.add_argument("--clients", type=int, default=50, help="honest ones (50)")
    parser.add_argument("--rate", type=float, default=2, help="honest messages a second (2)")
    parser.add_argument("--outage", type=float, default=5, help="seconds without a database at the end (5)")
    parser.add_argument("--postgresql", action="store_true", help="instead of SQLite")
    parser.add_argument("--keep", action="store_true", help="keep the log also if all is well")
    return parser.parse_args(arguments)


def world_of(options: argparse.Namespace) -> World:
    names = [name.strip() for name in options.attacks.split(",") if name.strip()] or list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        raise SystemExit(f"There are no such attacks: {', '.join(sorted(unknown))}. There are: {', '.join(ATTACKS)}")
    quiet = options.seconds if options.quiet is None else options.quiet
    return World(
        seed=options.seed,
        seconds=options.seconds,
        quiet=quiet,
        frames=options.frames,
        attacks=names,
        at_once=options.at_once,
        wave=min(options.wave, options.seconds),
        clients=options.clients,
        rate=options.rate,
        outage=options.outage,
    )


async def played(run: Run) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run.play()


def tried(world: World, directory: Path, postgres: Postgres | None) -> bool:
    if postgres is not None:
        postgres.start()
    house = House(directory, postgres)
    try:
        run = Run(world, house, house.open())
        asyncio.run(played(run))
        return tell(run, house.rows())
    finally:
        house.end()
        if postgres is not None:
            postgres.kill()


def main() -> int:
    options = parsed(sys.argv[1:])
    world = world_of(options)
    allow_files()
    directory = services_directory()
    until = f"{world.frames:,} frames" if world.frames else f"{world.seconds:g} s"
    print(f"Abuse, seed {world.seed}: {until}, {len(world.attacks)} attacks, {world.clients} honest clients\n")
    is_well = False
    try:
        is_well = tried(world, directory, Postgres(directory) if options.postgresql else None)
    except Missing as missing:
        print(missing)
        return 2
    finally:
        if is_well and not options.keep:
            shutil.rmtree(directory)
        else:
            print(f"The server's log: {directory}")
    print("To repeat: python -m abuse " + " ".join(f"'{word}'" if " " in word else word for word in repeating(world)))
    return 0 if is_well else 1


def repeating(world: World) -> list[str]:
    words = [f"--seed={world.seed}", f"--seconds={world.seconds:g}", f"--at-once={world.at_once}"]
    words += [f"--wave={world.wave:g}", f"--clients={world.clients}", f"--rate={world.rate:g}"]
    words += [f"--frames={world.frames}"] if world.frames else []
    return words + ([f"--attacks={','.join(world.attacks)}"] if len(world.attacks) < len(ATTACKS) else [])


if __name__ == "__main__":
    sys.exit(main())
