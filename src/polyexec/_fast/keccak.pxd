# Contract of polyexec._fast.keccak. Stateless: every function may run on any thread at once.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

# Write the 32-byte keccak-256 of `length` bytes to `out`. `out` may overlap `data`.
cdef void c_keccak256(const uint8_t* data, size_t length, uint8_t* out) noexcept nogil
