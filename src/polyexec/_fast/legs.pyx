"""From quotes to the amounts that are signed, in one pass. Readable twin: ``_pure.legs``."""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcmp

from polyexec._fast.amounts cimport (
    Amounts,
    c_limit_amounts,
    c_market_amounts,
    c_slippage_e4,
    c_taker_fee,
)
from polyexec._fast.convert cimport as_int64
from polyexec._fast.sizing cimport SizingLeg, c_group_size

cdef extern from *:
    """
    typedef unsigned __int128 polyexec_wide;
    """
    # Cython needs a name of a type it knows; C decides the width.
    ctypedef unsigned long long wide "polyexec_wide"

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* length) except NULL
    int PyUnicode_CompareWithASCIIString(object text, const char* other)

NO_PRICE = FAULT_NO_PRICE
SAME_TOKEN = FAULT_SAME_TOKEN
OFF_TICK = FAULT_OFF_TICK
TOO_LARGE = FAULT_TOO_LARGE
NOT_ENOUGH_QUOTED = FAULT_NOT_ENOUGH_QUOTED
TOO_FEW_SHARES = FAULT_TOO_FEW_SHARES
TOO_FEW_DOLLARS = FAULT_TOO_FEW_DOLLARS
WORST_RATE_MICRO = WORST_RATE

cdef const char** TYPES = [b"GTC", b"GTD", b"FOK", b"FAK"]

cdef enum:
    FOK = 2  # index of the first immediate type
    LOT = 10_000
    SCALE = 10_000
    MIN_SHARES = 5_000_000
    MIN_DOLLARS = 1_000_000  # of a marketable BUY
    MICRO = 1_000_000
    WORST_RATE = 70_000

cdef int64_t MOST_MICRO = <int64_t>1 << 58


@cython.final
@cython.freelist(8)
cdef class LegTable:
    """Legs of one submission with everything that is decided about them; see ``_pure.legs``."""

    def __cinit__(self, sources):
        if not isinstance(sources, tuple):
            raise TypeError(f"legs must be a tuple, not {type(sources).__name__}")
        self.sources = sources
        self.count = len(self.sources)
        if not 1 <= self.count <= MOST_LEGS:
            raise ValueError(f"legs must be 1 to {MOST_LEGS}, not {self.count}")
        self.unknown_fee_leg = -1

    def row(self, Py_ssize_t index):
        """Return the figures of one leg as a tuple; see ``_pure.legs``."""
        if not 0 <= index < self.count:
            raise IndexError(f"leg {index} of {self.count}")
        cdef Leg* leg = &self.legs[index]
        return (
            leg.side, leg.order_type, leg.generation, int(leg.neg_risk), leg.quote_e4,
            leg.limit_e4, leg.wanted_micro, leg.size_micro, leg.maker_micro, leg.taker_micro,
            leg.available_micro, leg.least_micro, leg.rate_micro, leg.exponent, leg.fee_micro,
            leg.fee_reserve_micro, leg.expiration, int(leg.post_only), int(leg.is_taker),
        )

    def claims(self):
        """Return what must be held: (token of a SELL or "" for collateral, micro-units)."""
        cdef list found = []
        cdef Py_ssize_t index
        for index in range(self.count):
            asset = self.sources[index].token_id if self.legs[index].side else ""
            found.append((asset, self.c_claim(index)))
        return found

    def worst_loss(self, payoffs):  # hot
        """Return the most that is lost when only some legs trade; see ``_pure.legs``."""
        cdef int64_t[MOST_LEGS] pays
        cdef int64_t worst = 0
        cdef Py_ssize_t index
        cdef tuple row
        if payoffs is None:
            return self.loss_of_each()
        for row in payoffs:
            if len(row) != self.count:
                raise ValueError(f"payoffs must be rows of {self.count}, not {len(row)}")
            for index in range(self.count):
                pays[index] = ranged(row[index], 0, MICRO, "payoffs")
            worst = max(worst, self.c_loss(pays))
        return worst

    cdef int64_t loss_of_each(self) noexcept nogil:
        cdef int64_t total = 0
        cdef Py_ssize_t index
        for index in range(self.count):
            total += max(
                0, leg_loss(&self.legs[index], 0), leg_loss(&self.legs[index], MICRO)
            )
        return total

    cdef int64_t c_loss(self, const int64_t* pays_micro) noexcept nogil:  # hot
        cdef int64_t total = 0
        cdef Py_ssize_t index
        for index in range(self.count):
            total += max(0, leg_loss(&self.legs[index], pays_micro[index]))
        return total

    cdef int64_t c_claim(self, Py_ssize_t index) noexcept nogil:  # hot
        return self.legs[index].maker_micro + self.legs[index].fee_reserve_micro

    def __repr__(self):
        return f"LegTable({self.count} legs, fault={self.fault})"

    def __reduce__(self):
        raise TypeError("a LegTable belongs to one submission: it cannot be pickled or copied")


