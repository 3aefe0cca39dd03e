"""The books of every watched token, in slots. Rules and readable twin: ``_pure.prices``."""

cimport cython
from cpython.bool cimport PyBool_Check
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from cpython.long cimport PyLong_CheckExact
from cpython.number cimport PyNumber_Index
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport INT64_MAX, int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

from polyexec._fast.convert cimport as_int64, c_plain_scaled

from polyexec._pure.prices import BookState, Top

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1
    PyObject* PyDict_GetItemWithError(object mapping, object key) except? NULL
    int PyUnicode_CompareWithASCIIString(object text, const char* other)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>

    /* Each row on a cache line of its own. */
    static void *new_rows(size_t size) {
        void *start = NULL;
        if (posix_memalign(&start, 64, size) != 0) return NULL;
        return memset(start, 0, size);
    }
    """
    void* new_rows(size_t size) nogil

TOP_CHANGED = FLAG_TOP
DEPTH_CHANGED = FLAG_DEPTH
STALE_EVENT = FLAG_STALE

cdef enum:
    FLAG_TOP = 1
    FLAG_DEPTH = 2
    FLAG_STALE = 4
    # Fault
    UNKNOWN_SLOT = -1
    NOT_LOADED = -2
    BAD_SIDE = -3
    BAD_PRICE = -4
    BAD_SIZE = -5
    BAD_TICK = -6
    OFF_TICK = -7
    BAD_TIME = -8
    FROM_FUTURE = -9
    DOUBLE_LEVEL = -10
    BEST_DIFFERS = -11
    BAD_BOOK = -12

    STATES_NOTHING = -1  # of a stated best price

    SCALE = 10_000
    MOST_TICK_E4 = 5_000
    MOST_SLOTS = 1 << 24
    FIRST_ROOM = 16

cdef int64_t MOST_MICRO = <int64_t>1 << 58
# As ctypes writes it for the twin's rows.
cdef char* ROW_FORMAT = (
    b"T{<q:best_bid_e4:<q:best_ask_e4:<q:best_bid_size_micro:<q:best_ask_size_micro:"
    b"<q:time_ms:<q:received_ns:<i:tick_e4:<i:state:<i:epoch:<i:tenant:}"
)
cdef tuple STATES = tuple(BookState)


@cython.final
@cython.auto_pickle(False)
cdef class PriceTable:
    """Books in slots; see ``_pure.prices``."""

    def __cinit__(self, capacity=4096):
        self.capacity = <Py_ssize_t>ranged(capacity, 1, MOST_SLOTS, "capacity")
        self.horizon_ms = INT64_MAX
        self.rows = <Row*>new_rows(self.capacity * sizeof(Row))
        self.sides = <Levels*>calloc(2 * self.capacity, sizeof(Levels))
        if self.rows == NULL or self.sides == NULL:
            raise MemoryError
        self.slots = {}
        self.tokens = [None] * self.capacity
        self.free_slots = list(range(self.capacity - 1, -1, -1))

    def __dealloc__(self):
        cdef Py_ssize_t index
        if self.sides != NULL:
            for index in range(2 * self.capacity):
                free(self.sides[index].items)
        free(self.sides)
        free(self.rows)

    def add(self, token_id, tick_e4=0):
        """Return the slot of a token, a free one if it has none; see ``_pure.prices``."""
        if not isinstance(token_id, str):
            raise TypeError(f"token_id must be text, not {type(token_id).__name__}")
        cdef int64_t tick = ranged(tick_e4, 0, MOST_TICK_E4, "tick_e4")
        cdef Py_ssize_t slot
        known = self.slots.get(token_id)
        if known is not None:
            slot = known
        elif not self.free_slots:
            raise OverflowError(f"the table holds {self.capacity} tokens, and all are taken")
        else:
            slot = self.free_slots.pop()
            self.slots[token_id] = slot
            self.tokens[slot] = token_id
            self.rows[slot].tenant += 1
        if not self.rows[slot].tick_e4:
            self.rows[slot].tick_e4 = <int32_t>tick
        return slot

    def remove(self, token_id):
        """Give up a token's slot, if it has one; another token may get it."""
        known = self.slots.pop(token_id, None)
        if known is None:
            return
        cdef Py_ssize_t slot = known
        cdef Row* row = &self.rows[slot]
        drop(row, &self.sides[2 * slot])
        row.time_ms = row.received_ns = 0
        row.tick_e4 = 0
        row.epoch += 1
        row.tenant += 1
        self.tokens[slot] = None
        self.free_slots.append(slot)

    def slot(self, token_id):
        """Return the slot of a token; -1: it has none."""
        return self.slots.get(token_id, -1)

    def token_id_of(self, slot):
        """Return the token of a slot; IndexError: it has none."""
        return self.tokens[checked_slot(self, slot)]

    def load_book(self, slot, bids, asks, *, tick_e4, time_ms, received_ns):
        """Replace a book by a snapshot; return flags, or a fault; see ``_pure.prices``."""
        cdef Py_ssize_t number = self.c_known(slot)
        if number < 0:
            return UNKNOWN_SLOT
        cdef Row* row = &self.rows[number]
        cdef Levels* sides = &self.sides[2 * number]
        cdef int64_t tick = as_int64(tick_e4), now = as_int64(received_ns)
        cdef int64_t time = 0
        cdef int fault
        if tick < 0 or tick > MOST_TICK_E4:
            return faulty(row, sides, BAD_TICK)
        fault = read_time(time_ms, self.horizon_ms, &time)
        if fault:
            return faulty(row, sides, fault)
        if time < row.time_ms:
            return FLAG_STALE
        cdef Row before = row[0]
        if tick and tick != row.tick_e4:
            row.epoch += row.tick_e4 != 0
            row.tick_e4 = <int32_t>tick
        fault = fill(&sides[0], 1, bids, row.tick_e4)
        if not fault:
            fault = fill(&sides[1], -1, asks, row.tick_e4)
        if fault:
            return faulty(row, sides, fault)
        row.time_ms, row.received_ns = time, now
        show(row, sides)
        return FLAG_DEPTH | (FLAG_TOP if differs(row, &before) else 0)

    def apply_change(
        self, slot, side, price, size, best_bid, best_ask, time_ms, received_ns
    ):  # hot
        """Set the total at one price; return flags, or a fault; see ``_pure.prices``."""
        cdef Py_ssize_t number = self.c_known(slot)
        if number < 0:
            return UNKNOWN_SLOT
        return self.c_apply(
            number, side, price, size, best_bid, best_ask, time_ms, as_int64(received_ns)
        )

    cdef int c_apply(
        self, Py_ssize_t slot, object side, object price, object size, object best_bid,
        object best_ask, object time_ms, int64_t received_ns,
    ) except 1000:  # hot
        cdef int64_t time = 0
        cdef int fault = read_time(time_ms, self.horizon_ms, &time)
        return self.c_apply_level(
            slot, side_code(side), plain_text(price, 4), plain_text(size, 6), stated(best_bid),
            stated(best_ask), fault if fault else time, received_ns,
        )

    cdef int c_apply_level(
        self, Py_ssize_t slot, int code, int64_t price_e4, int64_t size_micro, int64_t best_bid,
        int64_t best_ask, int64_t time, int64_t received_ns,
    ) except 1000:  # hot
        cdef Row* row = &self.rows[slot]
        cdef Levels* sides = &self.sides[2 * slot]
        if code < 0:
            return faulty(row, sides, BAD_SIDE)
        cdef int fault = level_fault(price_e4, size_micro, row.tick_e4)
        if fault:
            return faulty(row, sides, fault)
        if time < 0:
            return faulty(row, sides, <int>time)
        if row.state == BOOK_EMPTY:
            # The next snapshot must know of this change.
            row.time_ms = max(row.time_ms, time)
            return NOT_LOADED
        if time < row.time_ms:
            return FLAG_STALE
        cdef Row before = row[0]
        cdef int changed = put(&sides[code], -1 if code else 1, price_e4, size_micro)
        if changed < 0:
            drop(row, sides)
            raise MemoryError
        row.time_ms, row.received_ns = time, received_ns
        show(row, sides)
        fault = best_fault(best_bid, row.best_bid_e4)
        if not fault:
            fault = best_fault(best_ask, row.best_ask_e4)
        if fault:
            return faulty(row, sides, fault)
        return (FLAG_DEPTH if changed else 0) | (FLAG_TOP if differs(row, &before) else 0)

    cdef int c_load_levels(
        self, Py_ssize_t slot, Py_ssize_t count, const int8_t* codes, const int32_t* prices_e4,
        const int64_t* sizes_micro, int64_t tick, int64_t time, int64_t received_ns,
    ) except 1000:
        cdef Row* row = &self.rows[slot]
        cdef Levels* sides = &self.sides[2 * slot]
        cdef Py_ssize_t index
        cdef int fault
        if tick < 0 or tick > MOST_TICK_E4:
            return faulty(row, sides, BAD_TICK)
        if time < 0:
            return faulty(row, sides, <int>time)
        if time < row.time_ms:
            return FLAG_STALE
        cdef Row before = row[0]
        if tick and tick != row.tick_e4:
            row.epoch += row.tick_e4 != 0
            row.tick_e4 = <int32_t>tick
        sides[0].count = sides[1].count = 0
        for index in range(count):
            if codes[index] < 0:
                return faulty(row, sides, BAD_SIDE)
            fault = add_level(
                &sides[codes[index]], -1 if codes[index] else 1, prices_e4[index],
                sizes_micro[index], row.tick_e4,
            )
            if fault:
                return faulty(row, sides, fault)
        row.time_ms, row.received_ns = time, received_ns
        show(row, sides)
        return FLAG_DEPTH | (FLAG_TOP if differs(row, &before) else 0)

    def confirm(self, slot, received_ns):
        """Note that the book was seen to be as known; see ``_pure.prices``."""
        cdef Row* row = &self.rows[checked_slot(self, slot)]
        row.received_ns = max(row.received_ns, as_int64(received_ns))

    def start_epoch(self, slot, tick_e4):
        """Take a new tick size; the book is unusable until the next snapshot."""
        cdef Py_ssize_t number = checked_slot(self, slot)
        cdef int64_t tick = ranged(tick_e4, 0, MOST_TICK_E4, "tick_e4")
        drop(&self.rows[number], &self.sides[2 * number])
        self.rows[number].tick_e4 = <int32_t>tick
        self.rows[number].epoch += 1

    def invalidate(self, slot):
        """Make a book unusable until the next snapshot: a gap, silence, another hash."""
        cdef Py_ssize_t number = checked_slot(self, slot)
        drop(&self.rows[number], &self.sides[2 * number])

    def top(self, slot):
        """Return the best prices of a slot and how old they are."""
        cdef Row* row = &self.rows[checked_slot(self, slot)]
        return Top(
            row.best_bid_e4, row.best_ask_e4, row.best_bid_size_micro, row.best_ask_size_micro,
            row.time_ms, row.received_ns, row.tick_e4, STATES[row.state], row.epoch,
        )

    def levels(self, slot, side):
        """Return ``(price_e4, size_micro)`` of one side, best first; see ``_pure.prices``."""
        cdef Py_ssize_t number = checked_slot(self, slot), index
        cdef int code = side_code(side)
        if code < 0:
            raise ValueError(f"side must be BUY or SELL, not {side!r}")
        cdef Levels* book = &self.sides[2 * number + code]
        cdef list found = []
        for index in range(book.count - 1, -1, -1):
            found.append((book.items[index].price_e4, book.items[index].size_micro))
        return found

    def state(self, slot):
        """Return whether the book of a slot may be traded."""
        return STATES[self.rows[checked_slot(self, slot)].state]

    def view(self):
        """Return every slot as one read-only structured array; see ``_pure.prices``."""
        return memoryview(self)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a price table is read-only")
        buffer.buf = self.rows
        buffer.obj = self
        buffer.len = self.capacity * sizeof(Row)
        buffer.itemsize = sizeof(Row)
        buffer.readonly = True
        buffer.ndim = 1
        buffer.format = ROW_FORMAT if flags & PyBUF_FORMAT else NULL
        buffer.shape = &self.capacity if flags & PyBUF_ND else NULL
        buffer.strides = &buffer.itemsize if flags & PyBUF_STRIDES == PyBUF_STRIDES else NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL

    def __len__(self):
        return len(self.slots)

    def __contains__(self, token_id):
        return token_id in self.slots

    def __repr__(self):
        return f"PriceTable({len(self.slots)} of {self.capacity} slots)"

    def __reduce__(self):
        raise TypeError("a PriceTable lives in one process: it cannot be pickled or copied")

    cdef Py_ssize_t c_known(self, object slot) except -2:
        cdef int64_t number = as_int64(slot)
        if number < 0 or number >= self.capacity or not self.rows[number].tenant & 1:
            return -1
        return <Py_ssize_t>number

    cdef Py_ssize_t c_slot(self, object token_id) except -2:
        cdef PyObject* slot = PyDict_GetItemWithError(self.slots, token_id)
        return -1 if slot == NULL else <Py_ssize_t><object>slot


