"""Runs that are killed again and again lose nothing: their losses are those of a run left alone."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from captioner.train.checkpoints import BEFORE, LAST, read_checkpoint, verify_checkpoint
from eval.proofs.runs import (
    PARTING,
    SAVE_EVERY,
    TOLERANCE,
    TrainingRuns,
    exit_codes,
    logged_losses,
    logged_seconds,
    loss_distance,
    newest_step,
    wait_for_step,
)

EARLY = 0.2  # share of the kills that may fall before the first step


@dataclass
class Moments:
    """How many kills, and the chance that says when, whom, and how the run goes on."""

    kills: int
    chance: random.Random
    sizes: Sequence[int]
    engines: Sequence[str]
    chain: int = 5
    """Kills of one run before it may come to its end."""
    span: float = 0.0
    """Seconds of two steps, checkpoints included: within them a kill falls, after a step of chance."""


@dataclass
class KillTally:
    """What happened."""

    kills: int = 0
    writing: int = 0
    """Kills that fell into the writing of a checkpoint."""
    worst: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    """Greatest difference of the losses, with the number of processes kept and changed."""
    faults: list[str] = field(default_factory=list)


def prove_kills(runs: TrainingRuns, moments: Moments) -> int:
    """TrainingRuns that are killed again and again, against one that was left alone."""
    alone = runs.whole("plain-2", 2)
    if loss_distance(runs.whole("alone-again", 2), alone) != 0.0:
        print("two runs of 2 processes that were left alone differ: nothing can be proved on this machine")
        return 1
    spent = logged_seconds(runs.folder("alone-again"))
    moments.span = 2 * spent / runs.steps
    print(
        f"left alone, twice: {runs.steps} steps in 2 processes, the same bits; {spent:.0f} s without the start",
        flush=True,
    )
    tally, number = KillTally(), 0
    while tally.kills < moments.kills:
        number += 1
        same = number % 2 == 1
        victim = Victim(runs, f"run{number}", same, moments, tally)
        found = victim.live(min(moments.chain, moments.kills - tally.kills))
        far = loss_distance(found, alone)
        tally.worst[same] = max(tally.worst[same], far)
        print(f"  run {number} came to its end: losses {far:.1e} from those of the run left alone", flush=True)
    wrong = list(tally.faults)
    if tally.worst[True] > 0:
        wrong.append("in as many processes the losses are not the same bits")
    if tally.worst[False] > TOLERANCE:
        wrong.append(f"in other numbers of processes the losses differ by more than {TOLERANCE:.0e}")
    print(
        f"{tally.kills} kills, {tally.writing} in the middle of a checkpoint; losses differ by {tally.worst[True]:.1e} "
        f"in as many processes, {tally.worst[False]:.1e} in others; "
        + ("; ".join(wrong) or "nothing lost, no corrupt file")
    )
    return int(bool(wrong))


@dataclass
class Victim:
    """A run that is killed and goes on."""

    runs: TrainingRuns
    name: str
    same: bool
    """Always 2 processes of torch alone."""
    moments: Moments
    tally: KillTally

    def live(self, kills: int) -> dict[int, list[float]]:
        """Kill it so many times, or until it is through; its losses at the end."""
        for _ in range(kills):
            if not self.killed_once():
                break
        size, engine = self.choose()
        return self.runs.whole(self.name, size, engine)

    def choose(self) -> tuple[int, str]:
        """Processes and engine of the next start."""
        chance = self.moments.chance
        return (2, "plain") if self.same else (chance.choice(self.moments.sizes), chance.choice(self.moments.engines))

    def killed_once(self) -> bool:
        """Start, kill, look at what is there; False when it came to its end before."""
        chance, folder = self.moments.chance, self.runs.folder(self.name)
        size, engine = self.choose()
        before = newest_step(folder)
        processes = self.runs.start(self.name, size, engine)
        if chance.random() > EARLY:
            wait_for_step(folder, processes, before + chance.randint(1, 3 * SAVE_EVERY))
        time.sleep(chance.uniform(0, self.moments.span))
        if all(process.exitcode == 0 for process in processes):
            return False
        victims = processes if chance.random() < 0.5 else [chance.choice(processes)]
        for process in victims:
            process.kill()
        writing = any(folder.glob(".*.writing"))
        seen = max(logged_losses(folder), default=0)
        gone = time.monotonic()
        codes = exit_codes(processes, PARTING)
        self.tally.kills += 1
        self.tally.writing += writing
        after = self.judge(seen, codes)
        whom = "all" if victims is processes else f"process {processes.index(victims[0]) + 1}"
        where = ", writing a checkpoint" if writing else ""
        rest = "" if victims is processes else f", the others ended {time.monotonic() - gone:.1f} s later"
        print(
            f"  kill {self.tally.kills}: {whom} of {size} ({engine}), started at step {before}, killed at {seen}{where}"
            f"{rest}; goes on from {after}",
            flush=True,
        )
        return True

    def judge(self, seen: int, codes: Sequence[int | None]) -> int:
        """The step that the run will go on from; what is wrong is noted."""
        folder = self.runs.folder(self.name)
        if None in codes:
            self.tally.faults.append(f"{self.name}: a process hung on after another was killed")
        for name in (LAST, BEFORE, "best"):
            if (folder / name / "trainer.json").exists():
                verify_checkpoint(read_checkpoint(folder / name))  # raises what is corrupt
        found = newest_step(folder)
        if found < (seen - 1) // SAVE_EVERY * SAVE_EVERY:
            self.tally.faults.append(f"{self.name}: step {seen} was done, but the newest checkpoint is of {found}")
        return found