def price_quotes(quotes, sides, size_micro, order_type, slips):
    """Return the legs that take one side of each quote, all of one size; see ``_pure.legs``."""
    cdef LegTable table = LegTable(quotes)
    cdef int64_t size = ranged(size_micro, 0, INT64_MAX, "size_micro")
    cdef int kind = <int>ranged(order_type, 0, 3, "order_type")
    cdef Py_ssize_t index, other
    cdef Leg* leg
    cdef object price, available
    if len(sides) != table.count:
        raise ValueError(f"sides must be {table.count}, not {len(sides)}")
    for index in range(table.count):
        quote = table.sources[index]
        leg = &table.legs[index]
        leg.side = <int>ranged(sides[index], 0, 1, "side")
        if leg.side:
            price, available = quote.best_bid_e4, quote.best_bid_size_micro
        else:
            price, available = quote.best_ask_e4, quote.best_ask_size_micro
        if price is None:
            return faulty(table, FAULT_NO_PRICE, index)
        read_source(leg, quote)
        leg.order_type = kind
        leg.quote_e4 = ranged(price, 1, SCALE - 1, "price_e4")
        leg.wanted_micro = size
        leg.available_micro = optional(available, INT64_MAX, "available_micro")
        leg.is_taker = True
        for other in range(index):
            if same_text(leg, &table.legs[other]):
                return faulty(table, FAULT_SAME_TOKEN, index)
    return priced(table, bool(slips), True)


def price_legs(legs, order_type, slips):
    """Return explicit legs, each of its own price and size; see ``_pure.legs``."""
    cdef LegTable table = LegTable(legs)
    cdef int kind = <int>ranged(order_type, 0, 3, "order_type")
    cdef Py_ssize_t index
    cdef Leg* leg
    for index in range(table.count):
        source = table.sources[index]
        leg = &table.legs[index]
        read_source(leg, source)
        leg.order_type = kind if source.order_type is None else type_index(source.order_type)
        leg.side = side_code(source.side)
        leg.quote_e4 = ranged(source.price_e4, 1, SCALE - 1, "price_e4")
        leg.wanted_micro = ranged(source.size_micro, 0, INT64_MAX, "size_micro")
        leg.available_micro = optional(source.available_size_micro, INT64_MAX, "available_micro")
        leg.expiration = ranged(source.expiration, 0, INT64_MAX, "expiration")
        leg.post_only = bool(source.post_only)
        leg.is_taker = leg.order_type >= FOK
    return priced(table, bool(slips), False)


cdef int read_source(Leg* leg, object source) except -1:
    """Read what a quote and a leg have in common."""
    cdef object token = source.token_id
    cdef object tick = source.tick_e4
    if not isinstance(token, str):
        raise TypeError(f"token_id must be text, not {type(token).__name__}")
    # Borrowed: the source keeps its token, the table keeps the source.
    leg.token = PyUnicode_AsUTF8AndSize(token, &leg.token_length)
    leg.generation = <int>ranged(source.generation, 1, 3, "generation")
    leg.neg_risk = bool(source.neg_risk)
    leg.tick_e4 = 0 if tick is None else ranged(tick, 0, SCALE - 1, "tick_e4")
    leg.least_micro = ranged(source.min_order_size_micro, 0, INT64_MAX, "min_order_size_micro")
    leg.rate_micro = optional(source.fee_rate_micro, MICRO, "fee_rate_micro")
    leg.exponent = <int>ranged(source.fee_exponent, 0, 4, "fee_exponent")
    return 0