cdef int put(Levels* side, int sign, int64_t price_e4, int64_t size_micro) noexcept nogil:  # hot
    """Set the total at a price; return 1 when that changed something, -1 without memory."""
    cdef Py_ssize_t at = place_of(side, sign, price_e4)
    cdef Level* level
    if at == side.count or side.items[at].price_e4 != price_e4:
        if size_micro == 0:
            return 0
        if side.count == side.room and not grow(side):
            return -1
        level = &side.items[at]
        memmove(level + 1, level, (side.count - at) * sizeof(Level))
        level.price_e4, level.size_micro = price_e4, size_micro
        side.count += 1
        return 1
    level = &side.items[at]
    if level.size_micro == size_micro:
        return 0
    if size_micro:
        level.size_micro = size_micro
        return 1
    side.count -= 1
    memmove(level, level + 1, (side.count - at) * sizeof(Level))
    return 1


cdef inline Py_ssize_t place_of(
    const Levels* side, int sign, int64_t price_e4
) noexcept nogil:
    """Return the index of the first level that is not worse."""
    cdef Py_ssize_t low = 0, high = side.count, middle
    cdef int64_t key = sign * price_e4
    # A snapshot comes with the best last.
    if high and sign * side.items[high - 1].price_e4 < key:
        return high
    while low < high:
        middle = (low + high) // 2
        if sign * side.items[middle].price_e4 < key:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint grow(Levels* side) noexcept nogil:
    cdef Py_ssize_t room = 2 * side.room if side.room else FIRST_ROOM
    cdef void* items = realloc(side.items, room * sizeof(Level))
    if items == NULL:
        return False
    side.items, side.room = <Level*>items, room
    return True


