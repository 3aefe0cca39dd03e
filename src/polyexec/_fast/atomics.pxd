# Atomic words for the modules that threads share. No extension of its own: inline C only.
#
# What changes a word acquires and releases, so that whoever sees the change also sees everything
# that was written before it; on x86 and ARMv8.1 that costs no more than a weaker order.
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from *:
    """
    #ifndef POLYEXEC_ATOMICS_H
    #define POLYEXEC_ATOMICS_H
    #define atomic_load_(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define atomic_store_(p, value) __atomic_store_n((p), (value), __ATOMIC_RELEASE)
    #define atomic_add_(p, value) __atomic_fetch_add((p), (value), __ATOMIC_ACQ_REL)
    #define atomic_sub_(p, value) __atomic_fetch_sub((p), (value), __ATOMIC_ACQ_REL)
    #define atomic_or_(p, value) __atomic_fetch_or((p), (value), __ATOMIC_ACQ_REL)
    #define atomic_and_(p, value) __atomic_fetch_and((p), (value), __ATOMIC_ACQ_REL)
    #define atomic_swap_(p, value) __atomic_exchange_n((p), (value), __ATOMIC_ACQ_REL)
    #define atomic_move_(p, seen, value) __atomic_compare_exchange_n( \\
        (p), (seen), (value), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
    #endif
    """
    # The value at the time; those that change return the value before.
    int64_t load "atomic_load_"(const int64_t* word) nogil
    uint64_t load_u64 "atomic_load_"(const uint64_t* word) nogil
    uint32_t load_u32 "atomic_load_"(const uint32_t* word) nogil
    void store "atomic_store_"(int64_t* word, int64_t value) nogil
    void store_u32 "atomic_store_"(uint32_t* word, uint32_t value) nogil
    int64_t add "atomic_add_"(int64_t* word, int64_t value) nogil
    uint64_t add_u64 "atomic_add_"(uint64_t* word, uint64_t value) nogil
    int64_t sub "atomic_sub_"(int64_t* word, int64_t value) nogil
    uint32_t sub_u32 "atomic_sub_"(uint32_t* word, uint32_t value) nogil
    uint64_t or_u64 "atomic_or_"(uint64_t* word, uint64_t value) nogil
    uint64_t and_u64 "atomic_and_"(uint64_t* word, uint64_t value) nogil
    int64_t swap "atomic_swap_"(int64_t* word, int64_t value) nogil
    # Compare and swap; on failure `seen` becomes what is there now.
    bint move "atomic_move_"(int64_t* word, int64_t* seen, int64_t value) nogil
    bint move_u64 "atomic_move_"(uint64_t* word, uint64_t* seen, uint64_t value) nogil
    bint move_u32 "atomic_move_"(uint32_t* word, uint32_t* seen, uint32_t value) nogil
