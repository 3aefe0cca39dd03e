"""Which sets of legs pay now, net of fees. Rules and readable twin: ``_pure.evaluator``."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, INT64_MIN, int8_t, int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memmove, memset

from polyexec._fast.amounts cimport c_taker_fee
from polyexec._fast.convert cimport as_int64
from polyexec._fast.prices cimport BOOK_LIVE, Level, Levels, PriceTable, Row
from polyexec._fast.sizing cimport SizingLeg, c_group_size

from types import MemberDescriptorType

from polyexec._pure.evaluator import COUNTED, Found

cdef extern from *:
    """
    typedef __int128 polyexec_signed_wide;
    """
    # Cython needs a name of a type it knows; C decides the width.
    ctypedef long long wide "polyexec_signed_wide"

cdef extern from *:
    """
    #define prefetch(address) __builtin_prefetch(address)
    """
    void prefetch(const void* address) noexcept nogil

cdef extern from "structmember.h":
    int T_OBJECT_EX
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_CompareWithASCIIString(object text, const char* other)

cdef enum:
    MIN_SHARES = 5_000_000
    MIN_DOLLARS = 1_000_000
    SCALE = 10_000
    MICRO = 1_000_000
    E4_MICRO = 100  # micro-dollars in an e4
    UNKNOWN_SLOT = -1
    STALE_EVENT = 4
    MOST_BPS = 1_000_000
    FIRST_ROOM = 4

cdef enum:  # indices of FIELDS
    ASSET_ID, SIDE, PRICE, SIZE, BEST_BID, BEST_ASK

cdef tuple FIELDS = ("asset_id", "side", "price", "size", "best_bid", "best_ask")
cdef int64_t MOST_MICRO = <int64_t>1 << 58


@cython.final
@cython.auto_pickle(False)
cdef class Evaluator:
    """Forms over a price table, by the slots that they read; see ``_pure.evaluator``."""

    def __cinit__(
        self, table, *, min_profit_micro, min_profit_bps, cooldown_ns, max_size_micro,
        max_age_ns, is_immediate=True,
    ):
        if not isinstance(table, PriceTable):
            raise TypeError(f"table must be a PriceTable, not {type(table).__name__}")
        self.table = table
        self.min_profit_micro = ranged(
            min_profit_micro, 0, MOST_FORM_LEGS * MICRO, "min_profit_micro"
        )
        self.min_bps = ranged(min_profit_bps, 0, MOST_BPS, "min_profit_bps")
        self.cooldown_ns = ranged(cooldown_ns, 0, INT64_MAX, "cooldown_ns")
        self.max_size_micro = ranged(max_size_micro, 1, MOST_MICRO, "max_size_micro")
        self.max_age_ns = ranged(max_age_ns, 0, INT64_MAX, "max_age_ns")
        self.is_immediate = bool(is_immediate)
        self.objects = []
        self.free_numbers = []
        self.takers = <SlotForms*>calloc(2 * self.table.capacity, sizeof(SlotForms))
        if self.takers == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t index
        if self.takers != NULL:
            for index in range(2 * self.table.capacity):
                free(self.takers[index].items)
        for index in range(self.form_room):
            free(self.forms[index])
        free(self.forms)
        free(self.takers)
        free(self.changed)

    def add(self, form):
        """Watch a form and return its number; see ``_pure.evaluator``."""
        cdef FormLeg[MOST_FORM_LEGS] legs
        cdef tuple sources = tuple(form.legs)
        cdef Py_ssize_t count = len(sources), index, number
        cdef list tokens = []
        cdef int64_t payout
        if not 2 <= count <= MOST_FORM_LEGS:
            raise ValueError(f"legs must be 2 to {MOST_FORM_LEGS}, not {count}")
        payout = ranged(form.payout, 1, MOST_FORM_LEGS, "payout")
        for index in range(count):
            tokens.append(read_leg(sources[index], &legs[index]))
        if len(set(tokens)) < count:
            raise ValueError("legs must each have another token")
        for index in range(count):
            slot = self.table.add(tokens[index], legs[index].tick_e4)
            legs[index].slot = slot
            legs[index].tenant = self.table.rows[legs[index].slot].tenant
        number = self.free_numbers.pop() if self.free_numbers else len(self.objects)
        try:
            make_room(self, number)
            self.forms[number] = new_form(<int32_t>number, legs, count, payout * MICRO)
            for index in range(count):
                append(&self.takers[side_taken(&legs[index])], self.forms[number])
        except MemoryError:
            forget(self, number, legs, count)
            self.free_numbers.append(number)
            raise
        self.objects[number] = form
        return number

    def remove(self, number):
        """Watch a form no more; see ``_pure.evaluator``."""
        cdef int64_t index = as_int64(number)
        if index < 0 or index >= self.form_room or self.forms[index] == NULL:
            raise IndexError(f"no form has the number {index}")
        cdef FormData* form = self.forms[index]
        forget(self, <Py_ssize_t>index, form.legs, form.count)
        self.objects[index] = None
        self.free_numbers.append(index)

    def touched(self, slot, now_ns):  # hot
        """Return the forms of a slot that pay now; see ``_pure.evaluator``."""
        cdef int64_t index = as_int64(slot), now = as_int64(now_ns)
        cdef list found
        if index < 0 or index >= self.table.capacity:
            return ()
        found = self.find(2 * index + 1, now, self.find(2 * index, now, None))
        return () if found is None else tuple(found)

    def apply_changes(self, changes, time_ms, received_ns):  # hot
        """Apply one message to the table and evaluate what it changed; see ``_pure.evaluator``."""
        if not isinstance(changes, (list, tuple)):
            raise TypeError(f"changes must be a list or tuple, not {type(changes).__name__}")
        cdef int64_t now = as_int64(received_ns)
        cdef Py_ssize_t slot, count = 0, index
        cdef int flags, state
        cdef bint was_old, is_ask
        cdef list found = None, refused = None
        # A copy: reading a change may run code that alters the caller's list.
        cdef tuple messages = tuple(changes)
        for index in range(len(messages)):
            change = messages[index]
            if type(change) is not self.message_type:
                learn(self, type(change))
            slot = self.table.c_slot(field(self, change, ASSET_ID))
            flags = UNKNOWN_SLOT
            if slot >= 0:
                prefetch(&self.takers[2 * slot])
                state = self.table.rows[slot].state
                was_old = age_of(&self.table.rows[slot], now) > self.max_age_ns
                side = field(self, change, SIDE)
                flags = self.table.c_apply(
                    slot, side, field(self, change, PRICE), field(self, change, SIZE),
                    field(self, change, BEST_BID), field(self, change, BEST_ASK), time_ms, now,
                )
            if flags < 0 or flags == STALE_EVENT:
                if refused is None:
                    refused = []
                refused.append((index, flags))
            elif flags:
                # It is one of two, or nothing would have been applied.
                is_ask = PyUnicode_GET_LENGTH(side) == 4
                count = note(self, count, <int32_t>(2 * slot + is_ask))
                # What may be traded again, or is young again, is news for the other side too.
                if was_old or state != self.table.rows[slot].state:
                    count = note(self, count, <int32_t>(2 * slot + (not is_ask)))
        for index in range(count):
            found = self.find(self.changed[index], now, found)
        return (
            () if refused is None else tuple(refused), () if found is None else tuple(found)
        )

    cdef list find(self, int64_t side, int64_t now_ns, list found):  # hot
        """Add the forms that take a side and pay; a list is made for the first of them."""
        cdef SlotForms* forms = &self.takers[side]
        cdef Candidate best
        cdef Verdict verdict
        cdef Py_ssize_t place
        # Their memory is far apart: let it come while the first are looked at.
        for place in range(forms.count):
            prefetch(forms.items[place])
        for place in range(forms.count):
            verdict = self.look(forms.items[place], now_ns, &best)
            self.counted[<int>verdict] += 1
            if verdict == FOUND:
                if found is None:
                    found = []
                found.append(told(self, forms.items[place], now_ns, &best))
                forms.items[place].quiet_until_ns = later(now_ns, self.cooldown_ns)
        return found

    def counts(self):
        """Return what became of all looks at forms; see ``_pure.evaluator``."""
        return {name: self.counted[index] for index, name in enumerate(COUNTED)}

    def __len__(self):
        return len(self.objects) - len(self.free_numbers)

    def __repr__(self):
        return f"Evaluator({len(self)} forms)"

    def __reduce__(self):
        raise TypeError("an Evaluator lives in one process: it cannot be pickled or copied")

    cdef Verdict look(
        self, FormData* form, int64_t now_ns, Candidate* best
    ) noexcept nogil:  # hot
        cdef int64_t[MOST_FORM_LEGS] prices
        cdef int64_t best_e4
        cdef bint is_old = False
        cdef const FormLeg* leg
        cdef const Row* row
        cdef Py_ssize_t index
        if now_ns < form.quiet_until_ns:
            return COOLING
        if not form.fee_known:
            return FEE_UNKNOWN
        for index in range(form.count):
            leg = &form.legs[index]
            row = &self.table.rows[leg.slot]
            best_e4 = row.best_bid_e4 if leg.side else row.best_ask_e4
            if row.state != BOOK_LIVE or row.tenant != leg.tenant or best_e4 == 0:
                return UNUSABLE
            is_old |= age_of(row, now_ns) > self.max_age_ns
            prices[index] = SCALE - best_e4 if leg.side else best_e4
        if is_old:
            return TOO_OLD
        if not self.may_pay(form, prices):
            return UNPROFITABLE
        return FOUND if self.choose(form, prices, best) else UNSIZED

    cdef bint may_pay(
        self, const FormData* form, const int64_t* prices_e4
    ) noexcept nogil:  # hot
        """Return False when no size at these prices or worse ones can pass."""
        cdef int64_t cost = 0, net
        cdef Py_ssize_t index
        # First without fees: that already ends most looks.
        for index in range(form.count):
            cost += E4_MICRO * prices_e4[index]
        if form.payout_micro - cost < self.min_profit_micro:
            return False
        for index in range(form.count):
            cost += least_fee(prices_e4[index], &form.legs[index])
        net = form.payout_micro - cost
        return net >= self.min_profit_micro and net * SCALE >= self.min_bps * cost

    cdef bint choose(
        self, const FormData* form, const int64_t* prices_e4, Candidate* best
    ) noexcept nogil:
        """Walk down the books; return True when a candidate passes, the best of them in `best`."""
        cdef int64_t[MOST_FORM_LEGS] prices, depths
        cdef Py_ssize_t[MOST_FORM_LEGS] levels
        cdef SizingLeg[MOST_FORM_LEGS] rules
        cdef int64_t before = 0, reach, size, cost, net
        cdef const FormLeg* leg
        cdef const Levels* book
        cdef Py_ssize_t index
        best.size_micro = 0
        for index in range(form.count):
            leg = &form.legs[index]
            book = side_of(self.table, leg)
            levels[index] = book.count - 1
            depths[index] = book.items[book.count - 1].size_micro
            prices[index] = prices_e4[index]
            rules[index].tick_e4 = self.table.rows[leg.slot].tick_e4 or leg.tick_e4
            rules[index].side = 0
            rules[index].is_immediate = self.is_immediate
            rules[index].min_size_micro = leg.least_micro
            rules[index].min_notional_micro = MIN_DOLLARS
        while self.may_pay(form, prices):
            reach = INT64_MAX
            for index in range(form.count):
                rules[index].price_e4 = prices[index]
                reach = min(reach, depths[index])
            size = c_group_size(rules, form.count, min(reach, self.max_size_micro))
            if size > before:
                cost = cost_of(form, prices, size)
                net = form.payout_micro // MICRO * size - cost
                if (
                    <wide>net * MICRO >= <wide>self.min_profit_micro * size
                    and <wide>net * SCALE >= <wide>self.min_bps * cost
                    and (best.size_micro == 0 or net > best.net_micro)
                ):
                    best.size_micro, best.cost_micro, best.net_micro = size, cost, net
                    for index in range(form.count):
                        best.limits_e4[index] = prices[index]
                        best.depths_micro[index] = depths[index]
            if reach >= self.max_size_micro:
                break
            before = reach
            for index in range(form.count):
                if depths[index] != reach:
                    continue
                if levels[index] == 0:
                    return best.size_micro > 0
                levels[index] -= 1
                leg = &form.legs[index]
                step(&side_of(self.table, leg).items[levels[index]], leg, &prices[index],
                     &depths[index])
        return best.size_micro > 0


cdef inline void step(
    const Level* level, const FormLeg* leg, int64_t* price_e4, int64_t* depth_micro
) noexcept nogil:
    price_e4[0] = SCALE - level.price_e4 if leg.side else level.price_e4
    depth_micro[0] += level.size_micro


cdef int64_t cost_of(
    const FormData* form, const int64_t* prices_e4, int64_t size_micro
) noexcept nogil:
    cdef int64_t cost = 0
    cdef Py_ssize_t index
    for index in range(form.count):
        # Exact: a legal size is hundredths of a share.
        cost += size_micro // SCALE * prices_e4[index]
        cost += c_taker_fee(
            prices_e4[index], size_micro, form.legs[index].rate_micro, form.legs[index].exponent
        )
    return cost


cdef inline int64_t least_fee(int64_t price_e4, const FormLeg* leg) noexcept nogil:
    """Return micro-dollars per share, not above the fee."""
    cdef int64_t fee = leg.rate_micro
    cdef int _power
    for _power in range(leg.exponent):
        fee = fee * price_e4 * (SCALE - price_e4) // (SCALE * SCALE)
    return fee


cdef inline const Levels* side_of(PriceTable table, const FormLeg* leg) noexcept nogil:
    return &table.sides[side_taken(leg)]


cdef inline Py_ssize_t side_taken(const FormLeg* leg) noexcept nogil:
    """Return what the leg takes: a BUY the asks, a SELL the bids."""
    return 2 * <Py_ssize_t>leg.slot + 1 - leg.side


cdef inline int64_t age_of(const Row* row, int64_t now_ns) noexcept nogil:
    if now_ns <= row.received_ns:
        return 0
    # Stamps of one clock are far apart only if one of them is none of it.
    if row.received_ns < 0 and now_ns > INT64_MAX + row.received_ns:
        return INT64_MAX
    return now_ns - row.received_ns


cdef inline int64_t later(int64_t now_ns, int64_t by_ns) noexcept nogil:
    return now_ns + by_ns if now_ns <= INT64_MAX - by_ns else INT64_MAX


cdef object told(
    Evaluator self, const FormData* form, int64_t now_ns, const Candidate* best
):
    """Return a find as its record."""
    cdef list limits = [], depths = [], bests = [], sizes = [], ticks = [], ages = [], times = []
    cdef int64_t gross = form.payout_micro, best_e4
    cdef const FormLeg* leg
    cdef const Row* row
    cdef Py_ssize_t index
    for index in range(form.count):
        leg = &form.legs[index]
        row = &self.table.rows[leg.slot]
        best_e4 = row.best_bid_e4 if leg.side else row.best_ask_e4
        gross -= E4_MICRO * (SCALE - best_e4 if leg.side else best_e4)
        limits.append(SCALE - best.limits_e4[index] if leg.side else best.limits_e4[index])
        depths.append(best.depths_micro[index])
        bests.append(best_e4)
        sizes.append(row.best_bid_size_micro if leg.side else row.best_ask_size_micro)
        ticks.append(row.tick_e4 or leg.tick_e4)
        ages.append(age_of(row, now_ns))
        times.append(row.time_ms)
    return Found(
        form.number, self.objects[form.number], best.size_micro, tuple(limits), tuple(depths),
        tuple(bests), tuple(sizes), tuple(ticks), tuple(ages), tuple(times), best.cost_micro,
        best.net_micro, per_set(best.net_micro, best.size_micro), gross,
    )


cdef inline int64_t per_set(int64_t net_micro, int64_t size_micro) noexcept nogil:
    # What was found earns at least 0, so C's division rounds down.
    return <int64_t>(<wide>net_micro * MICRO // <wide>size_micro)


cdef int make_room(Evaluator self, Py_ssize_t number) except -1:
    cdef Py_ssize_t room = 2 * self.form_room if self.form_room else FIRST_ROOM
    cdef void* forms
    if number == len(self.objects):
        self.objects.append(None)
    if number >= self.form_room:
        forms = realloc(self.forms, room * sizeof(void*))
        if forms == NULL:
            raise MemoryError
        self.forms = <FormData**>forms
        memset(&self.forms[self.form_room], 0, (room - self.form_room) * sizeof(void*))
        self.form_room = room
    return 0


cdef FormData* new_form(
    int32_t number, const FormLeg* legs, Py_ssize_t count, int64_t payout_micro
) except NULL:
    cdef FormData* form = <FormData*>malloc(
        sizeof(FormData) - (MOST_FORM_LEGS - count) * sizeof(FormLeg)
    )
    cdef Py_ssize_t index
    if form == NULL:
        raise MemoryError
    form.quiet_until_ns = INT64_MIN
    form.number = number
    form.payout_micro = payout_micro
    form.count = <int32_t>count
    form.fee_known = True
    for index in range(count):
        form.legs[index] = legs[index]
        if legs[index].rate_micro < 0:
            form.fee_known = False
    return form


cdef inline object field(Evaluator self, object change, Py_ssize_t index):
    cdef PyObject* value = NULL
    if self.offsets[index] > 0:
        value = (<PyObject**>(<char*><PyObject*>change + self.offsets[index]))[0]
    # Without a place of its own, or without a value: Python knows what to do.
    return getattr(change, FIELDS[index]) if value == NULL else <object>value


cdef int learn(Evaluator self, object kind) except -1:
    """Note where instances of a class keep the fields that are plain slots."""
    cdef Py_ssize_t index
    cdef PyMemberDef* member
    for index in range(len(FIELDS)):
        self.offsets[index] = 0
        slot = getattr(kind, FIELDS[index], None)
        if type(slot) is MemberDescriptorType and issubclass(kind, slot.__objclass__):
            member = (<PyMemberDescrObject*>slot).d_member
            if member.type == T_OBJECT_EX:
                self.offsets[index] = member.offset
    self.message_type = kind
    return 0


cdef Py_ssize_t note(Evaluator self, Py_ssize_t count, int32_t side) except -1:
    """Remember a changed side, if it is not yet; return how many there are."""
    cdef Py_ssize_t room, index
    cdef void* changed
    for index in range(count):
        if self.changed[index] == side:
            return count
    if count == self.changed_room:
        room = 2 * self.changed_room if self.changed_room else FIRST_ROOM
        changed = realloc(self.changed, room * sizeof(int32_t))
        if changed == NULL:
            raise MemoryError
        self.changed, self.changed_room = <int32_t*>changed, room
    self.changed[count] = side
    return count + 1


cdef int append(SlotForms* forms, FormData* form) except -1:
    cdef Py_ssize_t room
    cdef void* items
    if forms.count == forms.room:
        room = 2 * forms.room if forms.room else FIRST_ROOM
        items = realloc(forms.items, room * sizeof(void*))
        if items == NULL:
            raise MemoryError
        forms.items, forms.room = <FormData**>items, room
    forms.items[forms.count] = form
    forms.count += 1
    return 0


cdef void forget(Evaluator self, Py_ssize_t number, const FormLeg* legs, Py_ssize_t count):
    """Take a form out of the index of its slots, as far as it is in, and free it."""
    cdef SlotForms* forms
    cdef Py_ssize_t index, place
    for index in range(count):
        forms = &self.takers[side_taken(&legs[index])]
        for place in range(forms.count):
            if forms.items[place].number == number:
                forms.count -= 1
                memmove(
                    &forms.items[place], &forms.items[place + 1],
                    (forms.count - place) * sizeof(void*),
                )
                break
    if number < self.form_room:
        free(self.forms[number])
        self.forms[number] = NULL


cdef object read_leg(object source, FormLeg* leg):
    """Return the token of a leg and read the rest of it; its slot is not known yet."""
    market = source.market
    token = market.token_id
    if not isinstance(token, str):
        raise TypeError(f"token_id must be text, not {type(token).__name__}")
    leg.side = side_code(source.side)
    leg.tick_e4 = <int32_t>ranged(market.tick_e4, 0, SCALE // 2, "tick_e4")
    leg.least_micro = max(
        <int64_t>MIN_SHARES,
        ranged(market.min_order_size_micro, 0, INT64_MAX, "min_order_size_micro"),
    )
    rate = market.fee_rate_micro
    leg.rate_micro = -1 if rate is None else <int32_t>ranged(rate, 0, MICRO, "fee_rate_micro")
    leg.exponent = <int8_t>ranged(market.fee_exponent, 0, 4, "fee_exponent")
    return token


cdef int8_t side_code(object side) except -1:
    if isinstance(side, str):
        if PyUnicode_CompareWithASCIIString(side, b"BUY") == 0:
            return 0
        if PyUnicode_CompareWithASCIIString(side, b"SELL") == 0:
            return 1
    raise ValueError(f"side must be BUY or SELL, not {side!r}")


cdef inline int64_t ranged(object value, int64_t low, int64_t high, str name) except? -1:
    cdef int64_t number = as_int64(value)
    if number < low or number > high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number
