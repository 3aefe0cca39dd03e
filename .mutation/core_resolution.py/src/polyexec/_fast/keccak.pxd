# Contract of polyexec._fast.keccak. Stateless: every function may run on any thread at once.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

# Write the 32-byte keccak-256 of `length` bytes to `out`. `out` may overlap `data`.
cdef void c_keccak256(const uint8_t* data, size_t length, uint8_t* out) noexcept nogil

# The same for `count` messages of one length that stand `stride` bytes apart, four at a time where
# the processor can; `out` takes 32 bytes for each and does not overlap.
cdef void c_keccak256_each(
    const uint8_t* data, size_t length, size_t stride, Py_ssize_t count, uint8_t* out
) noexcept nogil