cdef void show(Row* row, const Levels* sides) noexcept nogil:  # hot
    cdef const Levels* bids = &sides[0]
    cdef const Levels* asks = &sides[1]
    row.best_bid_e4 = row.best_bid_size_micro = row.best_ask_e4 = row.best_ask_size_micro = 0
    if bids.count:
        row.best_bid_e4 = bids.items[bids.count - 1].price_e4
        row.best_bid_size_micro = bids.items[bids.count - 1].size_micro
    if asks.count:
        row.best_ask_e4 = asks.items[asks.count - 1].price_e4
        row.best_ask_size_micro = asks.items[asks.count - 1].size_micro
    row.state = BOOK_LIVE
    if row.best_ask_e4 and row.best_bid_e4 >= row.best_ask_e4:
        row.state = BOOK_CROSSED


cdef inline bint differs(const Row* row, const Row* before) noexcept nogil:
    return (
        row.best_bid_e4 != before.best_bid_e4
        or row.best_ask_e4 != before.best_ask_e4
        or row.best_bid_size_micro != before.best_bid_size_micro
        or row.best_ask_size_micro != before.best_ask_size_micro
        or row.state != before.state
    )


cdef int faulty(Row* row, Levels* sides, int fault) noexcept nogil:
    drop(row, sides)
    return fault


