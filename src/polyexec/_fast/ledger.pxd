# Contract of polyexec._fast.ledger: balances, and the holds on them. Rules and readable twin:
# ``_pure.ledger``.
#
# Every function below may run on any number of threads at once, without the GIL. ``c_reserve`` and
# ``c_release`` never wait. The rest takes the ledger's lock, which the first two never look at.
# Who passes a pointer keeps the ledger alive.
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef enum:
    MAX_CLAIMS = 16

cdef enum Verdict:
    DONE = 0
    SHORT = 1      # not enough is available
    ENDED = 2      # nothing of the hold is held any more
    TOO_MUCH = 3   # more than the hold holds, or than 63 bits
    NO_MEMORY = 4
    STALE = 5      # a newer balance is known
    BROKEN = 6     # an invariant does not hold: stop trading

# One flow that the balance does not contain yet; negative: money that left.
cdef struct Flow:
    int64_t at_ms
    int64_t micro

# The words of one asset, micro-units. Lives as long as its ledger.
#
# At rest available == settled - held - pending_out. While something changes, ``available`` is the
# smaller one: it is the first to go down and the last to come up, so it never promises too much.
# held + pending_out stays at or below 2**63 - 1, so no word and no difference can overflow.
cdef struct Words:
    # Atomic: written by everything that changes what may be taken.
    int64_t available
    # Atomic: written by reserve, release, spend and recover.
    int64_t held
    # Under the ledger's lock.
    int64_t settled      # update
    int64_t as_of_ms     # update
    int64_t pending_out  # update, spend, book, take_back
    int64_t pending_in   # update, book, take_back
    int64_t undated_out  # part of pending_out: spend, book, take_back
    int64_t undated_in   # part of pending_in: book, take_back
    Flow* flows          # update, spend, book
    Py_ssize_t count
    Py_ssize_t room
    int64_t sum          # check
    # Written once, before others can see it.
    Words* next
    void* asset          # the str, borrowed from the ledger

# A reservation. At rest reserved == held + spent + released.
cdef struct Hold:
    # Written by reserve and recover, before ``references`` lets others in.
    int64_t id
    Words* words
    int64_t reserved
    # Atomic; only goes down, and who takes it to 0 has ended the reservation.
    int64_t held
    # Atomic: written by spend.
    int64_t spent
    # Atomic: written by release.
    int64_t released
    # Atomic: handles, plus one while it is open. At 0 the place is free for another; above 0 the
    # hold stays what it is.
    uint32_t references
    uint32_t next        # atomic, of a free place: 1 + index of the next one
    uint32_t index       # of this place

cdef struct Claim:
    Words* words
    int64_t micro        # above 0

cdef struct Shortfall:
    Words* words
    int64_t needed
    int64_t available


cdef class LedgerCore:
    cdef dict accounts          # asset -> Account, only grows
    cdef Words* collateral
    cdef Words* first           # under the lock; the list of all words
    cdef void* lock
    cdef Hold* chunks[16]        # of places, each twice as large as the one before; lock to add
    cdef uint64_t places        # atomic; used so far. Written by reserve and recover
    cdef uint64_t room          # atomic; written under the lock
    cdef uint64_t free          # atomic; turn << 32 | 1 + index of a free place
    cdef int64_t last_id        # atomic; written by reserve and recover
    # Atomic: reserves and releases at work, and above 16 bits how many are done. Written by them.
    cdef uint64_t activity

    cdef Words* find(self, object asset) except NULL
    cdef Words* seen(self, object asset) except? NULL
    cdef int64_t amount(self, object value, str refusal) except? -1
    cdef Hold* hold_of(self, object reservation) except NULL
    cdef object wrap(self, Hold* hold)
    cdef object broken(self)


cdef class Reservation:
    cdef LedgerCore ledger
    cdef Hold* hold


# Hold all of 1 to MAX_CLAIMS claims or none: DONE, SHORT (tells of what), TOO_MUCH (together more
# than 63 bits), NO_MEMORY. ``holds`` come with a reference each: give it to LedgerCore.wrap or to
# c_drop.
#
# Each asset is taken in one step. Of claims on several, one that comes too late gives back what it
# took before: in between another may be refused what neither of them takes. Never the reverse.
cdef int c_reserve(
    LedgerCore ledger, const Claim* claims, int count, Hold** holds, Shortfall* shortfall
) noexcept nogil
# Free what is still held, which becomes ``freed``: DONE, ENDED, BROKEN.
cdef int c_release(LedgerCore ledger, Hold* hold, int64_t* freed) noexcept nogil
# End the caller's use of a hold; it stays held when it is open.
cdef void c_drop(LedgerCore ledger, Hold* hold) noexcept nogil
# Hold 0 < micro whether or not it is available: DONE, TOO_MUCH, NO_MEMORY.
cdef int c_recover(
    LedgerCore ledger, Words* words, int64_t micro, Hold** hold
) noexcept nogil
# 0 <= micro: DONE, ENDED, TOO_MUCH, NO_MEMORY, BROKEN.
cdef int c_spend(
    LedgerCore ledger, Hold* hold, int64_t micro, int64_t at_ms
) noexcept nogil
# 0 <= settled: DONE, STALE.
cdef int c_update(
    LedgerCore ledger, Words* words, int64_t settled, int64_t as_of_ms
) noexcept nogil
# DONE, TOO_MUCH, NO_MEMORY.
cdef int c_book(LedgerCore ledger, Words* words, int64_t micro, int64_t at_ms) noexcept nogil
# Remove a part of what is undated: DONE, TOO_MUCH.
cdef int c_take_back(LedgerCore ledger, Words* words, int64_t micro) noexcept nogil
# Whether the invariants hold, at a moment at which nothing is reserved or released: DONE, or
# BROKEN with the words whose ``held`` is not their ``sum`` (NULL: of one reservation). When there
# is no such moment for a while, only what holds at every time.
cdef int c_check(LedgerCore ledger, Words** broken) noexcept nogil