cdef inline bint same_text(const Leg* one, const Leg* other) noexcept nogil:
    return one.token_length == other.token_length and not memcmp(
        one.token, other.token, one.token_length
    )


cdef LegTable priced(LegTable table, bint slips, bint is_set):
    price_table(table, slips, is_set)
    return table


cdef void price_table(LegTable table, bint slips, bint is_set) noexcept nogil:  # hot
    cdef Py_ssize_t index
    cdef int64_t common = 0
    cdef Leg* leg
    for index in range(table.count):
        leg = &table.legs[index]
        if leg.tick_e4 and (
            leg.quote_e4 % leg.tick_e4 or leg.quote_e4 > SCALE - leg.tick_e4
        ):
            table.fault, table.fault_leg = FAULT_OFF_TICK, index
            return
        leg.limit_e4 = (
            c_slippage_e4(leg.quote_e4, leg.side, leg.tick_e4) if slips else leg.quote_e4
        )
    if is_set:
        common = common_size(table)
    for index in range(table.count):
        if not price_leg(&table.legs[index], common):
            table.fault, table.fault_leg = FAULT_TOO_LARGE, index
            return
    judge(table)


cdef int64_t common_size(LegTable table) noexcept nogil:  # hot
    # Resting legs ask nothing but hundredths of a share, so a set of them keeps its size, and one
    # below a minimum (0) is found by the size check. An immediate SELL counts as well: proceeds
    # that would be rounded to four decimals are not the set's price.
    cdef SizingLeg[MOST_LEGS] rules
    cdef int64_t wanted = INT64_MAX
    cdef Py_ssize_t index
    cdef Leg* leg
    for index in range(table.count):
        leg = &table.legs[index]
        rules[index].price_e4 = leg.limit_e4
        rules[index].tick_e4 = leg.tick_e4
        rules[index].side = leg.side
        rules[index].is_immediate = leg.order_type >= FOK
        rules[index].min_size_micro = max(<int64_t>MIN_SHARES, leg.least_micro)
        rules[index].min_notional_micro = MIN_DOLLARS if leg.is_taker and not leg.side else 0
        wanted = min(wanted, leg.wanted_micro)
    return c_group_size(rules, table.count, wanted)