cdef void drop(Row* row, Levels* sides) noexcept nogil:
    """Forget a book but for its times: an older snapshot than what was seen is no use."""
    sides[0].count = sides[1].count = 0
    row.best_bid_e4 = row.best_ask_e4 = 0
    row.best_bid_size_micro = row.best_ask_size_micro = 0
    row.state = BOOK_EMPTY


cdef int level_fault(
    int64_t price_e4, int64_t size_micro, int64_t tick_e4
) noexcept nogil:  # hot
    if price_e4 <= 0 or price_e4 >= SCALE:
        return BAD_PRICE
    if size_micro < 0 or size_micro > MOST_MICRO:
        return BAD_SIZE
    if tick_e4 and (price_e4 % tick_e4 or price_e4 > SCALE - tick_e4):
        return OFF_TICK
    return 0


cdef inline int64_t stated(object best) noexcept:  # hot
    """Return a stated best price, 0 where that side is empty; STATES_NOTHING, or BAD_PRICE."""
    cdef int64_t price_e4
    if best is None:
        return STATES_NOTHING
    price_e4 = plain_text(best, 4)
    if 0 <= price_e4 <= SCALE:
        return price_e4 % SCALE
    if PyUnicode_CheckExact(best) and not PyUnicode_GET_LENGTH(best):
        return STATES_NOTHING
    return BAD_PRICE


