# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""The storm of ``run``, compiled: threads without the GIL over the C side of one ledger.

Each asks for, hands over, spends, frees, books and refreshes at random, and counts by itself what
it was told; at the end the counts of all must explain the words to the last unit.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from polyexec._fast.atomics cimport add, load, load_u32, move_u32, store, sub, swap
from polyexec._fast.gate cimport ENTERED, GateCore, c_enter, c_leave, c_stamp
from polyexec._fast.ledger cimport (
    DONE,
    ENDED,
    SHORT,
    STALE,
    TOO_MUCH,
    Claim,
    Hold,
    LedgerCore,
    Shortfall,
    Words,
    c_book,
    c_check,
    c_drop,
    c_recover,
    c_release,
    c_reserve,
    c_spend,
    c_update,
)

cdef extern from "sched.h":
    int sched_yield() nogil

cdef enum:
    ASSETS = 5
    MINE = 32    # holds of a thread
    SHARED = 16  # holds that threads hand over to each other

BALANCE = 20_000  # small enough to run out
cdef int64_t SETTLED = BALANCE


cdef struct Tally:
    int64_t reserved
    int64_t freed
    int64_t spent
    int64_t booked_in
    int64_t booked_out


cdef class Storm:
    """One ledger, and what its threads share."""

    cdef LedgerCore ledger
    cdef Words* words[ASSETS]
    cdef int64_t shared[SHARED]  # atomic; Hold*
    cdef int64_t time            # of all flows of a round

    def __init__(self, LedgerCore ledger):
        cdef int i
        self.ledger = ledger
        for i in range(ASSETS):
            asset = str(i) if i else ""
            ledger.update(asset, BALANCE, as_of_ms=0)
            self.words[i] = ledger.find(asset)

    def begin(self, round):
        """Start a round: nothing is pending, and its flows come after every balance of it."""
        cdef int i
        self.time = 2 * <int64_t>round + 2
        for i in range(ASSETS):
            c_update(self.ledger, self.words[i], SETTLED, self.time - 1)

    def run(self, seed, operations, is_calm, sabotage=0):
        """Do so many operations; return violations, and the tally of every asset.

        In a calm round the balance stands still and nothing leaves unreserved, so what is
        available must never be below zero.
        """
        cdef Hold* mine[MINE]
        cdef Tally tallies[ASSETS]
        cdef uint64_t random = seed
        random = random * <uint64_t>0x9E3779B97F4A7C15 | 1
        cdef int64_t left = operations, violations = 0
        cdef int held = 0, i, harm = sabotage
        cdef bint calm = is_calm
        for i in range(ASSETS):
            tallies[i] = Tally(0, 0, 0, 0, 0)
        with nogil:
            while left > 0:
                left -= 1
                violations += self.step(&random, mine, &held, tallies, calm, harm)
            while held:
                held -= 1
                violations += self.end(mine[held], tallies)
        return violations, [
            (t.reserved, t.freed, t.spent, t.booked_in, t.booked_out) for t in tallies[:ASSETS]
        ]

    def finish(self, tallies):
        """End what was left between threads; return violations of the sums."""
        cdef Tally mine[ASSETS]
        cdef Words* words
        cdef Words* broken = NULL
        cdef int i
        cdef int64_t violations = 0
        for i in range(ASSETS):
            mine[i] = Tally(0, 0, 0, 0, 0)
        for i in range(SHARED):
            if load(&self.shared[i]):
                violations += self.end(<Hold*>swap(&self.shared[i], 0), mine)
        for i in range(ASSETS):
            words = self.words[i]
            reserved, freed, spent, booked_in, booked_out = (
                sum(numbers) for numbers in zip(*(tally[i] for tally in tallies))
            )
            violations += reserved != freed + mine[i].freed + spent
            violations += words.pending_in != booked_in
            violations += words.pending_out != spent + booked_out
            violations += words.held != 0
            violations += words.available != words.settled - words.pending_out
        violations += c_check(self.ledger, &broken) != DONE
        return violations

    cdef int step(
        self, uint64_t* random, Hold** mine, int* held, Tally* tallies, bint calm, int harm
    ) noexcept nogil:
        cdef uint64_t what = draw(random) % 10_000
        cdef int wrong = 0, i = <int>(draw(random) % ASSETS), pick = 0, verdict
        cdef int64_t micro
        cdef Words* broken = NULL
        cdef Hold* hold
        if held[0]:
            pick = <int>(draw(random) % <uint64_t>held[0])
        if harm and what % 10 == 0:
            # As if there were no compare and swap, and a thread interrupted in the middle.
            micro = load(&self.words[i].available)
            sched_yield()
            store(&self.words[i].available, micro)
        if what < 4_500 and held[0] <= MINE - 4:
            wrong += self.reserve(random, mine, held, tallies)
        elif what < 7_000 and held[0]:
            held[0] -= 1
            hold = mine[pick]
            mine[pick] = mine[held[0]]
            wrong += self.end(hold, tallies)
        elif what < 8_000 and held[0]:
            # Both have it now, and may end it at the same time.
            keep(mine[pick])
            hold = <Hold*>swap(&self.shared[draw(random) % SHARED], <int64_t>mine[pick])
            if hold != NULL and held[0] < MINE:
                mine[held[0]] = hold
                held[0] += 1
            elif hold != NULL:
                wrong += self.end(hold, tallies)
        elif what < 9_000 and held[0]:
            hold = mine[pick]
            micro = <int64_t>(draw(random) % 50)
            verdict = c_spend(self.ledger, hold, micro, self.time)
            if verdict == DONE:
                tallies[self.asset_of(hold)].spent += micro
            wrong += verdict != DONE and verdict != ENDED and verdict != TOO_MUCH
        elif what < 9_500:
            micro = <int64_t>(draw(random) % 50)
            if calm or what % 2:
                wrong += c_book(self.ledger, self.words[i], micro, self.time) != DONE
                tallies[i].booked_in += micro
            else:
                wrong += c_book(self.ledger, self.words[i], -micro, self.time) != DONE
                tallies[i].booked_out += micro
        elif what < 9_502:
            micro = SETTLED if calm else <int64_t>(draw(random) % <uint64_t>SETTLED)
            wrong += c_update(self.ledger, self.words[i], micro, self.time - 1) != DONE
            wrong += c_update(self.ledger, self.words[i], 1, self.time - 2) != STALE
        elif what < 9_503:
            wrong += c_check(self.ledger, &broken) != DONE
        elif what < 9_520 and not calm and held[0] < MINE:
            wrong += c_recover(self.ledger, self.words[i], 7, &mine[held[0]]) != DONE
            tallies[i].reserved += 7
            held[0] += 1
        if calm:
            wrong += load(&self.words[i].available) < 0
        wrong += load(&self.words[i].held) < 0
        return wrong

    cdef int reserve(
        self, uint64_t* random, Hold** mine, int* held, Tally* tallies
    ) noexcept nogil:
        cdef Claim claims[4]
        cdef Shortfall shortfall
        cdef int count = 1 + <int>(draw(random) % 4), i, verdict
        for i in range(count):
            claims[i].words = self.words[draw(random) % ASSETS]
            claims[i].micro = 1 + <int64_t>(draw(random) % 1_000)
        verdict = c_reserve(self.ledger, claims, count, mine + held[0], &shortfall)
        if verdict == SHORT:
            return shortfall.available >= shortfall.needed
        if verdict != DONE:
            return 1
        for i in range(count):
            tallies[self.asset_of(mine[held[0]])].reserved += claims[i].micro
            held[0] += 1
        return 0

    cdef int end(self, Hold* hold, Tally* tallies) noexcept nogil:
        cdef int64_t freed = 0
        cdef int verdict = c_release(self.ledger, hold, &freed)
        tallies[self.asset_of(hold)].freed += freed
        c_drop(self.ledger, hold)
        return verdict != DONE and verdict != ENDED

    cdef int asset_of(self, Hold* hold) noexcept nogil:
        cdef int i
        for i in range(ASSETS):
            if self.words[i] == hold.words:
                return i
        return 0


