"""The money, lock-free where signals wait for it. Rules and readable twin: ``_pure.ledger``."""

cimport cython
from cpython.dict cimport PyDict_SetDefault
from cpython.long cimport PyLong_CheckExact
from cpython.number cimport PyIndex_Check
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from polyexec._fast.atomics cimport (
    add,
    add_u64,
    load,
    load_u32,
    load_u64,
    move,
    move_u32,
    move_u64,
    store_u32,
    sub,
    sub_u32,
    swap,
)
from polyexec._fast.convert cimport as_int64

cdef extern from *:
    """
    #include <sched.h>
    #include <stdlib.h>

    /* Memory that shares no cache line with its neighbours. */
    static void *new_lines(size_t size) {
        void *start = NULL;
        return posix_memalign(&start, 64, (size + 63) / 64 * 64) == 0 ? start : NULL;
    }
    """
    void* new_lines(size_t size) nogil
    int sched_yield() nogil
    int __builtin_clzll(unsigned long long) nogil

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1
    PyObject* PyDict_GetItemWithError(object mapping, object key) except? NULL

cdef extern from "pythread.h":
    void* PyThread_allocate_lock()
    void PyThread_free_lock(void* lock)
    int PyThread_acquire_lock(void* lock, int wait) nogil
    void PyThread_release_lock(void* lock) nogil

cdef enum:
    CHUNK = 256     # places in the first chunk
    CHUNKS = 16
    TRIES = 2_000   # of check, to meet the ledger at rest

cdef int64_t UNDATED = INT64_MAX                # of flows: at_ms
cdef uint64_t FINISHED = (<uint64_t>1) << 16  # in activity
cdef uint64_t TURN = (<uint64_t>1) << 32      # in free


@cython.final
@cython.no_gc  # refers to its ledger only, and that never to it
@cython.auto_pickle(False)
cdef class Reservation:
    """A claim on one asset for one leg; see ``_pure.ledger``."""

    def __cinit__(self):
        self.hold = NULL

    def __init__(self):
        raise TypeError("only a ledger makes reservations")

    def __dealloc__(self):
        if self.hold != NULL:
            c_drop(self.ledger, self.hold)

    @property
    def id(self):
        return checked(self).id

    @property
    def asset(self):
        return <object>checked(self).words.asset

    @property
    def reserved_micro(self):
        return checked(self).reserved

    @property
    def held_micro(self):
        return load(&checked(self).held)

    @property
    def spent_micro(self):
        return load(&checked(self).spent)

    @property
    def released_micro(self):
        return load(&checked(self).released)

    @property
    def is_open(self):
        """Some of it is still held."""
        return load(&checked(self).held) > 0

    def __eq__(self, other):
        if not isinstance(other, Reservation):
            return NotImplemented
        return self.hold == (<Reservation>other).hold

    def __hash__(self):
        return hash(checked(self).id)

    def __reduce__(self):
        raise TypeError("cannot pickle or copy a reservation: it ends once")

    def __repr__(self):
        cdef Hold* hold = checked(self)
        asset = <object>hold.words.asset
        name = asset[:8] if asset else "collateral"
        return (
            f"Reservation({hold.id}, {name}, reserved={hold.reserved}, held={load(&hold.held)}, "
            f"spent={load(&hold.spent)}, released={load(&hold.released)})"
        )


@cython.final
@cython.internal
cdef class Account:
    """Owns the words of one asset."""

    cdef Words* words
    cdef str asset

    def __cinit__(self, str asset):
        self.asset = asset
        self.words = <Words*>new_lines(sizeof(Words))
        if self.words == NULL:
            raise MemoryError
        memset(self.words, 0, sizeof(Words))
        self.words.asset = <void*>asset

    def __dealloc__(self):
        if self.words != NULL:
            free(self.words.flows)
            free(self.words)


