/* Memory for secrets: pages of their own, kept out of swap and core dumps where the system allows. */
#ifndef POLYEXEC_PAGES_H
#define POLYEXEC_PAGES_H

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The barrier says that somebody reads the zeros, so no compiler may leave them out. */
static inline void wipe(void *start, size_t length) {
    memset(start, 0, length);
    __asm__ __volatile__("" : : "r"(start) : "memory");
}

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void *new_pages(size_t length) {
    void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

static void free_pages(void *start, size_t length) { munmap(start, length); }

/* Returns what the system granted: 1 not swapped, 2 not dumped, 4 empty in children. */
static int protect_pages(void *start, size_t length, size_t inherited) {
    int granted = mlock(start, length) == 0;
#if defined(MADV_DONTDUMP)
    if (madvise(start, length, MADV_DONTDUMP) == 0) granted |= 2;
#elif defined(MADV_NOCORE)
    if (madvise(start, length, MADV_NOCORE) == 0) granted |= 2;
#endif
#if defined(MADV_WIPEONFORK)
    if (madvise((char *)start + inherited, length - inherited, MADV_WIPEONFORK) == 0)
        granted |= 4;
#endif
    return granted;
}

#endif
