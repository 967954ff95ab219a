"""Every order in which a few programs can take their steps: a small model checker that runs the real code.

Each program is a function in a thread of its own. It stops before every step that others can see (`Turn.take`), and the explorer decides
who goes on: depth first through all choices, until every reachable state was seen. A state is what is shared and what each program has seen
so far, since programs depend on nothing else; so a state that was reached before need not be gone through again.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any


class Killed(BaseException):
    """The program was killed: what it still does has no effect."""


class Turn:
    """One program's side of the explorer."""

    def __init__(self, name: str, after: str = "") -> None:
        self.name = name
        self.after = after
        self.killed = self.ended = False
        self.seen: Hashable = ()
        self.outcome: Any = None
        self._go = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)

    def take(self, label: str, act: Callable[[], Any], remembered: Callable[[Any], Hashable] = repr) -> Any:
        """Do something that others can see, when it is this program's turn; remembers what came of it."""
        self._wait()
        try:
            result = act()
        except Exception as error:
            self.seen = hash((self.seen, label, repr(error)))
            raise
        self.seen = hash((self.seen, label, remembered(result)))
        return result

    def _wait(self) -> None:
        if self.killed:
            raise Killed
        self._stopped.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def run(self, program: Callable[[], Any]) -> None:
        """The thread's body."""
        try:
            self._wait()
            self.seen = "begun"
            self.outcome = program()
        except Killed:
            pass
        except Exception as error:
            self.outcome = error
        self.ended = True
        self._stopped.release()

    def go(self) -> None:
        """Let it take its step, and wait until it stands before the next or has ended."""
        self._go.release()
        self._stopped.acquire()

    def until_first(self) -> None:
        """Wait until it stands before its first step."""
        self._stopped.acquire()


@dataclass
class Scene:
    """A world with its programs, at the beginning."""

    world: Any
    programs: dict[str, Callable[[], Any]]
    after: dict[str, str] = field(default_factory=dict)
    """Programs that begin only when another one was killed: its retry."""
    kills: int = 0
    """How many programs may be killed."""
    events: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What may happen once at any time, such as a lease running out."""
    pauses: int | None = None
    """How often a program that could go on may be paused for another one; None for as often as one likes, which is every order there is."""


@dataclass
class Explored:
    """What was gone through."""

    states: int = 0
    ends: int = 0
    outcomes: set[tuple[tuple[str, str], ...]] = field(default_factory=set)


class ViolationError(AssertionError):
    """An invariant does not hold."""


def explore(
    begin: Callable[[Callable[[str], Turn]], Scene],
    always: Callable[[Scene], str | None],
    finally_: Callable[[Scene, dict[str, Any]], str | None],
) -> Explored:
    """Go through all interleavings.

    Args:
        begin: Makes the scene anew; asks for a program's `Turn` by its name.
        always: What is wrong with a state, None for nothing.
        finally_: The same when all programs have ended; with their outcomes.

    Raises:
        ViolationError: An invariant does not hold; the message has the schedule that breaks it.
    """
    explored = Explored()
    visited: dict[Hashable, int] = {}
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        schedule = waiting.pop()
        for state, pauses, taken, choices, end in _play(begin, schedule, always):
            if visited.get(state, pauses + 1) <= pauses:
                break
            explored.states += state not in visited
            visited[state] = pauses
            if end is not None:
                wrong = finally_(*end)
                if wrong:
                    raise ViolationError(f"{wrong}; after {' '.join(taken)}")
                explored.ends += 1
                explored.outcomes.add(tuple((name, _told(outcome)) for name, outcome in sorted(end[1].items())))
                break
            waiting += [(*taken, choice) for choice in choices[1:]]
    return explored


def _told(outcome: Any) -> str:
    return type(outcome).__name__ if isinstance(outcome, Exception) else str(outcome)


def _play(
    begin: Callable[[Callable[[str], Turn]], Scene], schedule: tuple[str, ...], always: Callable[[Scene], str | None]
) -> Iterator[tuple[Hashable, int, tuple[str, ...], list[str], tuple[Scene, dict[str, Any]] | None]]:
    """Follow a schedule, then the first choice each time; yields the states behind the schedule, and the pauses that it took."""
    turns: dict[str, Turn] = {}
    scene = begin(lambda name: turns.setdefault(name, Turn(name)))
    threads = []
    for name, program in scene.programs.items():
        turn = turns.setdefault(name, Turn(name))
        turn.after = scene.after.get(name, "")
        thread = threading.Thread(target=turn.run, args=(program,), daemon=True)
        thread.start()
        threads.append(thread)
        turn.until_first()
    taken: tuple[str, ...] = ()
    happened: set[str] = set()
    last, pauses = "", 0
    try:
        while True:
            choices = list(_choices(scene, turns, happened))
            if last in choices:
                choices.remove(last)
                others = choices if pauses != scene.pauses else [choice for choice in choices if choice not in turns]
                choices = [last, *others]
            if len(taken) >= len(schedule):
                wrong = always(scene)
                if wrong:
                    raise ViolationError(f"{wrong}; after {' '.join(taken)}")
                state = (
                    scene.world.state(),
                    tuple((turn.seen, turn.killed, turn.ended) for turn in turns.values()),
                    frozenset(happened),
                    last if scene.pauses is not None else "",
                )
                moving = [choice for choice in choices if choice in turns]
                end = (
                    None if moving else (scene, {name: turn.outcome for name, turn in turns.items() if not turn.killed})
                )
                yield state, pauses if scene.pauses is not None else 0, taken, choices, end
                if end is not None:
                    return
            choice = schedule[len(taken)] if len(taken) < len(schedule) else choices[0]
            taken = (*taken, choice)
            if choice in turns:
                pauses += last in choices and choice != last
                last = choice
                turns[choice].go()
            elif choice.startswith("kill "):
                turn = turns[choice.removeprefix("kill ")]
                turn.killed = True
                turn.go()
                scene.world.died(turn.name)
            else:
                happened.add(choice)
                scene.events[choice]()
    finally:
        for turn in turns.values():
            if not turn.ended:
                turn.killed = True
                turn.go()
        for thread in threads:
            thread.join()


def _choices(scene: Scene, turns: dict[str, Turn], happened: set[str]) -> Iterator[str]:
    able = [
        name
        for name, turn in turns.items()
        if not turn.ended and not turn.killed and (not turn.after or turns[turn.after].killed)
    ]
    yield from able
    if sum(turn.killed for turn in turns.values()) < scene.kills:
        yield from (f"kill {name}" for name in able if turns[name].seen)
    if able:
        yield from (name for name in scene.events if name not in happened)