@cython.auto_pickle(False)
cdef class LedgerCore:
    """Balance, positions and reservations of one account; see ``_pure.ledger``."""

    _fault = ValueError
    _shortage = None

    def __cinit__(self):
        self.accounts = {}
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError
        self.collateral = self.find("")

    def __dealloc__(self):
        cdef int i
        if self.lock != NULL:
            PyThread_free_lock(self.lock)
        for i in range(CHUNKS):
            free(self.chunks[i])

    def update(self, asset, settled_micro, *, as_of_ms):
        """Write the balance that the exchange had at ``as_of_ms``; False: a newer one is known."""
        cdef int64_t settled = self.amount(settled_micro, "balance {} outside 0 .. 2**63 - 1")
        cdef int64_t as_of = as_int64(as_of_ms)
        if settled < 0:
            raise self._fault(f"balance {settled} outside 0 .. 2**63 - 1")
        return c_update(self, self.find(asset), settled, as_of) == DONE

    def reserve(self, claims):  # hot
        """Hold every claim (asset, micro-units), or none of them."""
        cdef Claim[MAX_CLAIMS] wanted
        cdef Hold* holds[MAX_CLAIMS]
        cdef Shortfall shortfall
        cdef tuple given = tuple(claims)
        cdef Py_ssize_t count = PyTuple_GET_SIZE(given)
        cdef Py_ssize_t i
        cdef int verdict
        if count == 0:
            return ()
        if count > MAX_CLAIMS:
            raise self._fault(f"at most {MAX_CLAIMS} claims at once, not {count}")
        for i in range(count):
            read_claim(self, <object>PyTuple_GET_ITEM(given, i), &wanted[i])
        verdict = c_reserve(self, wanted, <int>count, holds, &shortfall)
        if verdict == DONE:
            made = PyTuple_New(count)
            for i in range(count):
                reservation = self.wrap(holds[i])
                Py_INCREF(reservation)
                PyTuple_SET_ITEM(made, i, reservation)
            return made
        if verdict == SHORT:
            return self._shortage(
                <object>shortfall.words.asset, shortfall.needed, shortfall.available
            )
        if verdict == NO_MEMORY:
            raise MemoryError
        raise self._fault("the claims on one asset exceed 2**63 - 1 micro-units")

    def recover(self, asset, micro):
        """Hold an amount that is known to be bound already, available or not."""
        cdef int64_t wanted = self.amount(micro, "cannot hold {} micro-units")
        cdef Hold* hold = NULL
        if wanted <= 0:
            raise self._fault(f"cannot hold {wanted} micro-units")
        cdef int verdict = c_recover(self, self.find(asset), wanted, &hold)
        if verdict == TOO_MUCH:
            raise self._fault(f"cannot hold {wanted} micro-units more: over 2**63 - 1 in all")
        if verdict != DONE:
            raise MemoryError
        return self.wrap(hold)

    def spend(self, reservation, spent_micro, *, at_ms):
        """Turn a part of a reservation into money that left at ``at_ms``."""
        cdef Hold* hold = self.hold_of(reservation)
        cdef int64_t at = as_int64(at_ms)
        if load(&hold.held) == 0:
            raise self._fault(f"{reservation!r} has already ended")
        refusal = f"{{}} micro-units are not held by {reservation!r}"
        cdef int64_t spent = self.amount(spent_micro, refusal)
        cdef int verdict = TOO_MUCH
        if spent >= 0:
            verdict = c_spend(self, hold, spent, at)
        if verdict == TOO_MUCH:
            raise self._fault(refusal.format(spent))
        if verdict == ENDED:
            raise self._fault(f"{reservation!r} has already ended")
        if verdict == NO_MEMORY:
            raise MemoryError
        if verdict != DONE:
            raise self.broken()

    def release(self, reservation):  # hot
        """Free what is still held of a reservation; return how much that was."""
        cdef Hold* hold = self.hold_of(reservation)
        cdef int64_t freed = 0
        cdef int verdict = c_release(self, hold, &freed)
        if verdict == DONE:
            return freed
        if verdict == ENDED:
            raise self._fault(f"{reservation!r} has already ended")
        raise self.broken()

    def book(self, asset, micro, *, at_ms):
        """Record what a trade brought in (positive) or cost beyond its reservation (negative)."""
        cdef int64_t flow = self.amount(micro, "cannot book {} micro-units")
        cdef int64_t at = as_int64(at_ms)
        if flow == 0:
            return
        cdef int verdict = c_book(self, self.find(asset), flow, at)
        if verdict == TOO_MUCH:
            raise self._fault(f"cannot book {flow} micro-units more: over 2**63 - 1 in all")
        if verdict != DONE:
            raise MemoryError

    def take_back(self, asset, micro):
        """Remove an undated amount, as it was spent (negative) or booked."""
        cdef int64_t flow = self.amount(micro, "cannot take back {} micro-units")
        if c_take_back(self, self.find(asset), flow) != DONE:
            raise self._fault(f"cannot take back {flow} micro-units: not so much is undated")

    def available(self, asset=""):
        """Micro-units that a new reservation may take."""
        cdef Words* words = self.seen(asset)
        return 0 if words == NULL else load(&words.available)

    def held(self, asset=""):
        """Micro-units in open reservations."""
        cdef Words* words = self.seen(asset)
        return 0 if words == NULL else load(&words.held)

    def balance(self, asset=""):
        """Micro-units that the exchange should report now: settled plus everything pending."""
        cdef Words* words = self.seen(asset)
        return 0 if words == NULL else balance_of(self, words)

    def as_of_ms(self, asset=""):
        """When ``settled`` was taken; 0: never."""
        cdef Words* words = self.seen(asset)
        cdef int64_t as_of = 0
        if words != NULL:
            PyThread_acquire_lock(self.lock, 1)
            as_of = words.as_of_ms
            PyThread_release_lock(self.lock)
        return as_of

    def balances(self):
        """``balance`` of every asset that is not zero."""
        figures = {}
        for asset, account in list(self.accounts.items()):
            balance = balance_of(self, (<Account>account).words)
            if balance:
                figures[asset] = balance
        return figures

    @property
    def open_reservations(self):
        """Reservations that have not ended, oldest first."""
        cdef uint64_t i
        cdef Hold* hold
        found = []
        for i in range(load_u64(&self.places)):
            hold = place(self, i)
            if enter(hold):
                reservation = self.wrap(hold)
                if load(&hold.held) > 0:
                    found.append(reservation)
        return tuple(sorted(found, key=_id))

    def check(self):
        """Raise the fault when an invariant is broken."""
        cdef Words* words = NULL
        if c_check(self, &words) == DONE:
            return
        if words == NULL:
            raise self._fault("a reservation does not add up")
        raise self._fault(
            f"held {load(&words.held)} is not the sum {words.sum} of {<object>words.asset!r}, "
            f"or available {load(&words.available)} is not what settled leaves"
        )

    cdef Words* find(self, object asset) except NULL:
        """Return the words of an asset; new ones where there are none."""
        cdef Words* words = self.seen(asset)
        if words != NULL:
            return words
        if type(asset) is not str:
            raise self._fault(f"an asset is named by a str, not {type(asset).__name__}")
        # Two threads may come here at once: one account stays, and its words are listed once.
        mine = Account(asset)
        account = <object>PyDict_SetDefault(self.accounts, asset, mine)
        words = (<Account>account).words
        if account is mine:
            PyThread_acquire_lock(self.lock, 1)
            words.next = self.first
            self.first = words
            PyThread_release_lock(self.lock)
        return words

    cdef Words* seen(self, object asset) except? NULL:  # hot
        # Borrowed: an account stays as long as the ledger.
        cdef PyObject* account = PyDict_GetItemWithError(self.accounts, asset)
        return NULL if account == NULL else (<Account><object>account).words

    cdef int64_t amount(self, object value, str refusal) except? -1:
        """Return an int64; the fault, with the text that refuses it, for anything else."""
        cdef int64_t number
        cdef int overflow = 0
        if PyLong_CheckExact(value):
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if not overflow:
                return number
        elif PyIndex_Check(value) and not isinstance(value, bool):
            try:
                return as_int64(value)
            except OverflowError:
                pass
        raise self._fault(refusal.format(shown(value)))

    cdef Hold* hold_of(self, object reservation) except NULL:  # hot
        if type(reservation) is not Reservation or (<Reservation>reservation).ledger is not self:
            raise self._fault(f"{reservation!r} is no reservation of this ledger")
        return (<Reservation>reservation).hold

    cdef object wrap(self, Hold* hold):  # hot
        """Return a handle, which takes over the caller's reference."""
        cdef Reservation reservation = Reservation.__new__(Reservation)
        reservation.ledger = self
        reservation.hold = hold
        return reservation

    cdef object broken(self):
        return self._fault("the words of the ledger contradict each other")


