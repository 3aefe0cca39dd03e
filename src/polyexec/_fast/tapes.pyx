"""Plays recorded changes into a price table. Rules and readable twin: ``_pure.tapes``."""

cimport cython
from libc.stdint cimport INT64_MAX, int8_t, int32_t, int64_t
from libc.stdlib cimport calloc, free, realloc

from polyexec._fast.convert cimport as_int64
from polyexec._fast.evaluator cimport Evaluator
from polyexec._fast.prices cimport BOOK_EMPTY

from array import array

from polyexec._pure.prices import Fault
from polyexec._pure.tapes import COUNTED, Stop, checked_columns

cdef enum:  # Kind
    CHANGE, BOOK, LEVEL, TICK, TRADE

cdef enum:  # indices of COUNTED
    MESSAGES, CHANGES, BOOKS, OLD, UNLOADED, FOREIGN, ROWS

cdef enum:
    STALE_EVENT = 4
    NS_IN_MS = 1_000_000
    FIRST_ROOM = 64

cdef object AT_END = Stop.END, DUE = Stop.DUE, EVENT = Stop.EVENT
cdef object FOUND = Stop.FOUND, TOUCHED = Stop.TOUCHED


@cython.final
@cython.auto_pickle(False)
cdef class TapePlayer:
    """Plays blocks of a tape until somebody has to look; see ``_pure.tapes``."""

    def __cinit__(self, evaluator, table, slots, *, ahead_ms):
        if not isinstance(evaluator, Evaluator):
            raise TypeError(f"evaluator must be an Evaluator, not {type(evaluator).__name__}")
        self.evaluator = evaluator
        self.table = self.evaluator.table
        if table is not self.table:
            raise ValueError("table must be the one that the evaluator reads")
        for slot in slots:
            if slot != -1:
                self.table.token_id_of(slot)
        self.slots = array("i", slots)
        self.ahead_ms = as_int64(ahead_ms)
        self.finds, self.touched, self.watched, self.voided = [], (), [], []
        self.watches = <int8_t*>calloc(self.table.capacity, 1)
        if self.watches == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.changed)
        free(self.watches)

    def watch(self, slots):
        """Stop for the books of these slots too, and of no others; see ``_pure.tapes``."""
        if slots == self.watched:
            return
        for slot in slots:
            self.table.token_id_of(slot)
        for slot in self.watched:
            self.watches[<Py_ssize_t>slot] = 0
        self.watched = list(slots)
        for slot in self.watched:
            self.watches[<Py_ssize_t>slot] = 1
        self.is_watching = bool(self.watched)

    def load(self, columns):
        """Take the next block, all of its columns; see ``_pure.tapes``."""
        (
            self.received, self.times, self.kinds, self.ends, self.tokens, self.sides,
            self.prices, self.sizes, self.bids, self.asks,
        ) = checked_columns(columns)
        self.row, self.count = 0, self.kinds.shape[0]

    def play(self, until_ns):  # hot
        """Play messages received before then, and return why it stopped; see ``_pure.tapes``."""
        cdef int64_t until = as_int64(until_ns)
        cdef Py_ssize_t row = self.row, touched, index
        cdef int8_t kind
        cdef bint wanted
        while row < self.count:
            if self.received[row] >= until:
                self.row = row
                return DUE
            self.received_ns = self.received[row]
            kind = self.kinds[row]
            if kind == TRADE and not (self.stops_at_touch or self.is_watching):
                row += 1
                continue
            if kind != CHANGE and kind != BOOK:
                self.row = row + 1
                return EVENT
            row = self.message(row, &touched)
            wanted = self.lost
            for index in range(touched):
                if self.wants(self.changed[index]):
                    wanted = True
                    break
            if wanted:
                self.row = row
                self.touched = tuple([self.changed[each] for each in range(touched)])
                return TOUCHED
            if touched and self.look(touched):
                self.row = row
                return FOUND
        self.row = row
        return AT_END

    def counts(self):
        """Return what became of all rows; see ``_pure.tapes``."""
        return {name: self.counted[index] for index, name in enumerate(COUNTED)}

    def faults_by_number(self):
        """Return how often each :class:`Fault` voided a book, by its number."""
        return {int(one): self.faults[-int(one)] for one in Fault if self.faults[-int(one)]}

    def __reduce__(self):
        raise TypeError("a TapePlayer lives in one process: it cannot be pickled or copied")

    cdef Py_ssize_t message(self, Py_ssize_t row, Py_ssize_t* touched) except -1:  # hot
        """Apply a message; return the row after it."""
        cdef int64_t most = INT64_MAX - NS_IN_MS * self.ahead_ms
        cdef Py_ssize_t slot, next_row
        cdef int flags, state
        cdef bint is_last = False
        touched[0], self.lost = 0, False
        self.counted[MESSAGES] += 1
        self.table.horizon_ms = min(self.received_ns, most) // NS_IN_MS + self.ahead_ms
        while not is_last:
            if row >= self.count:
                raise ValueError("the block ends within a message")
            next_row = row + 1
            if self.kinds[row] == BOOK:
                if self.sizes[row] < 0 or self.sizes[row] >= self.count - row:
                    raise ValueError("the block ends within a book")
                next_row += <Py_ssize_t>self.sizes[row]
            self.counted[ROWS] += next_row - row
            is_last = self.ends[next_row - 1] != 0
            slot = self.slot_of(row)
            if slot < 0:
                self.counted[FOREIGN] += 1
                row = next_row
                continue
            state = self.table.rows[slot].state
            flags = self.take(slot, row)
            if flags < 0:
                if state == BOOK_EMPTY and self.kinds[row] == CHANGE:
                    self.counted[UNLOADED] += 1
                else:
                    self.faults[-flags] += 1
                if state != BOOK_EMPTY and self.watches[slot]:
                    self.lose(slot)
            elif flags & STALE_EVENT:
                self.counted[OLD] += 1
            else:
                self.counted[BOOKS if self.kinds[row] == BOOK else CHANGES] += 1
                if flags:
                    touched[0] = self.note(touched[0], <int32_t>slot)
            row = next_row
        return row

    cdef int take(self, Py_ssize_t slot, Py_ssize_t row) except 1000:  # hot
        """Apply a change or a book; return flags or a fault."""
        cdef int64_t time = self.times[row]
        cdef Py_ssize_t first = row + 1
        if time > self.table.horizon_ms:
            time = -9  # Fault.FROM_FUTURE
        elif time < 0:
            time = -8  # Fault.BAD_TIME
        if self.kinds[row] == CHANGE:
            return self.table.c_apply_level(
                slot, self.sides[row], self.prices[row], self.sizes[row], self.bids[row],
                self.asks[row], time, self.received_ns,
            )
        if self.sizes[row] == 0:
            first = row  # there is no row behind it to point at
        return self.table.c_load_levels(
            slot, <Py_ssize_t>self.sizes[row], &self.sides[first], &self.prices[first],
            &self.sizes[first], self.prices[row], time, self.received_ns,
        )

    cdef int lose(self, Py_ssize_t slot) except -1:
        """Note that a watched book is void."""
        if not self.lost:
            self.lost, self.voided = True, []
        self.voided.append(slot)
        return 0

    cdef inline bint wants(self, Py_ssize_t slot) noexcept:  # hot
        return slot >= 0 and (self.stops_at_touch or self.watches[slot])

    cdef Py_ssize_t slot_of(self, Py_ssize_t row) noexcept:  # hot
        cdef Py_ssize_t token = self.tokens[row]
        return self.slots[token] if 0 <= token < self.slots.shape[0] else -1

    cdef Py_ssize_t note(self, Py_ssize_t touched, int32_t slot) except -1:  # hot
        """Remember a touched slot, if it is not yet; return how many there are."""
        cdef Py_ssize_t index, room
        cdef void* changed
        for index in range(touched):
            if self.changed[index] == slot:
                return touched
        if touched == self.room:
            room = 2 * self.room if self.room else FIRST_ROOM
            changed = realloc(self.changed, room * sizeof(int32_t))
            if changed == NULL:
                raise MemoryError
            self.changed, self.room = <int32_t*>changed, room
        self.changed[touched] = slot
        return touched + 1

    cdef int look(self, Py_ssize_t touched) except -1:  # hot
        """Evaluate what was touched; return whether anything pays."""
        cdef list found = None, one
        cdef Py_ssize_t index
        cdef int64_t side
        for index in range(touched):
            side = 2 * self.changed[index]
            one = self.evaluator.find(side, self.received_ns, None)
            one = self.evaluator.find(side + 1, self.received_ns, one)
            if one is not None:
                if found is None:
                    found = []
                found.append(tuple(one))
        if found is None:
            return 0
        self.finds = found
        return 1
