"""ECDSA signatures with nonces that were prepared before there was a message.

``s = z / k + r d / k``: everything but z is known beforehand, so a signature costs one product and
one sum. A nonce that signs twice gives the private key away; what follows makes that impossible
within a process and its children. All scalar arithmetic is libsecp256k1's, in constant time.
"""

import os
import sys
import threading
import time
import weakref

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from polyexec._fast.convert cimport as_int64, checked_bytes
from polyexec._fast.secp256k1 cimport (
    SIGNATURE_BYTES,
    c_add,
    c_is_bound,
    c_is_scalar,
    c_multiply,
    c_negate,
    c_nonce,
    c_point,
    c_sign,
)

cdef extern from *:
    """
    #include <pthread.h>
    #include <sched.h>

    #define ATOMIC_LOAD(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define ATOMIC_STORE(p, value) __atomic_store_n((p), (value), __ATOMIC_SEQ_CST)
    #define ATOMIC_ADD(p, value) __atomic_fetch_add((p), (value), __ATOMIC_SEQ_CST)
    #define ATOMIC_SWAP(p, value) __atomic_exchange_n((p), (value), __ATOMIC_SEQ_CST)
    #define ATOMIC_MOVE(p, from, to) __atomic_compare_exchange_n( \\
        (p), (from), (to), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

    /* Counts the forks between the first process and this one: also those that C code makes. */
    static uint64_t forks = 0;
    static void count_fork(void) { forks += 1; }
    static int watch_forks(void) { return pthread_atfork(NULL, NULL, count_fork); }
    """
    uint64_t ATOMIC_LOAD(uint64_t* p) nogil
    int ATOMIC_LOAD_INT "ATOMIC_LOAD" (int* p) nogil
    void ATOMIC_STORE(uint64_t* p, uint64_t value) nogil
    void ATOMIC_STORE_INT "ATOMIC_STORE" (int* p, int value) nogil
    uint64_t ATOMIC_ADD(uint64_t* p, uint64_t value) nogil
    int ATOMIC_ADD_INT "ATOMIC_ADD" (int* p, int value) nogil
    int ATOMIC_SWAP(int* p, int value) nogil
    int ATOMIC_MOVE(uint64_t* p, uint64_t* old, uint64_t new) nogil
    int sched_yield() nogil
    int watch_forks() nogil
    uint64_t forks

cdef extern from "pages.h" nogil:
    void wipe(void* start, size_t length)
    size_t page_size()
    void* new_pages(size_t length)
    void free_pages(void* start, size_t length)
    int protect_pages(void* start, size_t length, size_t inherited)

cdef extern from "pythread.h":
    void* PyThread_allocate_lock()
    void PyThread_free_lock(void* lock)
    int PyThread_acquire_lock(void* lock, int wait) nogil
    int PyThread_acquire_lock_timed(void* lock, int64_t microseconds, int interruptible) nogil
    void PyThread_release_lock(void* lock) nogil

cdef enum:
    LOCKED = 1
    NOT_DUMPED = 2
    EMPTY_IN_CHILDREN = 4
    BATCH = 64  # entries prepared without looking at Python again, about 5 ms
    DOZE = 1_000_000  # microseconds until the thread looks after its pool unasked

MAX_SIZE = 4096

# Filled below, while the module is imported.
cdef uint8_t[32] ORDER  # n
cdef uint8_t[32] HALF_ORDER
cdef uint8_t[32] INVERSE_EXPONENT  # n - 2: k**(n - 2) is 1 / k
# Differs from what RFC 6979 signing passes, so that the two never draw the same nonce.
cdef const uint8_t* LABEL = b"polyexec presign"
# Of the process, not of a pool: two pools of one key draw differently even without entropy.
cdef uint64_t COUNTER = 0