def _id(reservation):
    return (<Reservation>reservation).hold.id


cdef inline Hold* checked(Reservation reservation) except NULL:
    if reservation.hold == NULL:
        raise TypeError("only a ledger makes reservations")
    return reservation.hold


cdef str shown(object value):
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python prints no int of more than 4300 digits
        return f"<{type(value).__name__} too long to print>"


cdef int read_claim(LedgerCore ledger, object claim, Claim* out) except -1:  # hot
    if type(claim) is tuple and PyTuple_GET_SIZE(claim) == 2:
        asset = <object>PyTuple_GET_ITEM(claim, 0)
        micro = <object>PyTuple_GET_ITEM(claim, 1)
    else:
        asset, micro = claim
    out.micro = ledger.amount(micro, "cannot reserve {} micro-units")
    if out.micro <= 0:
        raise ledger._fault(f"cannot reserve {out.micro} micro-units")
    out.words = ledger.find(asset)
    return 0


cdef object balance_of(LedgerCore ledger, Words* words):
    cdef int64_t settled, pending_in, pending_out
    PyThread_acquire_lock(ledger.lock, 1)
    settled, pending_in, pending_out = words.settled, words.pending_in, words.pending_out
    PyThread_release_lock(ledger.lock)
    # As Python's: the sum may need a bit more than 63.
    return <object>settled + <object>pending_in - <object>pending_out


