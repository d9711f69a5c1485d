"""A model of how two workers share one partition: claim, fold, commit, publish, republish, swap.

Every action names the function that it models (`MODELLED`). Beside what the code does, `OFF` can
name one guard of the protocol that is left out; the checker must then find a violation. Batches
are gapless here: the model `reading` is about that.

A record of the log is a number: the id of its command, where the same id again is a duplicate; 0
for a command that is refused, which is told and not remembered; -1 for no command.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.model.explorer import Step

NOTHING = -1  # no offset, and states that are not loaded
IDLE, READ, QUEUED, OWNS, RELEASED = range(5)  # phases of a worker
SENT, WAITING, HALF = range(3)  # what became of a commit

MODELLED = {
    "claim": (
        "agents.runtime.faust_app:Consumer.on_partitions_assigned",
        "storage.commit.consumer_offsets:claim",
        "agents.runtime.partition_buffer:PartitionBuffer.take_over",
    ),
    "reclaim": ("agents.runtime.partition_buffer:PartitionBuffer._reclaim",),
    "revoke": ("agents.runtime.faust_app:Consumer.on_partitions_revoked",),
    "fold": ("agents.apply.batch_fold:fold_batch", "agents.apply.state_loading:load_states"),
    "commit": ("storage.commit.write_set:commit", "agents.apply.pipeline:Applier._emit"),
    "leave": ("agents.apply.pipeline:Applier._commit",),
    "fenced": ("agents.apply.pipeline:Applier._give_up",),
    "answer lost": (
        "agents.apply.suspects:Suspects.guard",
        "agents.apply.pipeline:Applier._commit",
    ),
    "publish": ("agents.apply.publisher:Publisher._send_events",),
    "look": ("agents.apply.republisher:Republisher._last_published",),
    "republish": ("agents.apply.republisher:Republisher._republish_one",),
    "save": ("storage.commit.consumer_offsets:save_published",),
    "crash": ("agents.runtime.tasks:crash",),
    "wait": ("storage.commit.write_set:commit", "storage.commit.consumer_offsets:claim"),
    "lock": ("recovery.replay.cut_over:lock",),
    "exchange": ("recovery.replay.cut_over:exchange",),
}


class Store(NamedTuple):
    """The tables of one schema. `journal`: offsets with an effect; `counted`: outcomes."""

    next: int = 0
    epoch: int = 0
    published: int = NOTHING
    journal: tuple[int, ...] = ()
    counted: int = 0


class Batch(NamedTuple):
    """A folded batch; `effects` are offsets."""

    expected: int
    end: int
    epoch: int
    effects: tuple[int, ...]
    status: int = SENT


class Job(NamedTuple):
    """A republishing: of offsets above `after`, once that is known, and below `until`."""

    until: int
    after: int | None = None


class Worker(NamedTuple):
    """One process. `cache`: the ids that it takes for applied, as bits. `backlog`: offsets to be
    published, each with the number of republishings that it waits for. `commit` is on its way to
    Postgres, and `folded` waits for it."""

    assigned: bool = False
    phase: int = IDLE
    read: int = NOTHING  # a position that was read before the claim, which no code of ours does
    epoch: int = 0
    next: int = 0
    published: int = NOTHING
    cache: int = NOTHING
    folded: Batch | None = None
    commit: Batch | None = None
    jobs: tuple[Job, ...] = ()
    backlog: tuple[tuple[int, int], ...] = ()


class Topic(NamedTuple):
    """The topic of events: its last record, and what a reader has taken from it."""

    told: tuple[int, ...] = ()
    last: int = NOTHING


class System(NamedTuple):
    """Everything. `aside`: the schema that was live before a swap; `locked`: the position at which
    a swap holds the rows of offsets, else NOTHING. `faults`: how many more may happen."""

    workers: tuple[Worker, ...] = (Worker(), Worker())
    live: Store = Store()
    aside: Store | None = None
    topic: Topic = Topic()
    locked: int = NOTHING
    faults: int = 3


def ids_of(log: Sequence[int], offsets: Sequence[int]) -> int:
    """The ids of `offsets` as bits."""
    bits = 0
    for offset in offsets:
        if log[offset] > 0:
            bits |= 1 << log[offset]
    return bits


def effects_of(log: Sequence[int], begin: int, end: int, seen: int) -> tuple[int, ...]:
    """The offsets that have an effect where the ids `seen` are applied."""
    effects = []
    for offset in range(begin, end):
        bit = 1 << log[offset] if log[offset] > 0 else 0
        if log[offset] >= 0 and not bit & seen:
            effects.append(offset)
            seen |= bit
    return tuple(effects)


class Protocol:
    """The steps of a system on `log`. `off`: the guard that is left out; `swaps`: whether a replay
    may exchange the schema; `saves`: whether the published position is saved meanwhile."""

    def __init__(
        self,
        log: Sequence[int],
        off: str | None = None,
        *,
        swaps: bool = False,
        saves: bool = False,
    ) -> None:
        self.log, self.off, self.swaps, self.saves = tuple(log), off, swaps, saves

    def steps(self, s: System) -> Iterator[Step[System]]:
        """Everything that may happen next."""
        for i, w in enumerate(s.workers):
            yield from self._assignment(s, i, w)
            yield from self._folding(s, i, w)
            yield from self._committing(s, i, w)
            yield from self._publishing(s, i, w)
            yield from self._republishing(s, i, w)
            if s.faults and (w.phase != IDLE or w.commit or w.backlog or w.jobs):
                yield _fault(s, "crash", i, Worker())
        if self.swaps:
            yield from self._swap(s)

    # ---- taking over -----------------------------------------------------------------------

    def _assignment(self, s: System, i: int, w: Worker) -> Iterator[Step[System]]:
        other = s.workers[1 - i]
        if not w.assigned and w.phase == IDLE:
            if not other.assigned:
                yield from self._claim(s, "claim", i, w)
            elif s.faults and other.phase != IDLE:  # which goes on until it is told: a zombie
                moved = _with(s, 1 - i, other._replace(assigned=False))
                moved = moved._replace(faults=s.faults - 1)
                yield from self._claim(moved, "claim", i, w, is_fault=True)
        if w.phase == READ:
            yield from self._claim(s, "claim", i, w)
        if w.phase == QUEUED and s.aside is not None:  # in the schema whose rows it waited for
            claimed, owning = self._claimed(s.aside, w, s.aside.next)
            yield _step(s._replace(aside=claimed), "claim", i, owning)
        if not w.assigned and w.phase != IDLE:
            yield _step(s, "revoke", i, self._lose(w, IDLE))
        if w.phase == RELEASED and self.off != "claiming anew":
            if w.assigned:
                yield from self._claim(s, "reclaim", i, w)
            elif s.faults:  # a zombie that is not told in time
                spent = s._replace(faults=s.faults - 1)
                yield from self._claim(spent, "reclaim", i, w, is_fault=True)

    def _claim(
        self, s: System, action: str, i: int, w: Worker, *, is_fault: bool = False
    ) -> Iterator[Step[System]]:
        """Raise the epoch and take the position over, in one statement."""
        assigned = w.assigned or action == "claim"
        if self.off == "claim order" and w.phase != READ:
            reading = w._replace(assigned=assigned, phase=READ, read=s.live.next)
            yield _step(s, "read", i, reading, is_fault=is_fault)
        elif not self._is_free(s):
            queued = self._lose(w, QUEUED)._replace(assigned=assigned)
            yield _step(s, "wait", i, queued, is_fault=is_fault)
        else:
            live, owning = self._claimed(s.live, w, w.read if w.phase == READ else s.live.next)
            owning = owning._replace(assigned=assigned)
            yield _step(s._replace(live=live), action, i, owning, is_fault=is_fault)

    def _claimed(self, store: Store, w: Worker, at: int) -> tuple[Store, Worker]:
        """What the SQL function `claim` does, and the worker that begins to read at `at`."""
        claimed = store._replace(epoch=store.epoch + 1)
        jobs = (*w.jobs, Job(at))
        owning = self._lose(w, OWNS)._replace(
            epoch=claimed.epoch, next=at, published=store.published, jobs=jobs
        )
        return claimed, owning

    def _lose(self, w: Worker, phase: int) -> Worker:
        """Nothing is owned; what is on its way to Postgres and Kafka stays on its way."""
        return Worker(
            assigned=w.assigned,
            phase=phase,
            cache=w.cache if self.off == "states dropped" else NOTHING,
            commit=w.commit,
            jobs=w.jobs,
            backlog=w.backlog,
        )

    def _is_free(self, s: System) -> bool:
        return s.locked == NOTHING or self.off == "lock of the swap"

    # ---- applying --------------------------------------------------------------------------

    def _folding(self, s: System, i: int, w: Worker) -> Iterator[Step[System]]:
        if w.phase != OWNS or w.folded is not None:
            return
        seen = ids_of(self.log, s.live.journal) if w.cache == NOTHING else w.cache
        for end in range(w.next + 1, len(self.log) + 1):
            known = 0 if self.off == "ids of commands" else seen
            effects = effects_of(self.log, w.next, end, known)
            batch = Batch(w.next, end, w.epoch, effects)
            folded = w._replace(next=end, cache=seen | ids_of(self.log, effects), folded=batch)
            if self.off == "publishing after the commit":
                folded = self._said(folded, batch)
            yield _step(s, "fold", i, _sent(folded), end)

    def _committing(self, s: System, i: int, w: Worker) -> Iterator[Step[System]]:
        b = w.commit
        if b is None:
            return
        if b.status == SENT and not self._is_free(s):
            yield _step(s, "wait", i, w._replace(commit=b._replace(status=WAITING)))
        elif b.status == HALF:
            live = s.live._replace(journal=s.live.journal + b.effects)
            yield _step(s._replace(live=live), "write", i, _sent(self._emitted(w, b)))
        elif b.status == SENT:
            done, live = self._advance(s.live, b)
            yield from self._answers(s._replace(live=live), i, w, b, done=done)
        elif s.aside is not None:  # the schema whose rows it waited for
            done, aside = self._advance(s.aside, b)
            yield from self._answers(s._replace(aside=aside), i, w, b, done=done)

    def _answers(
        self, s: System, i: int, w: Worker, b: Batch, *, done: bool
    ) -> Iterator[Step[System]]:
        owns = w.phase == OWNS and w.epoch == b.epoch
        if done and self.off == "one transaction":
            yield _step(s, "commit", i, w._replace(commit=b._replace(status=HALF)))
        elif done:
            yield _step(s, "commit", i, _sent(self._emitted(w, b)))
        elif owns and self.off != "giving up":
            yield _step(s, "fenced", i, self._lose(w, RELEASED)._replace(commit=None))
        else:  # of an earlier assignment: what is folded meanwhile is folded once more
            at = w.folded.expected if w.folded else w.next
            again = w._replace(commit=None, cache=NOTHING, folded=None, next=at)
            yield _step(s, "fenced", i, again)
        if not owns and b.status == SENT:  # it was not sent yet
            yield _step(s, "leave", i, _sent(w._replace(commit=None)))
        if s.faults and done:  # it is sent again by an owner, and left to the next one by others
            again = w._replace(commit=b._replace(status=SENT) if owns else None)
            yield _fault(s, "answer lost", i, again)

    def _advance(self, store: Store, b: Batch) -> tuple[bool, Store]:
        """What the SQL functions `advance` and `commit_commands` do."""
        is_at = store.next == b.expected or self.off == "expected offset"
        is_ours = store.epoch == b.epoch or self.off == "epoch"
        if is_at and is_ours:
            rows = () if self.off == "one transaction" else b.effects
            return True, store._replace(
                next=b.end,
                journal=store.journal + rows,
                counted=store.counted + b.end - b.expected,
            )
        return is_ours and store.next == b.end, store

    def _emitted(self, w: Worker, b: Batch) -> Worker:
        """What follows from the commit of `b`."""
        answered = w._replace(commit=None)
        return answered if self.off == "publishing after the commit" else self._said(answered, b)

    def _said(self, w: Worker, b: Batch) -> Worker:
        news = tuple((offset, len(w.jobs)) for offset in b.effects)
        if self.off == "acknowledged position" and news and w.phase == OWNS:
            w = w._replace(published=b.effects[-1])
        return w._replace(backlog=w.backlog + news)

    # ---- publishing ------------------------------------------------------------------------

    def _publishing(self, s: System, i: int, w: Worker) -> Iterator[Step[System]]:
        orders = (
            range(len(w.backlog)) if self.off == "order of sends" else (0,) if w.backlog else ()
        )
        for n in orders:
            offset, waits = w.backlog[n]
            rest = w._replace(backlog=w.backlog[:n] + w.backlog[n + 1 :])
            if waits and self.off != "republishing first":
                continue
            told = s._replace(topic=self._appended(s.topic, offset))
            yield _step(told, "publish", i, _acknowledged(rest, offset))
            if s.faults and self.off == "end at a failed send":
                yield _fault(s, "send fails", i, rest)
        is_owner = w.phase == OWNS and w.epoch == s.live.epoch and self._is_free(s)
        if self.saves and is_owner and w.published > s.live.published:
            saved = s._replace(live=s.live._replace(published=w.published))
            yield _step(saved, "save", i, w)

    def _republishing(self, s: System, i: int, w: Worker) -> Iterator[Step[System]]:
        if not w.jobs:
            return
        job = w.jobs[0]
        if job.after is None:
            stored = NOTHING if self.off == "published position" else w.published
            looked = job._replace(after=max(s.topic.last, stored))
            yield _step(s, "look", i, self._next_page(s, w, looked))
            return
        offset = self._missing(s, job)[0]
        told = s._replace(topic=self._appended(s.topic, offset))
        yield _step(told, "republish", i, self._next_page(s, w, job._replace(after=offset)))

    def _missing(self, s: System, job: Job) -> list[int]:
        if self.off == "republishing" or job.after is None:
            return []
        return [offset for offset in s.live.journal if job.after < offset < job.until]

    def _next_page(self, s: System, w: Worker, job: Job) -> Worker:
        """Go on with `job`, the first; the next one, and news, when nothing is missing."""
        if self._missing(s, job):
            return w._replace(jobs=(job, *w.jobs[1:]))
        backlog = tuple((offset, max(0, waits - 1)) for offset, waits in w.backlog)
        done = w._replace(jobs=w.jobs[1:], backlog=backlog)
        return done if job.after is None else _acknowledged(done, job.after)

    def _appended(self, topic: Topic, offset: int) -> Topic:
        is_new = not topic.told or offset > topic.told[-1] or self.off == "dropping repeats"
        return Topic((*topic.told, offset) if is_new else topic.told, offset)

    # ---- swaps -----------------------------------------------------------------------------

    def _swap(self, s: System) -> Iterator[Step[System]]:
        if s.locked == NOTHING and s.aside is None and s.faults:
            locked = s._replace(locked=s.live.next, faults=s.faults - 1)
            yield Step("lock", locked, is_fault=True)
        if s.locked != NOTHING:
            at = s.locked - 1 if self.off == "catching up" and s.locked else s.locked
            journal = effects_of(self.log, 0, at, 0)
            published = NOTHING if self.off == "position carried over" else s.live.published
            epoch = 1 if self.off == "epoch of the new schema" else s.live.epoch + 1
            new = Store(at, epoch, published, journal, at)
            fenced = {"epoch of the old schema": s.live.epoch, "epochs apart": s.live.epoch + 1}
            old = s.live._replace(epoch=fenced.get(self.off or "", -s.live.epoch - 1))
            yield Step("exchange", s._replace(live=new, aside=old, locked=NOTHING))


def _sent(w: Worker) -> Worker:
    """`folded` goes out when nothing is on its way."""
    return w if w.commit or w.folded is None else w._replace(commit=w.folded, folded=None)


def _acknowledged(w: Worker, offset: int) -> Worker:
    """The position of an owner moves; nobody asks for that of others."""
    return w._replace(published=max(w.published, offset)) if w.phase == OWNS else w


def canonical(s: System) -> System:
    """The same for systems that differ by the names of their workers."""
    first, second = s.workers
    return s if hash(first) <= hash(second) else s._replace(workers=(second, first))


def _with(s: System, i: int, w: Worker) -> System:
    return s._replace(workers=(w, s.workers[1]) if i == 0 else (s.workers[0], w))


def _step(
    s: System, action: str, i: int, w: Worker, detail: int | None = None, *, is_fault: bool = False
) -> Step[System]:
    label = f"{action} {i}" if detail is None else f"{action} {i} to {detail}"
    return Step(label, _with(s, i, w), is_fault)


def _fault(s: System, action: str, i: int, w: Worker) -> Step[System]:
    return _step(s._replace(faults=s.faults - 1), action, i, w, is_fault=True)
