# cython: language_level=3
"""Counts what Python's allocators are asked for while a function runs."""

cdef extern from *:
    """
    static PyMemAllocatorEx counter_real[3];
    static long counter_calls;
    static int counter_depth; /* a large block of one allocator is asked for at the next */

    static void *counter_malloc(void *real, size_t size) {
        counter_calls += counter_depth++ == 0;
        void *at = ((PyMemAllocatorEx *)real)->malloc(((PyMemAllocatorEx *)real)->ctx, size);
        counter_depth--;
        return at;
    }
    static void *counter_calloc(void *real, size_t count, size_t size) {
        counter_calls += counter_depth++ == 0;
        void *at = ((PyMemAllocatorEx *)real)->calloc(((PyMemAllocatorEx *)real)->ctx, count, size);
        counter_depth--;
        return at;
    }
    static void *counter_realloc(void *real, void *old, size_t size) {
        counter_calls += counter_depth++ == 0;
        void *at = ((PyMemAllocatorEx *)real)->realloc(((PyMemAllocatorEx *)real)->ctx, old, size);
        counter_depth--;
        return at;
    }
    static void counter_free(void *real, void *at) {
        ((PyMemAllocatorEx *)real)->free(((PyMemAllocatorEx *)real)->ctx, at);
    }

    static void counter_start(void) {
        counter_calls = 0;
        for (int domain = 0; domain < 3; domain++) {
            PyMemAllocatorEx ours = {&counter_real[domain], counter_malloc, counter_calloc,
                                     counter_realloc, counter_free};
            PyMem_GetAllocator((PyMemAllocatorDomain)domain, &counter_real[domain]);
            PyMem_SetAllocator((PyMemAllocatorDomain)domain, &ours);
        }
    }
    static long counter_stop(void) {
        for (int domain = 0; domain < 3; domain++)
            PyMem_SetAllocator((PyMemAllocatorDomain)domain, &counter_real[domain]);
        return counter_calls;
    }
    """
    void counter_start()
    long counter_stop()


def allocations(function, tuple arguments):
    """Return how many blocks were asked for during ``function(*arguments)``, and its result."""
    result = function(*arguments)  # whatever is made once
    del result
    counter_start()
    try:
        result = function(*arguments)
    finally:
        count = counter_stop()
    return count, result