cdef bint price_leg(Leg* leg, int64_t common_micro) noexcept nogil:  # hot
    """Fill in the amounts; False when a number is larger than any account."""
    cdef int64_t size = (common_micro or leg.wanted_micro) // LOT * LOT
    cdef int64_t rate = WORST_RATE if leg.rate_micro < 0 else leg.rate_micro
    cdef int64_t spend
    cdef Amounts amounts
    if leg.wanted_micro > MOST_MICRO:
        return False
    if leg.order_type >= FOK:
        spend = size if leg.side else <int64_t>(<wide>size * <wide>leg.limit_e4 // SCALE)
        # rounding table: price decimals + 2, of which an immediate order may use 4
        amounts = c_market_amounts(leg.limit_e4, spend, leg.side, 3 if leg.tick_e4 == 1000 else 4)
        size = amounts.maker if leg.side else amounts.taker
    else:
        amounts = c_limit_amounts(leg.limit_e4, size, leg.side)
    leg.size_micro = size
    leg.maker_micro = amounts.maker
    leg.taker_micro = amounts.taker
    leg.fee_micro = c_taker_fee(leg.limit_e4, size, rate, leg.exponent)
    leg.fee_reserve_micro = 0
    return bool(leg.side) or reserve_fee(leg, rate)


cdef bint reserve_fee(Leg* leg, int64_t rate_micro) noexcept nogil:  # hot
    """Fill in the most that the taker fee of a BUY can be, whatever its fill prices.

    A resting type buys fixed shares: a cheaper fill saves more than its fee can grow, so the fee
    at the limit covers it. An immediate BUY spends fixed collateral M and gets M/p shares, so
    its fee M x rate x p^(e-1) x (1-p)^e grows as the price improves, up to M x rate.
    """
    cdef wide worst
    leg.fee_reserve_micro = leg.fee_micro
    if leg.order_type < FOK:
        return True
    # e 0: M x rate / p, p at least 1e-4
    worst = <wide>leg.maker_micro * <wide>rate_micro * <wide>(SCALE if leg.exponent == 0 else 1)
    worst = (worst + (MICRO - 1)) // MICRO
    worst = (worst + 9) // 10 * 10
    if worst > <wide>MOST_MICRO:
        return False
    leg.fee_reserve_micro = max(leg.fee_micro, <int64_t>worst)
    return True


cdef void judge(LegTable table) noexcept nogil:  # hot
    """Fill in what is known of the set, and what is wrong with its sizes."""
    cdef wide gross = 0
    cdef int64_t per_share, judged
    cdef Py_ssize_t index
    cdef Leg* leg
    table.set_micro = INT64_MAX
    for index in range(table.count):
        leg = &table.legs[index]
        per_share = SCALE - leg.quote_e4 if leg.side else leg.quote_e4
        table.set_micro = min(table.set_micro, leg.size_micro)
        table.cost_micro += leg.maker_micro + leg.fee_micro
        if leg.side:
            table.cost_micro -= leg.taker_micro
        table.quoted_e4 += per_share
        if not leg.side:
            table.collateral_micro += leg.maker_micro + leg.fee_reserve_micro
        gross += <wide>per_share * <wide>leg.size_micro
        if leg.generation == 1:
            table.needs_v1 = True
        if leg.rate_micro < 0 and table.unknown_fee_leg < 0:
            table.unknown_fee_leg = index
        if not table.fault and 0 <= leg.available_micro < leg.wanted_micro:
            table.fault, table.fault_leg = FAULT_NOT_ENOUGH_QUOTED, index
        if table.size_fault:
            continue
        # An immediate order spends whole cents, which may buy a little less than was wanted; the
        # exchange judges it by its dollars.
        judged = leg.wanted_micro if leg.order_type >= FOK else leg.size_micro
        if judged < max(<int64_t>MIN_SHARES, leg.least_micro) or leg.size_micro == 0:
            table.size_fault, table.size_fault_leg = FAULT_TOO_FEW_SHARES, index
        elif leg.is_taker and not leg.side and leg.maker_micro < MIN_DOLLARS:
            table.size_fault, table.size_fault_leg = FAULT_TOO_FEW_DOLLARS, index
    table.gross_cost_micro = <int64_t>(gross // SCALE)


cdef int64_t leg_loss(const Leg* leg, int64_t pay_micro) noexcept nogil:  # hot
    """Return what a leg loses in full where its token pays this much, rounded against us."""
    cdef wide paid
    if leg.side:
        paid = (<wide>leg.maker_micro * <wide>pay_micro + (MICRO - 1)) // MICRO
        return <int64_t>paid - leg.taker_micro + leg.fee_micro
    paid = <wide>leg.taker_micro * <wide>pay_micro // MICRO
    # An immediate BUY that improves gets more shares: they outweigh the fee where they pay.
    return leg.maker_micro - <int64_t>paid + (
        leg.fee_micro if pay_micro == MICRO else leg.fee_reserve_micro
    )


cdef LegTable faulty(LegTable table, int fault, Py_ssize_t leg):
    table.fault, table.fault_leg = fault, leg
    return table


cdef int side_code(object side) except -1:
    if isinstance(side, str):
        if PyUnicode_CompareWithASCIIString(side, b"BUY") == 0:
            return 0
        if PyUnicode_CompareWithASCIIString(side, b"SELL") == 0:
            return 1
    raise ValueError(f"side must be BUY or SELL, not {side!r}")


cdef int type_index(object kind) except -1:
    cdef int index
    if isinstance(kind, str):
        for index in range(4):
            if PyUnicode_CompareWithASCIIString(kind, TYPES[index]) == 0:
                return index
    raise ValueError(f"order_type must be GTC, GTD, FOK or FAK, not {kind!r}")


cdef inline int64_t ranged(object value, int64_t low, int64_t high, str name) except -1:
    cdef int64_t number = as_int64(value)
    if number < low or number > high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number


cdef inline int64_t optional(object value, int64_t most, str name) except? -1:
    return -1 if value is None else ranged(value, 0, most, name)