@cython.final
cdef class Bell:
    """Wakes the thread that fills, without the GIL and without ever waiting for it."""

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError
        PyThread_acquire_lock(self.lock, 1)

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_release_lock(self.lock)
            PyThread_free_lock(self.lock)

    cdef void arm(self) noexcept nogil:
        ATOMIC_STORE_INT(&self.armed, 1)

    cdef void disarm(self) noexcept nogil:
        if not ATOMIC_SWAP(&self.armed, 0):
            PyThread_acquire_lock(self.lock, 1)  # it rang: take the lock back

    cdef void ring(self) noexcept nogil:  # hot
        if ATOMIC_LOAD_INT(&self.armed) and ATOMIC_SWAP(&self.armed, 0):
            PyThread_release_lock(self.lock)

    def call(self, _=None):
        """Ring, from Python."""
        self.ring()

    def doze(self):
        """Wait for the ring, at most a second."""
        with nogil:
            self.wait(DOZE)

    cdef void wait(self, int64_t microseconds) noexcept nogil:
        if PyThread_acquire_lock_timed(self.lock, microseconds, 0) != 1:
            self.disarm()


@cython.final
@cython.auto_pickle(False)
cdef class NoncePool:
    """A ring of prepared nonces of one private key.

    Parameters
    ----------
    key : bytes
        32 bytes, a private key.
    size : int
        Entries that are kept ready, 1 to 4096.

    Raises
    ------
    ValueError
        No private key, a size out of range, or no libsecp256k1 is bound.
    """

    def __cinit__(self, key, size):
        cdef const uint8_t* key32 = checked_bytes(key, 32, "key")
        cdef int64_t wanted = as_int64(size)
        if wanted < 1 or wanted > <int64_t>MAX_SIZE:
            raise ValueError(f"size must be 1 to {MAX_SIZE}, not {wanted}")
        if not c_is_bound():
            raise ValueError("libsecp256k1 is not bound")
        if not c_is_scalar(key32):
            raise ValueError("a private key is 32 bytes, above 0 and below the curve order")
        cdef size_t page = page_size()
        self.length = page + (<size_t>wanted * sizeof(Slot) + page - 1) // page * page
        self.memory = <uint8_t*>new_pages(self.length)
        if self.memory == NULL:
            raise MemoryError
        self.slots = <Slot*>(self.memory + page)
        self.capacity = <uint64_t>wanted
        self.low_water = (self.capacity + 1) // 2
        self.arm()
        memcpy(self.memory, key32, 32)
        self.bell = Bell()
        self.guard = threading.Lock()
        _POOLS.add(self)

    def __dealloc__(self):
        if self.memory != NULL:
            wipe(self.memory, self.length)
            free_pages(self.memory, self.length)

    def __reduce__(self):
        raise TypeError("a NoncePool holds a private key: it cannot be pickled or copied")

    def __repr__(self):
        return (
            f"NoncePool(ready={self.ready}, size={self.size}, prepared={self.prepared}, "
            f"used={self.used}, fallbacks={self.fallbacks})"
        )

    @property
    def size(self):
        """Entries that are kept ready."""
        return self.capacity

    @property
    def ready(self):
        """Entries that a signature could use now."""
        return 0 if self.closed or self.generation != forks else level(self)

    @property
    def prepared(self):
        """Entries made so far."""
        return ATOMIC_LOAD(&self.tail)

    @property
    def used(self):
        """Entries handed out so far."""
        return ATOMIC_LOAD(&self.head)

    @property
    def fallbacks(self):
        """Signatures made with the RFC 6979 nonce, because no entry was ready or fit."""
        return ATOMIC_LOAD(&self.deterministic)

    def info(self):
        """Return the counts, and what the system granted for the memory."""
        return {
            "size": self.size,
            "ready": self.ready,
            "prepared": self.prepared,
            "used": self.used,
            "fallbacks": self.fallbacks,
            "running": self.thread is not None and self.thread.is_alive(),
            "locked": bool(self.protection & LOCKED),
            "not_dumped": bool(self.protection & NOT_DUMPED),
            "empty_in_children": bool(self.protection & EMPTY_IN_CHILDREN),
        }

    def sign(self, digest):  # hot
        """Return the 65-byte signature ``r || s || v`` over a 32-byte digest.

        Raises
        ------
        ValueError
            Not 32 bytes, or the pool is closed.
        """
        cdef const uint8_t* digest32 = checked_bytes(digest, 32, "digest")
        cdef uint8_t[SIGNATURE_BYTES] out
        # With the GIL: giving it up costs more than the signature.
        if not c_take_and_sign(self, digest32, out):
            raise ValueError("the nonce pool is closed")
        return PyBytes_FromStringAndSize(<const char*>out, SIGNATURE_BYTES)

    def sign_many(self, digests):
        """Return the signatures over digests that stand one after the other; without the GIL."""
        cdef Py_ssize_t count, i
        cdef const uint8_t* digest32
        cdef uint8_t* out
        cdef int done = 1
        if not isinstance(digests, bytes):
            raise TypeError(f"digests must be bytes, not {type(digests).__name__}")
        count = PyBytes_GET_SIZE(digests) // 32
        if count * 32 != PyBytes_GET_SIZE(digests):
            raise ValueError("digests must be 32 bytes each")
        signatures = PyBytes_FromStringAndSize(NULL, count * SIGNATURE_BYTES)
        digest32 = <const uint8_t*>PyBytes_AS_STRING(digests)
        out = <uint8_t*>PyBytes_AS_STRING(signatures)
        with nogil:
            for i in range(count):
                done = c_take_and_sign(self, digest32 + 32 * i, out + SIGNATURE_BYTES * i)
                if not done:
                    break
        if not done:
            raise ValueError("the nonce pool is closed")
        return signatures

    def fill(self, count=None):
        """Prepare entries until the ring is full, or ``count`` of them; return how many.

        None are prepared in a closed pool, or in a forked child before ``start``.
        """
        cdef int64_t left = <int64_t>self.capacity if count is None else as_int64(count)
        cdef int64_t made = 0
        cdef int64_t batch, i
        cdef const uint8_t* entropy
        cdef uint8_t[32] message
        while left > made:
            batch = min(left - made, <int64_t>self.capacity - <int64_t>level(self), BATCH)
            if batch <= 0:
                break
            drawn = os.urandom(32 * batch)
            entropy = checked_bytes(drawn, 32 * batch, "entropy")
            put_uint64(message + 8, <uint64_t>os.getpid())
            put_uint64(message + 16, <uint64_t>time.time_ns())
            put_uint64(message + 24, <uint64_t>time.monotonic_ns())
            with nogil:
                for i in range(batch):
                    put_uint64(message, ATOMIC_ADD(&COUNTER, 1))
                    if not self.prepare(message, entropy + 32 * i):
                        left = made  # closed, or another thread filled the ring
                        break
                    made += 1
        return made

    def start(self):
        """Keep the ring full from a thread; in a forked child, begin with an empty ring."""
        with self.guard:
            if self.closed:
                raise ValueError("the nonce pool is closed")
            if self.generation != forks:
                self.arm()
            if self.thread is not None and self.thread.is_alive():
                return
            ATOMIC_STORE_INT(&self.wanted, 1)
            bell = self.bell
            pool = weakref.ref(self, bell.call)
            self.thread = threading.Thread(
                target=_keep_full, args=(pool, bell), name="polyexec-nonces", daemon=True
            )
            self.thread.start()

    def stop(self):
        """End the thread; what is in the ring stays usable."""
        with self.guard:
            thread, self.thread = self.thread, None
            ATOMIC_STORE_INT(&self.wanted, 0)
            self.bell.ring()
            if thread is not None and thread is not threading.current_thread():
                thread.join()

    def close(self):
        """Wipe the entries and the key. Nothing signs with the pool afterwards."""
        ATOMIC_STORE_INT(&self.closed, 1)
        self.stop()
        with nogil:
            # Those who came in before the mark finish with whole entries and a whole key.
            while self.generation == forks and ATOMIC_LOAD_INT(&self.users):
                sched_yield()
            wipe(self.memory, self.length)

    def _top_up(self):
        """Fill the ring. Return False when nobody wants that any more."""
        while ATOMIC_LOAD_INT(&self.wanted) and not ATOMIC_LOAD_INT(&self.closed):
            self.fill(BATCH)
            if level(self) < self.capacity:
                continue
            self.bell.arm()
            # Taken before the bell was armed, so nobody rang.
            if level(self) >= self.low_water and ATOMIC_LOAD_INT(&self.wanted):
                return True
            self.bell.disarm()
        return False

    def _forget(self):
        """Wipe what a forked child inherited; its ring stays unused until ``start``."""
        wipe(self.slots, self.capacity * sizeof(Slot))
        self.head = self.tail = self.deterministic = 0
        self.users = self.wanted = 0
        # The thread did not come along, and it may have held these.
        self.thread = None
        self.bell = Bell()
        self.guard = threading.Lock()

    def _traces(self):
        """Return how many slots, and how many keys, are not all zeros. For tests."""
        cdef uint64_t i
        cdef int used = 0
        for i in range(self.capacity):
            if not is_zero(<uint8_t*>&self.slots[i].entry, sizeof(Entry)):
                used += 1
        return used, int(not is_zero(self.memory, 32))

    cdef void arm(self) noexcept nogil:
        self.protection = protect_pages(self.memory, self.length, page_size())
        wipe(self.slots, self.capacity * sizeof(Slot))
        self.head = self.tail = 0
        self.users = 0
        self.generation = forks

    cdef int take(self, Entry* out) noexcept nogil:  # hot
        cdef Slot* slot
        cdef uint64_t place = ATOMIC_LOAD(&self.head)
        cdef uint64_t seen
        while True:
            slot = &self.slots[place % self.capacity]
            if ATOMIC_LOAD(&slot.turn) == 2 * (place // self.capacity) + 1:
                if ATOMIC_MOVE(&self.head, &place, place + 1):
                    break
            else:
                seen, place = place, ATOMIC_LOAD(&self.head)
                if seen == place:
                    return 0  # empty, or the next one is being put in
        memcpy(out, &slot.entry, sizeof(Entry))
        wipe(&slot.entry, sizeof(Entry))
        ATOMIC_STORE(&slot.turn, 2 * (place // self.capacity) + 2)
        return 1

    cdef int put(self, const Entry* entry) noexcept nogil:
        cdef Slot* slot
        cdef uint64_t place = ATOMIC_LOAD(&self.tail)
        cdef uint64_t seen
        while True:
            slot = &self.slots[place % self.capacity]
            if ATOMIC_LOAD(&slot.turn) == 2 * (place // self.capacity):
                if ATOMIC_MOVE(&self.tail, &place, place + 1):
                    break
            else:
                seen, place = place, ATOMIC_LOAD(&self.tail)
                if seen == place:
                    return 0  # full
        memcpy(&slot.entry, entry, sizeof(Entry))
        ATOMIC_STORE(&slot.turn, 2 * (place // self.capacity) + 1)
        return 1

    cdef int prepare(self, const uint8_t* message32, const uint8_t* extra32) noexcept nogil:
        cdef Entry entry
        cdef int done = 0
        ATOMIC_ADD_INT(&self.users, 1)
        if not ATOMIC_LOAD_INT(&self.closed) and self.generation == forks:
            done = make_entry(self.memory, message32, extra32, &entry) and self.put(&entry)
        wipe(&entry, sizeof(Entry))
        ATOMIC_ADD_INT(&self.users, -1)
        return done


cdef int c_take_and_sign(
    NoncePool pool, const uint8_t* digest32, uint8_t* out65
) noexcept nogil:  # hot
    cdef Entry entry
    cdef uint8_t[32] z
    cdef int done = 0
    ATOMIC_ADD_INT(&pool.users, 1)
    if not ATOMIC_LOAD_INT(&pool.closed):
        reduce(digest32, z)
        if pool.generation == forks and not is_zero(z, 32) and pool.take(&entry):
            done = finish(&entry, z, out65)
            wipe(&entry, sizeof(Entry))
        if not done:
            ATOMIC_ADD(&pool.deterministic, 1)
            done = 2 * c_sign(pool.memory, digest32, out65)
        if level(pool) < pool.low_water:
            pool.bell.ring()
    ATOMIC_ADD_INT(&pool.users, -1)
    return done


cdef inline uint64_t level(NoncePool pool) noexcept nogil:
    cdef uint64_t head = ATOMIC_LOAD(&pool.head)  # first: the tail is never behind it
    return ATOMIC_LOAD(&pool.tail) - head


cdef int finish(const Entry* entry, const uint8_t* z, uint8_t* out65) noexcept nogil:  # hot
    """Write the signature over z, which is above 0 and below n."""
    cdef uint8_t[32] s
    cdef uint8_t odd = entry.odd
    memcpy(s, z, 32)
    if not c_multiply(s, entry.inverse) or not c_add(s, entry.offset):
        return 0  # s would be zero
    if memcmp(s, HALF_ORDER, 32) > 0:
        c_negate(s)
        odd ^= 1
    memcpy(out65, entry.r, 32)
    memcpy(out65 + 32, s, 32)
    out65[64] = 27 + odd
    return 1


cdef int make_entry(
    const uint8_t* key32, const uint8_t* message32, const uint8_t* extra32, Entry* out
) noexcept nogil:
    cdef uint8_t[32] k
    cdef uint8_t[33] point
    cdef unsigned int attempt
    cdef int done = 0
    for attempt in range(8):
        # k must be a scalar, and x(kG) below n, or v could not say which point it was. Either
        # fails once in 2**127 draws.
        if (
            c_nonce(key32, message32, extra32, LABEL, attempt, k)
            and c_is_scalar(k) and c_point(k, point) and c_is_scalar(point + 1)
        ):
            memcpy(out.r, point + 1, 32)
            out.odd = point[0] & 1
            memcpy(out.offset, key32, 32)
            done = (
                invert(k, out.inverse)
                and c_multiply(out.offset, out.r)
                and c_multiply(out.offset, out.inverse)
            )
            break
    wipe(k, 32)
    return done


cdef int invert(const uint8_t* k, uint8_t* out) noexcept nogil:
    """Write k**(n - 2). Which steps are made depends on n alone, so time tells nothing of k."""
    cdef uint8_t[32] copy
    cdef int bit
    cdef int done = 1
    memcpy(out, k, 32)  # the highest bit
    for bit in range(1, 256):
        memcpy(copy, out, 32)
        done &= c_multiply(out, copy)
        if INVERSE_EXPONENT[bit >> 3] >> (7 - (bit & 7)) & 1:
            done &= c_multiply(out, k)
    wipe(copy, 32)
    return done


cdef void reduce(const uint8_t* digest32, uint8_t* out) noexcept nogil:  # hot
    """Write the digest modulo n; it is no secret, and below 2 n."""
    cdef int i, difference, borrow = 0
    memcpy(out, digest32, 32)
    if memcmp(digest32, ORDER, 32) < 0:
        return
    for i in range(31, -1, -1):
        difference = <int>digest32[i] - <int>ORDER[i] - borrow
        borrow = difference < 0
        out[i] = <uint8_t>(difference & 0xFF)


cdef bint is_zero(const uint8_t* start, size_t length) noexcept nogil:
    cdef uint8_t bits = 0
    cdef size_t i
    for i in range(length):
        bits |= start[i]
    return bits == 0


cdef void put_uint64(uint8_t* out, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (56 - 8 * i))


def _draw(key, message, entropy):
    """Return the nonce that these give: what ``fill`` does, for tests."""
    cdef uint8_t[32] k
    if not c_nonce(
        checked_bytes(key, 32, "key"),
        checked_bytes(message, 32, "message"),
        checked_bytes(entropy, 32, "entropy"),
        LABEL, 0, k,
    ):
        raise ValueError("libsecp256k1 is not bound")
    return PyBytes_FromStringAndSize(<const char*>k, 32)


def _keep_full(pool, bell):
    """Fill the pool whenever it rings, until it is stopped, closed or gone."""
    if sys.platform == "linux":
        try:
            # A thread has its own niceness there; elsewhere this would slow the whole process.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        except OSError:
            pass
    while True:
        alive = pool()
        try:
            if alive is None or not alive._top_up():
                return
        except OSError:
            return  # no entropy: signing goes on, deterministic
        alive = None  # nobody else's pool may live on because of this thread
        bell.doze()


def _forget_all():
    for pool in list(_POOLS):
        pool._forget()


cdef int load(str digits, uint8_t* out) except -1:
    memcpy(out, PyBytes_AS_STRING(bytes.fromhex(digits)), 32)
    return 0


load("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", ORDER)
load("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0", HALF_ORDER)
load("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd036413f", INVERSE_EXPONENT)
_POOLS = weakref.WeakSet()
if watch_forks():
    raise OSError("pthread_atfork failed")
os.register_at_fork(after_in_child=_forget_all)