def break_held(LedgerCore ledger):
    """Break the invariants of the collateral's words, for a test that they are watched."""
    ledger.collateral.held -= 1


def break_available(LedgerCore ledger):
    ledger.collateral.available += 1


def break_hold(LedgerCore ledger):
    ledger.chunks[0][0].spent += 1


def gate_storm(GateCore gate, int64_t[::1] inside, int64_t most, int64_t first, int64_t times):
    """Pass a gate again and again; return violations, and how many stamped.

    ``inside`` is shared by the threads: how many are inside, by their own count.
    """
    cdef int64_t violations = 0, stamped = 0, i
    with nogil:
        for i in range(times):
            if c_enter(gate, first + i) != ENTERED:
                continue
            violations += add(&inside[0], 1) >= most
            stamped += c_stamp(gate, first + i) == ENTERED
            sub(&inside[0], 1)
            violations += not c_leave(gate)
    return violations, stamped


cdef inline void keep(Hold* hold) noexcept nogil:
    cdef uint32_t references = load_u32(&hold.references)
    while not move_u32(&hold.references, &references, references + 1):
        pass


cdef inline uint64_t draw(uint64_t* random) noexcept nogil:
    cdef uint64_t x = random[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    random[0] = x
    return (x * <uint64_t>0x2545F4914F6CDD1D) >> 32