cdef inline int best_fault(int64_t stated, int64_t best_e4) noexcept nogil:  # hot
    if stated < 0:
        return 0 if stated == STATES_NOTHING else BAD_PRICE
    return 0 if stated == best_e4 else BEST_DIFFERS


cdef int fill(Levels* side, int sign, object levels, int64_t tick_e4) except 1:
    """Take a side of a snapshot; return a fault or 0."""
    cdef int fault
    side.count = 0
    if not isinstance(levels, (list, tuple)):
        return BAD_BOOK
    for level in levels:
        if isinstance(level, (list, tuple)):
            if len(level) != 2:
                return BAD_BOOK
            price, size = level
        else:
            price, size = getattr(level, "price", None), getattr(level, "size", None)
        fault = add_level(side, sign, plain_text(price, 4), plain_text(size, 6), tick_e4)
        if fault:
            return fault
    return 0


cdef inline int add_level(
    Levels* side, int sign, int64_t price_e4, int64_t size_micro, int64_t tick_e4
) except 1:
    """Take a level of a snapshot; return a fault or 0."""
    cdef int fault = level_fault(price_e4, size_micro, tick_e4)
    cdef Py_ssize_t at
    if fault:
        return fault
    at = place_of(side, sign, price_e4)
    if at < side.count and side.items[at].price_e4 == price_e4:
        return DOUBLE_LEVEL
    if put(side, sign, price_e4, size_micro) < 0:
        side.count = 0
        raise MemoryError
    return 0


cdef inline int64_t plain_text(object text, int places) noexcept:  # hot
    if not PyUnicode_CheckExact(text) or not PyUnicode_IS_COMPACT_ASCII(text):
        return -1
    return c_plain_scaled(<const uint8_t*>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text), places)


cdef inline int side_code(object side) noexcept:  # hot
    if isinstance(side, str):
        if PyUnicode_CompareWithASCIIString(side, b"BUY") == 0:
            return 0
        if PyUnicode_CompareWithASCIIString(side, b"SELL") == 0:
            return 1
    return -1


cdef int read_time(object value, int64_t horizon_ms, int64_t* time) except 1:  # hot
    """Read a unix time; return a fault or 0."""
    cdef int overflow = 0
    if PyUnicode_CheckExact(value):
        time[0] = plain_text(value, 0)
        return BAD_TIME if time[0] < 0 else FROM_FUTURE if time[0] > horizon_ms else 0
    if not PyLong_CheckExact(value):
        if PyBool_Check(value):
            raise TypeError("value must be an int, not bool")
        value = PyNumber_Index(value)
    time[0] = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or time[0] < 0:
        return BAD_TIME
    return FROM_FUTURE if time[0] > horizon_ms else 0


cdef Py_ssize_t checked_slot(PriceTable table, object slot) except -1:
    cdef Py_ssize_t number = table.c_known(slot)
    if number < 0:
        raise IndexError(f"slot {slot} has no token")
    return number


cdef inline int64_t ranged(object value, int64_t low, int64_t high, str name) except? -1:
    cdef int64_t number = as_int64(value)
    if number < low or number > high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number