# Places ------------------------------------------------------------------------------------------


cdef inline Hold* place(LedgerCore ledger, uint64_t index) noexcept nogil:
    cdef uint64_t rank = index // CHUNK + 1
    cdef int chunk = 63 - __builtin_clzll(rank)
    return &ledger.chunks[chunk][index - CHUNK * (((<uint64_t>1) << chunk) - 1)]


cdef inline bint enter(Hold* hold) noexcept nogil:
    """Take a reference to a hold that others have, too; not to a place that is free."""
    cdef uint32_t references = load_u32(&hold.references)
    while references:
        if move_u32(&hold.references, &references, references + 1):
            return True
    return False


cdef Hold* take_place(LedgerCore ledger) noexcept nogil:  # hot
    cdef uint64_t seen = load_u64(&ledger.free)
    cdef uint64_t used
    cdef Hold* hold
    while seen & (TURN - 1):
        hold = place(ledger, (seen & (TURN - 1)) - 1)
        # The turn makes the word a new one when the place was taken and given back meanwhile, with
        # another next.
        if move_u64(&ledger.free, &seen, (seen // TURN + 1) * TURN | load_u32(&hold.next)):
            return hold
    used = load_u64(&ledger.places)
    while True:
        if used == load_u64(&ledger.room) and not more_room(ledger, used):
            return NULL
        if move_u64(&ledger.places, &used, used + 1):
            return place(ledger, used)


cdef void give_place(LedgerCore ledger, Hold* hold) noexcept nogil:  # hot
    cdef uint64_t seen = load_u64(&ledger.free)
    while True:
        store_u32(&hold.next, <uint32_t>(seen & (TURN - 1)))
        if move_u64(&ledger.free, &seen, (seen // TURN + 1) * TURN | (hold.index + 1)):
            return


cdef bint more_room(LedgerCore ledger, uint64_t used) noexcept nogil:
    """Add a chunk, unless another thread did; False when there is no memory."""
    cdef uint64_t room, size, i
    cdef int chunk
    cdef Hold* holds
    cdef bint done = True
    PyThread_acquire_lock(ledger.lock, 1)
    room = load_u64(&ledger.room)
    if room == used:
        chunk = 63 - __builtin_clzll(room // CHUNK + 1)
        size = (<uint64_t>CHUNK) << chunk
        holds = NULL
        if chunk < CHUNKS:
            holds = <Hold*>new_lines(size * sizeof(Hold))
        if holds == NULL:
            done = False
        else:
            memset(holds, 0, size * sizeof(Hold))
            for i in range(size):
                holds[i].index = <uint32_t>(room + i)
            ledger.chunks[chunk] = holds
            add_u64(&ledger.room, size)  # lets others into the chunk
    PyThread_release_lock(ledger.lock)
    return done


cdef inline void begin_hold(
    Hold* hold, int64_t id, Words* words, int64_t micro
) noexcept nogil:
    hold.id = id
    hold.words = words
    hold.reserved = hold.held = micro
    hold.spent = hold.released = 0
    store_u32(&hold.references, 2)  # it is open, and the caller has it


cdef void c_drop(LedgerCore ledger, Hold* hold) noexcept nogil:  # hot
    if sub_u32(&hold.references, 1) == 1:
        give_place(ledger, hold)


# Reserve and release -----------------------------------------------------------------------------


cdef int c_reserve(
    LedgerCore ledger, const Claim* claims, int count, Hold** holds, Shortfall* shortfall
) noexcept nogil:  # hot
    cdef Claim[MAX_CLAIMS] totals
    cdef int assets = 0, i, j, verdict = DONE
    cdef int64_t id
    assets = add_up(ledger, claims, count, totals)
    if assets == 0:
        return TOO_MUCH
    # Who is short from the start takes nothing, and so is in nobody's way.
    for j in range(assets):
        if not covers(totals[j].words, totals[j].micro, shortfall):
            return SHORT
    for i in range(count):
        holds[i] = take_place(ledger)
        if holds[i] == NULL:
            for j in range(i):
                give_place(ledger, holds[j])
            return NO_MEMORY
    add_u64(&ledger.activity, 1)
    for j in range(assets):
        if not take(totals[j].words, totals[j].micro, shortfall):
            for i in range(j):
                add(&totals[i].words.available, totals[i].micro)
            verdict = SHORT
            break
    if verdict == DONE:
        for j in range(assets):
            add(&totals[j].words.held, totals[j].micro)
        id = add(&ledger.last_id, count) + 1
        for i in range(count):
            begin_hold(holds[i], id + i, claims[i].words, claims[i].micro)
    add_u64(&ledger.activity, FINISHED - 1)
    if verdict != DONE:
        for i in range(count):
            give_place(ledger, holds[i])
    return verdict


cdef inline int add_up(
    LedgerCore ledger, const Claim* claims, int count, Claim* totals
) noexcept nogil:
    """Write what is needed of each asset, return of how many; 0 when a sum exceeds 63 bits.

    Tokens first: a missing position is reported before missing money.
    """
    cdef int assets = 0, i, j
    cdef int64_t money = 0
    cdef int64_t* total
    for i in range(count):
        total = &money
        if claims[i].words != ledger.collateral:
            for j in range(assets):
                if totals[j].words == claims[i].words:
                    break
            else:
                j = assets
                assets += 1
                totals[j].words = claims[i].words
                totals[j].micro = 0
            total = &totals[j].micro
        if total[0] > INT64_MAX - claims[i].micro:
            return 0
        total[0] += claims[i].micro
    if money:
        totals[assets].words = ledger.collateral
        totals[assets].micro = money
        assets += 1
    return assets


cdef inline bint covers(Words* words, int64_t needed, Shortfall* shortfall) noexcept nogil:
    shortfall.words = words
    shortfall.needed = needed
    shortfall.available = load(&words.available)
    return shortfall.available >= needed


cdef inline bint take(Words* words, int64_t needed, Shortfall* shortfall) noexcept nogil:
    while covers(words, needed, shortfall):
        if move(&words.available, &shortfall.available, shortfall.available - needed):
            return True
    return False


cdef int c_release(LedgerCore ledger, Hold* hold, int64_t* freed) noexcept nogil:  # hot
    cdef bint is_sound
    cdef int64_t micro
    add_u64(&ledger.activity, 1)
    micro = swap(&hold.held, 0)  # of many that come to end it, one finds something
    if micro == 0:
        add_u64(&ledger.activity, FINISHED - 1)
        return ENDED
    add(&hold.released, micro)
    is_sound = give_back(hold.words, micro)
    add_u64(&ledger.activity, FINISHED - 1)
    c_drop(ledger, hold)  # no longer open; the caller's reference keeps it
    freed[0] = micro
    return DONE if is_sound else BROKEN


cdef inline bint give_back(Words* words, int64_t micro) noexcept nogil:
    """Turn what is held into what is available; False when there was not so much."""
    cdef bint was_held = sub(&words.held, micro) >= micro
    return add(&words.available, micro) <= INT64_MAX - micro and was_held


# Under the lock ----------------------------------------------------------------------------------


cdef inline bint bind(Words* words, int64_t micro) noexcept nogil:
    """Make 0 < micro unavailable, whether or not it is there; False: over 63 bits in all.

    ``settled`` stands still under the lock, so settled - available is what is bound already.
    """
    cdef int64_t available = load(&words.available)
    # Both differences fit: settled >= 0, and available never falls below -INT64_MAX.
    while available - micro_floor(words.settled) >= micro:
        if move(&words.available, &available, available - micro):
            return True
    return False


cdef inline int64_t micro_floor(int64_t settled) noexcept nogil:
    """Return the lowest that available can be: everything bound that 63 bits can count."""
    return settled - INT64_MAX


cdef inline bint has_room(Words* words) noexcept nogil:
    """Make sure that one more flow fits, before anything changes."""
    cdef Py_ssize_t room = words.room
    cdef Flow* flows
    if words.count < room:
        return True
    room = 2 * room if room else 8
    flows = <Flow*>realloc(words.flows, room * sizeof(Flow))
    if flows == NULL:
        return False
    words.flows = flows
    words.room = room
    return True


cdef inline void note(Words* words, int64_t micro, int64_t at_ms) noexcept nogil:
    if at_ms != UNDATED:
        words.flows[words.count].at_ms = at_ms
        words.flows[words.count].micro = micro
        words.count += 1
    elif micro < 0:
        words.undated_out -= micro
    else:
        words.undated_in += micro
    if micro < 0:
        words.pending_out -= micro
    else:
        words.pending_in += micro


cdef int c_recover(
    LedgerCore ledger, Words* words, int64_t micro, Hold** hold
) noexcept nogil:
    cdef int verdict = DONE
    hold[0] = take_place(ledger)
    if hold[0] == NULL:
        return NO_MEMORY
    PyThread_acquire_lock(ledger.lock, 1)
    if bind(words, micro):
        add(&words.held, micro)
        begin_hold(hold[0], add(&ledger.last_id, 1) + 1, words, micro)
    else:
        verdict = TOO_MUCH
    PyThread_release_lock(ledger.lock)
    if verdict != DONE:
        give_place(ledger, hold[0])
    return verdict


cdef int c_spend(LedgerCore ledger, Hold* hold, int64_t micro, int64_t at_ms) noexcept nogil:
    cdef Words* words = hold.words
    cdef int verdict = DONE
    cdef int64_t held
    PyThread_acquire_lock(ledger.lock, 1)
    if not has_room(words):
        PyThread_release_lock(ledger.lock)
        return NO_MEMORY
    held = load(&hold.held)
    while True:
        if held == 0 or micro > held:
            PyThread_release_lock(ledger.lock)
            return TOO_MUCH if held else ENDED
        if move(&hold.held, &held, held - micro):
            break
    add(&hold.spent, micro)
    if at_ms < words.as_of_ms:
        # Late news: the balance was taken since and contains it.
        if not give_back(words, micro):
            verdict = BROKEN
    elif micro:
        if sub(&words.held, micro) < micro:
            verdict = BROKEN
        note(words, -micro, at_ms)
    PyThread_release_lock(ledger.lock)
    if held == micro:
        c_drop(ledger, hold)
    return verdict


cdef int c_update(
    LedgerCore ledger, Words* words, int64_t settled, int64_t as_of_ms
) noexcept nogil:
    cdef int64_t out_before
    cdef Py_ssize_t i, count
    PyThread_acquire_lock(ledger.lock, 1)
    if as_of_ms < words.as_of_ms:
        PyThread_release_lock(ledger.lock)
        return STALE
    count = words.count
    out_before = words.pending_out
    words.count = 0
    words.pending_in = words.undated_in
    words.pending_out = words.undated_out
    for i in range(count):
        if words.flows[i].at_ms > as_of_ms:
            note(words, words.flows[i].micro, words.flows[i].at_ms)
    # One step, so that no reservation sees one half. The difference may pass 63 bits, the sum not.
    add_u64(
        <uint64_t*>&words.available,
        <uint64_t>settled - <uint64_t>words.settled
        + (<uint64_t>out_before - <uint64_t>words.pending_out),
    )
    words.settled = settled
    words.as_of_ms = as_of_ms
    PyThread_release_lock(ledger.lock)
    return DONE


cdef int c_book(LedgerCore ledger, Words* words, int64_t micro, int64_t at_ms) noexcept nogil:
    cdef int verdict = DONE
    PyThread_acquire_lock(ledger.lock, 1)
    if at_ms >= words.as_of_ms and micro:
        if not has_room(words):
            verdict = NO_MEMORY
        elif micro > 0:
            if words.pending_in > INT64_MAX - micro:
                verdict = TOO_MUCH
        elif micro == INT64_MIN or not bind(words, -micro):
            verdict = TOO_MUCH
        if verdict == DONE:
            note(words, micro, at_ms)
    PyThread_release_lock(ledger.lock)
    return verdict


cdef int c_take_back(LedgerCore ledger, Words* words, int64_t micro) noexcept nogil:
    cdef int verdict = DONE
    PyThread_acquire_lock(ledger.lock, 1)
    if micro > words.undated_in or micro < -words.undated_out:
        verdict = TOO_MUCH
    elif micro < 0:
        words.undated_out += micro
        words.pending_out += micro
        add(&words.available, -micro)
    else:
        words.undated_in -= micro
        words.pending_in -= micro
    PyThread_release_lock(ledger.lock)
    return verdict


cdef int c_check(LedgerCore ledger, Words** broken) noexcept nogil:
    cdef uint64_t before
    cdef int verdict, tries = 0
    PyThread_acquire_lock(ledger.lock, 1)
    while True:
        broken[0] = NULL
        before = load_u64(&ledger.activity)
        verdict = add_holds(ledger, broken)
        # Nobody was at work when it began, and nobody has started since.
        if before & (FINISHED - 1) == 0 and load_u64(&ledger.activity) == before:
            break
        tries += 1
        if tries == TRIES:
            verdict = DONE
            break
        sched_yield()
    PyThread_release_lock(ledger.lock)
    return verdict


cdef int add_holds(LedgerCore ledger, Words** broken) noexcept nogil:
    cdef Words* words = ledger.first
    cdef Hold* hold
    cdef uint64_t i
    cdef int64_t held
    cdef int verdict = DONE
    while words != NULL:
        words.sum = 0
        words = words.next
    for i in range(load_u64(&ledger.places)):
        hold = place(ledger, i)
        if not enter(hold):
            continue
        held = load(&hold.held)
        hold.words.sum += held
        if held < 0 or hold.reserved - load(&hold.spent) - load(&hold.released) != held:
            verdict = BROKEN
        c_drop(ledger, hold)
    words = ledger.first
    while words != NULL and verdict == DONE:
        held = load(&words.held)
        # Of numbers that are sound, no step overflows.
        if held < 0 or held != words.sum or (
            words.settled - words.pending_out - held != load(&words.available)
        ):
            broken[0] = words
            verdict = BROKEN
        words = words.next
    return verdict
