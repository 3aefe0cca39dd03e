"""The largest set size that every leg can trade exactly. Readable twin: ``_pure.sizing``."""

from libc.stdint cimport INT64_MAX, int64_t

from polyexec._fast.convert cimport as_int64

cdef enum:
    CENT = 10_000    # micro-units in a hundredth
    SELL_UNIT = 100  # micro-units in the fourth decimal, the finest of immediate proceeds
    MOST_LEGS = 16


def group_size(legs, wanted_micro):  # hot
    """Return the largest common set size, or 0; see ``_pure.sizing``."""
    cdef SizingLeg[MOST_LEGS] rules
    cdef int64_t wanted = as_int64(wanted_micro)
    cdef Py_ssize_t count = 0
    if not isinstance(legs, (tuple, list)):
        raise TypeError(f"legs must be a tuple or list, not {type(legs).__name__}")
    if not 1 <= len(legs) <= MOST_LEGS:
        raise ValueError(f"legs must be 1 to {MOST_LEGS}, not {len(legs)}")
    if wanted < 0:
        raise ValueError(f"wanted_micro must not be negative, not {wanted}")
    # A tuple of its own: reading a number may run code that changes the caller's list.
    for leg in tuple(legs):
        read_leg(leg, &rules[count])
        count += 1
    return c_group_size(rules, count, wanted)


cdef int64_t c_group_size(
    const SizingLeg* legs, Py_ssize_t count, int64_t wanted_micro
) noexcept nogil:  # hot
    cdef int64_t step = 1  # in hundredths of a share; it divides 10_000, so it cannot overflow
    cdef int64_t cents, least = 0, unit
    cdef Py_ssize_t i
    for i in range(count):
        if not lies_on_tick(legs[i].price_e4, legs[i].tick_e4):
            return 0
        if legs[i].is_immediate:
            unit = SELL_UNIT if legs[i].side else CENT
            step = lcm(step, unit // gcd(legs[i].price_e4, unit))
        least = max(least, legs[i].min_size_micro)
    cents = wanted_micro // CENT // step * step
    if cents == 0 or cents * CENT < least:
        return 0
    for i in range(count):
        if cents * legs[i].price_e4 < legs[i].min_notional_micro:
            return 0
    return cents * CENT


cdef inline bint lies_on_tick(int64_t price_e4, int64_t tick_e4) noexcept nogil:
    return tick_e4 == 0 or (price_e4 % tick_e4 == 0 and price_e4 <= 10_000 - tick_e4)


cdef inline int64_t gcd(int64_t a, int64_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef inline int64_t lcm(int64_t a, int64_t b) noexcept nogil:
    return a // gcd(a, b) * b


cdef int read_leg(object leg, SizingLeg* rule) except -1:
    if not isinstance(leg, tuple):
        raise TypeError(f"a leg must be a tuple, not {type(leg).__name__}")
    if len(leg) != 6:
        raise ValueError(f"a leg must be 6 numbers, not {len(leg)}")
    rule.price_e4 = checked(leg[0], 1, 9999, "price_e4")
    rule.tick_e4 = checked(leg[1], 0, 9999, "tick_e4")
    rule.side = <int>checked(leg[2], 0, 1, "side")
    rule.is_immediate = <int>checked(leg[3], 0, 1, "is_immediate")
    rule.min_size_micro = checked(leg[4], 0, INT64_MAX, "min_size_micro")
    rule.min_notional_micro = checked(leg[5], 0, INT64_MAX, "min_notional_micro")
    return 0


cdef inline int64_t checked(object value, int64_t low, int64_t high, str name) except -1:
    cdef int64_t number = as_int64(value)
    if number < low or number > high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number
